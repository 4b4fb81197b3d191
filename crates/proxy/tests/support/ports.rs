//! Ports of loopback for gateways: none that two of them share.

use std::net::{SocketAddr, TcpListener};

pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// How many sockets listen on an address of IPv4.
pub fn listeners(address: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = address else { return 0 };
    let own = format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_listener = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // Local and remote address; 0A is TCP_LISTEN.
        fields.next() == Some(&own) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(is_listener).count()
}
