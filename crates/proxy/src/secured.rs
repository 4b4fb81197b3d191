//! The TLS configurations of a state's listeners.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Certificate, ClientValidation, Listener, ListenerId, Snapshot, TlsVersion};
use tls::{ClientCertificates, ServerConfig, ServerOptions, Version, alpn};

/// By listener. What did not change is shared with the state before, so that session tickets stay good.
#[derive(Default)]
pub(crate) struct SecuredListeners(HashMap<ListenerId, Secured>);

struct Secured {
    made_from: (Option<model::Tls>, Vec<Arc<Certificate>>),
    config: ServerConfig,
}

impl SecuredListeners {
    pub(crate) fn build(snapshot: &Snapshot, before: &Self) -> Self {
        let ends_tls =
            snapshot.listeners.values().filter(|l| l.protocol.begins_with_tls() && l.tls.is_some());
        let made = ends_tls.filter_map(|listener| {
            let made_from = (listener.tls.clone(), certificates(snapshot, listener));
            let known = before.0.get(&listener.id).filter(|known| known.made_from == made_from);
            let config = match known {
                Some(known) => known.config.clone(),
                None => config(listener, &made_from.1)?,
            };
            Some((listener.id.clone(), Secured { made_from, config }))
        });
        Self(made.collect())
    }

    pub(crate) fn get(&self, listener: &ListenerId) -> Option<&ServerConfig> {
        self.0.get(listener).map(|secured| &secured.config)
    }
}

fn certificates(snapshot: &Snapshot, listener: &Listener) -> Vec<Arc<Certificate>> {
    let ids = listener.tls.iter().flat_map(|tls| &tls.certificates);
    ids.filter_map(|id| snapshot.certificates.get(id).cloned()).collect()
}

/// None, and a word in the log, where translation let through what TLS cannot use: handshakes are refused then.
fn config(listener: &Listener, certificates: &[Arc<Certificate>]) -> Option<ServerConfig> {
    let mut usable = Vec::new();
    for certificate in certificates {
        match tls::Certificate::from_pem(&certificate.chain_pem, certificate.key_pem.expose()) {
            Ok(certificate) => usable.push(Arc::new(certificate)),
            Err(error) => {
                let name = &certificate.id.name;
                tracing::error!(listener = %listener.id, secret = %name, %error, "a certificate cannot be used; the listener goes on with its others");
            }
        }
    }
    let is_new = listener.tls.as_ref().is_some_and(|tls| tls.min_version == TlsVersion::Tls13);
    let clients = match clients(listener) {
        Ok(clients) => clients,
        Err(error) => {
            tracing::error!(listener = %listener.id, %error, "the authorities for clients of a listener cannot be used; it refuses connections");
            return None;
        }
    };
    let options = ServerOptions {
        certificates: usable,
        min_version: if is_new { Version::Tls13 } else { Version::Tls12 },
        // What a TLS listener carries is not ours to know.
        protocols: if listener.protocol.is_http() { vec![alpn::H2, alpn::HTTP11] } else { Vec::new() },
        clients,
    };
    match ServerConfig::new(&options) {
        Ok(config) => Some(config),
        Err(error) => {
            tracing::error!(listener = %listener.id, %error, "a listener's TLS cannot be set up; it refuses connections");
            None
        }
    }
}

fn clients(listener: &Listener) -> Result<ClientCertificates, tls::AuthorityError> {
    Ok(match listener.tls.as_ref().map(|tls| &tls.clients) {
        None | Some(ClientValidation::NotAsked) => ClientCertificates::NotAsked,
        Some(ClientValidation::Unverified) => ClientCertificates::Unverified,
        Some(ClientValidation::Required(bundle)) => {
            ClientCertificates::Required(tls::Authorities::from_pem(bundle.pem())?)
        }
    })
}
