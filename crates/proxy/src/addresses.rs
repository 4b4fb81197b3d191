//! What an endpoint is reached by: one address, or one in each IP family.

use std::net::SocketAddr;

/// The addresses of an endpoint. Backends that hold the same ones share it; one of these alone is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Addresses {
    /// Of the preferred family. It names the endpoint.
    pub(crate) name: SocketAddr,
    pub(crate) other: Option<SocketAddr>,
}

impl Addresses {
    /// In the order in which the source prefers them.
    pub(crate) fn all(self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.name).chain(self.other)
    }

    pub(crate) fn contains(self, address: SocketAddr) -> bool {
        self.name == address || self.other == Some(address)
    }
}

impl From<&model::Endpoint> for Addresses {
    fn from(endpoint: &model::Endpoint) -> Self {
        Self { name: endpoint.address, other: endpoint.other.map(|other| other.address) }
    }
}

impl From<SocketAddr> for Addresses {
    fn from(name: SocketAddr) -> Self {
        Self { name, other: None }
    }
}
