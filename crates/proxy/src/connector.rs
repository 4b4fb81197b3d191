//! How the endpoints of a backend are spoken to.

use std::net::SocketAddr;
use std::sync::Arc;

use model::AppProtocol;

/// What two connections to the same address must agree in to stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) connector: ConnectorId,
}

/// Names a connector for as long as the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectorId(u64);

/// How a backend's endpoints are spoken to.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) id: ConnectorId,
    pub(crate) protocol: Speaks,
}

/// Which version of HTTP an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    /// With prior knowledge (RFC 9113 section 3.3).
    Http2,
}

impl Connector {
    /// The connector for a backend of this protocol; none: it cannot be spoken to.
    pub(crate) fn of(protocol: AppProtocol) -> Option<Arc<Self>> {
        let (id, protocol) = match protocol {
            AppProtocol::Http1 => (0, Speaks::Http1),
            AppProtocol::H2c => (1, Speaks::Http2),
            AppProtocol::Https => return None,
        };
        Some(Arc::new(Self { id: ConnectorId(id), protocol }))
    }

    /// The way to an endpoint.
    pub(crate) fn way(&self, address: SocketAddr) -> Way {
        Way { address, connector: self.id }
    }
}
