//! The kernel's memory of clients that keep their endpoint, for userspace: so that a client has one endpoint over both tiers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use loader::Clients;
use proxy::ClientCache;
use tracing::debug;

/// `FLOW_CACHE`.
pub(super) struct KernelClients(pub(super) Clients);

impl ClientCache for KernelClients {
    fn get(&self, client: IpAddr, subject: u64) -> Option<(SocketAddr, Duration)> {
        // Without an answer the client has its first choice, which is the kernel's too.
        self.0
            .get(client, subject)
            .inspect_err(|error| debug!(%error, "a client's endpoint is not known"))
            .ok()
            .flatten()
    }

    fn put(&self, client: IpAddr, subject: u64, endpoint: SocketAddr) {
        if let Err(error) = self.0.put(client, subject, endpoint) {
            debug!(%error, "a client's endpoint is not remembered");
        }
    }
}
