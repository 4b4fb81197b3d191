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
    /// What the kernel tier did; none where the programs only count.
    pub kernel: Option<KernelCounters>,
}

/// What the kernel tier counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Kind, reason and count of what happened to packets and requests.
    pub events: Vec<(&'static str, &'static str, u64)>,
    /// Per listener address.
    pub responses: Vec<KernelResponses>,
    /// Per route, those that are counted by themselves.
    pub routes: Vec<KernelResponses>,
    /// Per endpoint, likewise.
    pub endpoints: Vec<KernelResponses>,
    /// Client connections now.
    pub flows: u64,
    /// Room for client connections.
    pub flows_max: u64,
    /// Legs to endpoints now.
    pub legs: u64,
    /// Room for legs.
    pub legs_max: u64,
    /// Legs without a client, that wait for the next.
    pub legs_waiting: u64,
    /// Entries of tables that this agent has written or removed.
    pub table_writes: u64,
    /// Tables of routes.
    pub tables: Vec<KernelTable>,
    /// How often they have grown, and how often that failed.
    pub growths: (u64, u64),
    /// What all maps take, in bytes, by `connections` and `other`.
    pub map_bytes: [(&'static str, u64); 2],
}

/// A table of routes in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTable {
    /// As in the settings.
    pub name: &'static str,
    /// Entries in use.
    pub used: u64,
    /// Room for entries now.
    pub size: u64,
    /// Room when it has grown as far as it may.
    pub max: u64,
    /// Sockets, hosts, rules or backends that are userspace's because it has no room for them.
    pub lacking: u64,
}

/// Responses through the kernel, of one address that listeners share, one route or one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelResponses {
    /// Names and values of the labels: `listener` and `address` as in [`ListenerCounters`], or `route`, or `endpoint`.
    pub labels: Vec<(&'static str, String)>,
    /// Responses of status class 1xx to 5xx, and of any other.
    pub classes: [u64; 6],
    /// Requests by the time to the first byte of their response: upper bounds in microseconds, ascending, each with its own
    /// count; no bound for the last.
    pub first_byte: Vec<(Option<u64>, u64)>,
    /// Sum of those times, in nanoseconds.
    pub first_byte_ns: u64,
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
