/// What the kernel programs have counted, read at each scrape.
///
/// The first six carry the names of the METRICS map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatapathCounters {
    /// Packets to addresses that the gateway serves.
    pub packets_total: u64,
    /// Packets decided by XDP.
    pub packets_tier1: u64,
    /// Packets decided by TC.
    pub packets_tier2: u64,
    /// Packets passed to userspace.
    pub packets_tier3: u64,
    /// Packets dropped.
    pub packets_dropped: u64,
    /// Packets whose HTTP head could not be read.
    pub http_parse_errors: u64,
    /// Per listener address.
    pub listeners: Vec<ListenerCounters>,
}

/// Kernel counters of one address that listeners share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerCounters {
    /// The listeners at this address, as `namespace/gateway/section`, joined by a comma.
    pub listener: String,
    /// Address and port.
    pub address: String,
    /// Packets to it.
    pub packets: u64,
    /// Connections begun to it (SYN without ACK).
    pub connections: u64,
}

/// Reads the kernel's counters; none while they cannot be read.
pub type DatapathSource = Box<dyn Fn() -> Option<DatapathCounters> + Send + Sync>;
