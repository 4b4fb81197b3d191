use std::io;
use std::net::IpAddr;

/// Why nothing can be announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// Nothing says which interface is meant.
    #[error("no default route says which interface the clients are on: name it in addresses.interface")]
    NoDefaultRoute,
    /// There is no interface of that name.
    #[error("there is no interface {0}: `ip link` lists them; correct addresses.interface")]
    UnknownInterface(String),
    /// Its neighbours cannot be told.
    #[error(
        "interface {0} is no Ethernet, so nobody on it can be told of addresses: name another in addresses.interface"
    )]
    NotEthernet(String),
    /// The kernel does not say what its network is.
    #[error("the kernel does not say what its interfaces are: {0}")]
    Netlink(#[source] io::Error),
    /// Frames cannot be sent.
    #[error("cannot open a packet socket to tell neighbours of addresses: {0}; give the agent CAP_NET_RAW")]
    Frames(#[source] io::Error),
}

/// Why one address is not held, or given up, as it should be.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It could not be added or renewed.
    #[error("cannot add {address} to interface {interface}: {source}; adding needs CAP_NET_ADMIN")]
    Add {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It could not be removed.
    #[error(
        "cannot remove {address} from interface {interface}: {source}; it goes by itself within {seconds} s"
    )]
    Remove {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
        /// How long it may live on.
        seconds: u32,
    },
    /// The neighbours could not be told.
    #[error(
        "cannot tell the neighbours on {interface} of {address}: {source}; they find out when they ask again"
    )]
    Tell {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What there is could not be looked at.
    #[error("cannot list the addresses of interface {interface}: {source}")]
    List {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl HoldError {
    /// Whether the interface itself is there no longer: another one of its name is another interface.
    pub fn is_of_lost_interface(&self) -> bool {
        let (Self::Add { source, .. }
        | Self::Remove { source, .. }
        | Self::Tell { source, .. }
        | Self::List { source, .. }) = self;
        // Packet sockets say ENXIO (packet(7)).
        matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
    }
}
