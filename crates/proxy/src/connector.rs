//! How the endpoints of a backend are spoken to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use model::{
    AppProtocol, Authorities, Backend, BackendId, BackendSecurity, BackendTls, Certificate, CertificateId,
    PeerName, ProxyProtocol, Snapshot,
};
use tls::{ClientConfig, ClientOptions, alpn};

use crate::addresses::Addresses;
use crate::client::Client;

/// What two connections to the same endpoint must agree in to stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) addresses: Addresses,
    pub(crate) connector: ConnectorId,
    /// Of which connection of this thread the endpoint was told, if of any: it carries no other's requests.
    pub(crate) told: Option<u64>,
}

impl Way {
    /// The same for all clients.
    pub(crate) fn untold(self) -> Self {
        Self { told: None, ..self }
    }
}

/// Names a connector for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectorId(u64);

/// How a backend's endpoints are spoken to.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) id: ConnectorId,
    pub(crate) protocol: AppProtocol,
    /// None: in cleartext.
    pub(crate) tls: Option<ClientConfig>,
    /// What endpoints are told first; none: nothing.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// More than the names of those in cleartext: two protocols, told nothing or in one of two versions.
const CLEARTEXT_MAX: u64 = 6;

impl Connector {
    /// The way to an endpoint for requests of a client.
    pub(crate) fn way(&self, addresses: Addresses, client: &Client) -> Way {
        Way { addresses, connector: self.id, told: self.proxy_protocol.map(|_| client.connection) }
    }

    /// Whether requests may share a connection: surely, or if the endpoint chooses so.
    pub(crate) fn may_share(&self) -> bool {
        match self.protocol {
            AppProtocol::Http1 => false,
            AppProtocol::Http2 => true,
            AppProtocol::Negotiated => self.tls.is_some(),
        }
    }

    fn cleartext(protocol: AppProtocol, proxy_protocol: Option<ProxyProtocol>) -> Arc<Self> {
        // All backends that speak the same share their connections to an address.
        let told = match proxy_protocol {
            None => 0,
            Some(ProxyProtocol::V1) => 1,
            Some(ProxyProtocol::V2) => 2,
        };
        let id = ConnectorId(2 * told + u64::from(protocol == AppProtocol::Http2));
        Arc::new(Self { id, protocol, tls: None, proxy_protocol })
    }

    #[cfg(test)]
    pub(crate) fn http1() -> Arc<Self> {
        Self::cleartext(AppProtocol::Http1, None)
    }
}

/// The connectors of a state. What did not change is shared with the state before: connections and sessions stay good.
#[derive(Default)]
pub(crate) struct Connectors {
    /// By backend, and what its clients' Gateway shows to endpoints.
    secured: HashMap<(BackendId, AppProtocol, Option<CertificateId>), Secured>,
    ids: HashSet<ConnectorId>,
    /// The one that was counted last.
    kept: Option<ConnectorId>,
}

struct Secured {
    made_from: (Option<ProxyProtocol>, Arc<BackendTls>, Option<Arc<Certificate>>),
    connector: Arc<Connector>,
}

impl Connectors {
    /// The connector to `backend` by `protocol` for clients of a Gateway that shows `certificate`; none: nothing can be sent.
    pub(crate) fn get(
        &mut self,
        backend: &Backend,
        protocol: AppProtocol,
        certificate: Option<&CertificateId>,
        snapshot: &Snapshot,
        before: &Self,
    ) -> Option<Arc<Connector>> {
        let tls = match &backend.security {
            BackendSecurity::Broken => return None,
            BackendSecurity::Cleartext => {
                let connector = Connector::cleartext(protocol, backend.proxy_protocol);
                self.ids.insert(connector.id);
                return Some(connector);
            }
            BackendSecurity::Tls(tls) => tls,
        };
        let key = (backend.id.clone(), protocol, certificate.cloned());
        if let Some(known) = self.secured.get(&key) {
            return Some(known.connector.clone());
        }
        let certificate = certificate.and_then(|id| snapshot.certificates.get(id)).cloned();
        let made_from = (backend.proxy_protocol, tls.clone(), certificate);
        let known = before.secured.get(&key).filter(|known| known.made_from == made_from);
        let connector = match known {
            Some(known) => known.connector.clone(),
            None => secured(backend, protocol, tls, made_from.2.as_deref())?,
        };
        self.ids.insert(connector.id);
        self.secured.insert(key, Secured { made_from, connector: connector.clone() });
        Some(connector)
    }

    /// Counts a connector of the state before among those of this one.
    pub(crate) fn keep(&mut self, id: ConnectorId) {
        // Most of many in a row are the same.
        if self.kept.replace(id) != Some(id) {
            self.ids.insert(id);
        }
    }

    /// Whether a connector of this state has that name.
    pub(crate) fn has(&self, id: ConnectorId) -> bool {
        self.ids.contains(&id)
    }
}

/// None, and a word in the log, where translation let through what TLS cannot use: nothing is sent then.
fn secured(
    backend: &Backend,
    protocol: AppProtocol,
    tls: &BackendTls,
    certificate: Option<&Certificate>,
) -> Option<Arc<Connector>> {
    static NEXT: AtomicU64 = AtomicU64::new(CLEARTEXT_MAX);
    match client_config(protocol, tls, certificate) {
        Ok(config) => Some(Arc::new(Connector {
            id: ConnectorId(NEXT.fetch_add(1, Relaxed)),
            protocol,
            tls: Some(config),
            proxy_protocol: backend.proxy_protocol,
        })),
        Err(error) => {
            tracing::error!(backend = %backend.id, %error, "TLS to a backend's endpoints cannot be set up; its requests get 500");
            None
        }
    }
}

/// Why TLS to a backend cannot be set up.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("the bundle of authorities {0}")]
    Authorities(#[source] tls::AuthorityError),
    #[error("the client certificate {0}")]
    Certificate(#[source] tls::CertificateError),
    #[error(transparent)]
    Config(#[from] tls::ConfigError),
}

fn client_config(
    protocol: AppProtocol,
    tls: &BackendTls,
    certificate: Option<&Certificate>,
) -> Result<ClientConfig, SetupError> {
    let authorities = match &tls.authorities {
        Authorities::System => Some(tls::Authorities::of_system()),
        Authorities::Bundle(bundle) => Some(tls::Authorities::from_pem(bundle.pem())),
        Authorities::Anybody => None,
    };
    let certificate = tls.certificate.as_deref().or(certificate);
    let certificate =
        certificate.map(|record| tls::Certificate::from_pem(&record.chain_pem, record.key_pem.expose()));
    let name = |name: &PeerName| match name {
        PeerName::Dns(name) => tls::PeerName::Dns(name.to_string()),
        PeerName::Uri(uri) => tls::PeerName::Uri(uri.to_string()),
    };
    let options = ClientOptions {
        server_name: tls.server_name.to_string(),
        tells_name: tls.tells_name,
        names: tls.names.iter().map(name).collect(),
        authorities: authorities.transpose().map_err(SetupError::Authorities)?,
        certificate: certificate.transpose().map_err(SetupError::Certificate)?.map(Arc::new),
        protocols: match protocol {
            AppProtocol::Http1 => vec![alpn::HTTP11],
            AppProtocol::Http2 => vec![alpn::H2],
            AppProtocol::Negotiated => vec![alpn::H2, alpn::HTTP11],
        },
    };
    Ok(ClientConfig::new(&options)?)
}
