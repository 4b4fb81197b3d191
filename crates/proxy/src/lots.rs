//! Lots of requests: whether one is among those of which others get a copy is drawn once, by the tier that sees it first.

use std::net::SocketAddr;

/// What a kernel tier has drawn for the requests with which it gave connections to this gateway.
pub trait Lots: Send + Sync {
    /// The lot of the first request of this connection, if one was drawn. It is given once.
    fn take(&self, client: SocketAddr, local: SocketAddr) -> Option<u32>;
}

/// Where there is no kernel tier.
pub(crate) struct NoLots;

impl Lots for NoLots {
    fn take(&self, _: SocketAddr, _: SocketAddr) -> Option<u32> {
        None
    }
}
