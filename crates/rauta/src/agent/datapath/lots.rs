//! The lots that the kernel has drawn, for userspace: so that a request that goes there has one lot.

use std::net::SocketAddr;

use proxy::Lots;
use tracing::debug;

/// `LOTS`.
pub(super) struct KernelLots(pub(super) loader::Lots);

impl Lots for KernelLots {
    fn take(&self, client: SocketAddr, local: SocketAddr) -> Option<u32> {
        // Without an answer another is drawn.
        self.0
            .take(client, local)
            .inspect_err(|error| debug!(%error, "a request's lot is not known"))
            .ok()
            .flatten()
    }
}
