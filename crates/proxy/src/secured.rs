//! The TLS configurations of a state's listeners.

use std::collections::HashMap;
use std::sync::Arc;

use model::{
    Certificate, CertificateId, ClientValidation, Listener, ListenerId, NamedCertificate, Snapshot,
    TlsVersion,
};
use tls::{ClientCertificates, ServerConfig, ServerOptions, Version, alpn};

/// By listener. What did not change is shared with the state before, so that session tickets stay good.
#[derive(Default)]
pub(crate) struct SecuredListeners {
    by_listener: HashMap<ListenerId, Secured>,
    /// What listeners show, beside the records that it was read from.
    read: HashMap<CertificateId, (Arc<Certificate>, Arc<tls::Certificate>)>,
}

struct Secured {
    made_from: (Option<model::Tls>, Vec<Arc<Certificate>>),
    config: ServerConfig,
}

impl SecuredListeners {
    pub(crate) fn build(snapshot: &Snapshot, before: &Self) -> Self {
        let mut this = Self::default();
        let ends_tls =
            snapshot.listeners.values().filter(|l| l.protocol.begins_with_tls() && l.tls.is_some());
        for listener in ends_tls {
            let made_from = (listener.tls.clone(), certificates(snapshot, listener));
            this.read(listener, &made_from.1, before);
            let known = before.by_listener.get(&listener.id).filter(|known| known.made_from == made_from);
            let config = match known {
                Some(known) => Some(known.config.clone()),
                None => this.config(listener),
            };
            if let Some(config) = config {
                this.by_listener.insert(listener.id.clone(), Secured { made_from, config });
            }
        }
        this
    }

    pub(crate) fn get(&self, listener: &ListenerId) -> Option<&ServerConfig> {
        self.by_listener.get(listener).map(|secured| &secured.config)
    }

    /// Reads the certificates that were not read before. What translation let through and TLS cannot use gets a word in the log.
    fn read(&mut self, listener: &Listener, certificates: &[Arc<Certificate>], before: &Self) {
        for record in certificates {
            if self.read.contains_key(&record.id) {
                continue;
            }
            let known = before.read.get(&record.id).filter(|(known, _)| Arc::ptr_eq(known, record));
            let made = match known {
                Some((_, made)) => Ok(made.clone()),
                None => tls::Certificate::from_pem(&record.chain_pem, record.key_pem.expose()).map(Arc::new),
            };
            match made {
                Ok(made) => drop(self.read.insert(record.id.clone(), (record.clone(), made))),
                Err(error) => {
                    let name = &record.id.name;
                    tracing::error!(listener = %listener.id, secret = %name, %error, "a certificate cannot be used; the listener goes on with its others");
                }
            }
        }
    }

    /// None, and a word in the log, where translation let through what TLS cannot use: handshakes are refused then.
    fn config(&self, listener: &Listener) -> Option<ServerConfig> {
        let said = listener.tls.as_ref()?;
        let read = |id: &CertificateId| self.read.get(id).map(|(_, made)| made.clone());
        let named = |one: &NamedCertificate| Some((one.name.to_string(), read(&one.certificate)?));
        if said.names.is_empty() && said.certificates.is_empty() {
            // Of Ingresses that name no certificate that could be shown, which they have been told.
            return None;
        }
        let clients = match clients(listener) {
            Ok(clients) => clients,
            Err(error) => {
                tracing::error!(listener = %listener.id, %error, "the authorities for clients of a listener cannot be used; it refuses connections");
                return None;
            }
        };
        let options = ServerOptions {
            names: said.names.iter().filter_map(named).collect(),
            certificates: said.certificates.iter().filter_map(read).collect(),
            min_version: if said.min_version == TlsVersion::Tls13 { Version::Tls13 } else { Version::Tls12 },
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
}

/// All that a listener may show.
fn certificates(snapshot: &Snapshot, listener: &Listener) -> Vec<Arc<Certificate>> {
    let named = listener.tls.iter().flat_map(|tls| &tls.names).map(|one| &one.certificate);
    let ids = named.chain(listener.tls.iter().flat_map(|tls| &tls.certificates));
    ids.filter_map(|id| snapshot.certificates.get(id).cloned()).collect()
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
