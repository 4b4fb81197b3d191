//! Datagrams: those of clients on a shared socket, those of each session's endpoint on a socket of its own.

mod datagrams;
mod sessions;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

pub use datagrams::{Datagram, Datagrams};
pub use sessions::Sessions;

/// The most that a datagram carries (RFC 768: a length of 16 bits), headers included.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Opens a socket for one session with an endpoint: it takes datagrams and ICMP errors from there alone.
///
/// # Errors
/// No descriptor or port is left, or there is no way to the endpoint.
pub fn connect(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(endpoint)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
