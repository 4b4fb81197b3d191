use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port that endpoints listen on.
pub const BACKEND_PORT: u16 = 8080;
/// The port that the gateway listens on unless a test says otherwise.
pub const GATEWAY_PORT: u16 = 8080;

/// The plan of addresses, the same in every lab: 10.77.0.0/24 and fd77::/64 in front of the gateway,
/// 10.77.1.0/24 and fd77:0:0:1::/64 behind it.
#[derive(Clone, Copy, Debug)]
pub struct Addresses;

impl Addresses {
    /// The gateway as clients see it.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The gateway as clients see it.
    pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    /// The gateway as endpoints see it.
    pub const GATEWAY_BACK: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
    /// The gateway as endpoints see it.
    pub const GATEWAY_BACK_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 1, 0, 0, 0, 1);

    /// Client `index` (0, 1).
    pub const fn client(index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 2 + index)
    }

    /// Client `index` (0, 1).
    pub const fn client_v6(index: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2 + index as u16)
    }

    /// Endpoint `index`: 10.77.1.11 and up.
    pub const fn backend(index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 1, 11 + index)
    }

    /// Endpoint `index`.
    pub const fn backend_v6(index: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 1, 0, 0, 0, 0x11 + index as u16)
    }

    /// Where endpoint `index` listens.
    pub const fn backend_socket(index: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Self::backend(index)), BACKEND_PORT)
    }

    /// Where endpoint `index` listens.
    pub const fn backend_socket_v6(index: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(Self::backend_v6(index)), BACKEND_PORT)
    }

    /// Where clients reach the gateway.
    pub const fn gateway_socket_v6() -> SocketAddr {
        SocketAddr::new(IpAddr::V6(Self::GATEWAY_V6), GATEWAY_PORT)
    }

    /// Where clients reach the gateway.
    pub const fn gateway_socket() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Self::GATEWAY), GATEWAY_PORT)
    }
}
