//! Bytes and datagrams between clients and endpoints: relays, UDP sessions, the PROXY protocol.
//!
//! ```text
//!  client ──> relay: splice(2) where both sides are sockets, one buffer where TLS ends here ──> endpoint
//!  client ──> Datagrams ──> Sessions (by tuple, the longest idle goes first) ──> a socket for each session ──> endpoint
//! ```
//!
//! Deliberately absent: routes, endpoints and the choice of one, threads, listening sockets: the userspace tier (`proxy`)
//! has them for all protocols (`docs/adr/0013-one-gateway-for-all-protocols.md`); HTTP.

mod pipe;
pub mod proxy_protocol;
mod relay;
mod splice;
mod stream;
mod udp;

pub use pipe::{Pipe, Pipes};
pub use relay::{Activity, End, reset};
pub use splice::splice;
pub use stream::relay;
pub use udp::{DATAGRAM_BYTES_MAX, Datagram, Datagrams, Sessions, connect};
