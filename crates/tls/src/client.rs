use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::any_endpoint::AnyEndpoint;
use crate::peer::OneOf;
use crate::provider::provider;
use crate::{Authorities, Certificate, ConfigError, PeerName};

/// A connection to an endpoint over TLS.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// How endpoints are spoken to over TLS, and who they must be.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The name that is asked for: a DNS name.
    pub server_name: String,
    /// Whether the endpoint is told it (SNI, RFC 6066 section 3).
    pub tells_name: bool,
    /// Who the endpoint may be: its certificate must have one of these names.
    pub names: Vec<PeerName>,
    /// Who may say so. None: nobody has to, and names count for nothing.
    pub authorities: Option<Authorities>,
    /// The certificate to show to endpoints that ask for one.
    pub certificate: Option<Arc<Certificate>>,
    /// ALPN names, the best first.
    pub protocols: Vec<&'static [u8]>,
}

/// [`ClientOptions`] made ready. Cheap to clone; clones share their sessions.
#[derive(Clone)]
pub struct ClientConfig {
    config: Arc<rustls::ClientConfig>,
    server_name: ServerName<'static>,
}

impl ClientConfig {
    /// Makes `options` ready.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(options: &ClientOptions) -> Result<Self, ConfigError> {
        let server_name =
            ServerName::try_from(options.server_name.clone()).map_err(|_| ConfigError::BadServerName)?;
        let verifier: Arc<dyn ServerCertVerifier> = match &options.authorities {
            Some(authorities) => Arc::new(OneOf::new(authorities.clone(), &options.names)?),
            None => Arc::new(AnyEndpoint),
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(ConfigError::Rejected)?
            // Not so dangerous but where it is asked for: `OneOf` checks the chain as the library does, and then our names.
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = SingleCertAndKey::from((**certificate.key()).clone());
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.enable_sni = options.tells_name;
        config.alpn_protocols = options.protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// Begins TLS over `io`.
    ///
    /// # Errors
    /// `InvalidData`: the endpoint is not who it must be, refuses us, or speaks no TLS; else it is gone.
    pub async fn connect<S>(&self, io: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(self.config.clone()).connect(self.server_name.clone(), io).await
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientConfig({})", self.server_name.to_str())
    }
}
