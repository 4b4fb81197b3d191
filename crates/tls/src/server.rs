use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, SupportedProtocolVersion, version};

use crate::any_client::AnyClient;
use crate::provider::provider;
use crate::{Authorities, Certificate, ConfigError};

/// A connection whose TLS ends here.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// The version that was agreed on, as OpenSSL and nginx write it: `TLSv1.3`.
pub fn version_name<S>(stream: &ServerStream<S>) -> Option<&'static str> {
    match stream.get_ref().1.protocol_version()? {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2 (RFC 5246), with forward secrecy and AEAD only.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// How connections of one listener are secured.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Names in lower case that have a certificate of their own, whatever names it has; `*.` stands for one label. Of equal ones the first counts.
    pub names: Vec<(String, Arc<Certificate>)>,
    /// The certificates to choose from by the name that a client asks for, where it has none of its own. The first one is for names that none
    /// covers; without it, such clients are refused.
    pub certificates: Vec<Arc<Certificate>>,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// ALPN names, the best first.
    pub protocols: Vec<&'static [u8]>,
    /// Whether clients show certificates too.
    pub clients: ClientCertificates,
}

/// Whether clients show certificates.
#[derive(Clone, Debug, Default)]
pub enum ClientCertificates {
    /// They are not asked for any.
    #[default]
    NotAsked,
    /// Only clients with a certificate that one of these authorities vouches for are served.
    Required(Authorities),
    /// They are asked, and served whatever they show: nothing is known of them but that they have the key.
    Unverified,
}

/// [`ServerOptions`] made ready. Cheap to clone; clones share their session tickets.
#[derive(Clone)]
pub struct ServerConfig {
    pub(crate) config: Arc<rustls::ServerConfig>,
    by_name: Arc<ByName>,
}

impl ServerConfig {
    /// Makes `options` ready, with ticket keys of its own that change every six hours.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(options: &ServerOptions) -> Result<Self, ConfigError> {
        let mut named = HashMap::with_capacity(options.names.len());
        for (name, certificate) in &options.names {
            named.entry(name.clone()).or_insert_with(|| certificate.key().clone());
        }
        let others: Vec<_> = options.certificates.iter().map(|c| (c.clone(), c.key().clone())).collect();
        if named.is_empty() && others.is_empty() {
            return Err(ConfigError::NoCertificate);
        }
        let by_name = Arc::new(ByName { named, others });
        let both: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        let versions = if options.min_version == Version::Tls13 { &both[..1] } else { both };
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(ConfigError::Rejected)?
            .with_client_cert_verifier(client_verifier(&options.clients)?)
            .with_cert_resolver(by_name.clone());
        config.alpn_protocols = options.protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets carry sessions of both versions: no memory for what clients may never come back to.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(ConfigError::Rejected)?;
        Ok(Self { config: Arc::new(config), by_name })
    }

    /// Whether there is a certificate for clients that ask for `name`, in lower case; empty: they name none.
    pub fn serves(&self, name: &str) -> bool {
        !self.by_name.others.is_empty() || self.by_name.own(name).is_some()
    }
}

fn client_verifier(clients: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, ConfigError> {
    Ok(match clients {
        ClientCertificates::NotAsked => WebPkiClientVerifier::no_client_auth(),
        ClientCertificates::Unverified => Arc::new(AnyClient),
        ClientCertificates::Required(Authorities(roots)) => {
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
                .build()
                .map_err(ConfigError::BadClientAuthorities)?
        }
    })
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerConfig")
    }
}

/// Chooses the certificate that a name has of its own, else the first one that covers it and can sign as the client wants.
#[derive(Debug)]
struct ByName {
    /// By name, and by `*.` with what stands behind it.
    named: HashMap<String, Arc<CertifiedKey>>,
    others: Vec<(Arc<Certificate>, Arc<CertifiedKey>)>,
}

impl ByName {
    /// The certificate that `name` has of its own.
    fn own(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let of_wildcard = || {
            let (first, rest) = name.split_once('.')?;
            self.named.get(&format!("*.{rest}")).filter(|_| !first.is_empty())
        };
        self.named.get(name).or_else(of_wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        if let Some(own) = name.as_deref().and_then(|name| self.own(name)) {
            return Some(own.clone());
        }
        let covers = |c: &Certificate| name.as_deref().is_some_and(|name| c.covers(name));
        let can_sign = |k: &CertifiedKey| k.key.choose_scheme(hello.signature_schemes()).is_some();
        let covering = || self.others.iter().filter(|(certificate, _)| covers(certificate));
        let best = covering().find(|(_, key)| can_sign(key)).or_else(|| covering().next());
        let any = || self.others.iter().find(|(_, key)| can_sign(key)).or(self.others.first());
        best.or_else(any).map(|(_, key)| key.clone())
    }
}
