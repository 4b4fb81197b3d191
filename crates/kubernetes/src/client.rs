//! The HTTP client for an API server: kube's, over connections of our own, so that there is one TLS in the gateway.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection as Pooled};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Client;
use kube::client::{Body, ConfigExt};
use kube::config::Config;
use tls::{Authorities, Certificate, ClientConfig, ClientOptions, ClientStream, PeerName, alpn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::{Service, ServiceBuilder};

/// How long it may take to have a connection…
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// …and until the server's machine has answered: TCP asks again ever more rarely by itself, and one that is back is not to wait for that.
const TCP_MAX: Duration = Duration::from_secs(3);

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `insecure-skip-tls-verify`.
    #[error(
        "insecure-skip-tls-verify is set, and whoever answers would decide where traffic goes: name the server's authority \
         (certificate-authority) instead"
    )]
    Unverified,
    /// A file of certificates or keys cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What should be base64 is not.
    #[error("{0} is not base64")]
    NotBase64(&'static str),
    /// The authorities of the server.
    #[error("the API server's certificate authority cannot be used")]
    Authorities(#[source] tls::AuthorityError),
    /// The certificate that the gateway shows.
    #[error("the client certificate cannot be used")]
    Certificate(#[source] tls::CertificateError),
    /// TLS cannot be set up so.
    #[error("TLS with the API server cannot be set up")]
    Tls(#[source] tls::ConfigError),
    /// The credentials cannot be used.
    #[error("the credentials cannot be used")]
    Credentials(#[source] Box<kube::Error>),
}

/// Makes a client. Must be called within a runtime, which its work is done in.
pub(crate) fn client(config: &Config) -> Result<Client, ClientError> {
    let credentials = |error| ClientError::Credentials(Box::new(error));
    let http = HttpClient::builder(TokioExecutor::new()).build::<_, Body>(Connector::new(config)?);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(credentials)?)
        .layer(config.extra_headers_layer().map_err(credentials)?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Client::new(service, &*config.default_namespace))
}

/// Opens connections to the API server.
#[derive(Clone)]
struct Connector {
    /// None: in cleartext.
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    fn new(config: &Config) -> Result<Self, ClientError> {
        if config.cluster_url.scheme_str() != Some("https") {
            return Ok(Self { tls: None });
        }
        if config.accept_invalid_certs {
            return Err(ClientError::Unverified);
        }
        let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.to_owned());
        let options = ClientOptions {
            names: vec![PeerName::Dns(name.clone())],
            server_name: name,
            tells_name: true,
            authorities: Some(authorities(config)?),
            certificate: certificate(config)?.map(Arc::new),
            protocols: vec![alpn::HTTP11],
        };
        Ok(Self { tls: Some(Arc::new(ClientConfig::new(&options).map_err(ClientError::Tls)?)) })
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<Stream>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let connected = async {
            // A name server that is dead costs five seconds, and is no API server that is.
            let stream = first(lookup_host((host, port)).await?).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(match &self.tls {
                Some(tls) => Stream::Tls(Box::new(tls.connect(stream).await?)),
                None => Stream::Plain(stream),
            }))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s");
        timeout(CONNECT_MAX, connected).await.unwrap_or_else(|_| Err(late()))
    }
}

/// A connection to the first of these addresses that takes one.
async fn first(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match timeout(TCP_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection to {address} within {} s", TCP_MAX.as_secs()),
                );
            }
        }
    }
    Err(last)
}

fn authorities(config: &Config) -> Result<Authorities, ClientError> {
    let found = match (&config.root_cert, &config.root_cert_file) {
        (_, Some(path)) => Authorities::from_pem(&read(path)?),
        (Some(certificates), None) => {
            let pem = |der: &Vec<u8>| {
                let text = STANDARD.encode(der);
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
            };
            Authorities::from_pem(certificates.iter().map(pem).collect::<String>().as_bytes())
        }
        (None, None) => Authorities::of_system(),
    };
    found.map_err(ClientError::Authorities)
}

/// The certificate that the gateway shows, where the kubeconfig has one.
fn certificate(config: &Config) -> Result<Option<Certificate>, ClientError> {
    let user = &config.auth_info;
    let chain = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => decode(data, "client-certificate-data")?,
        (None, Some(path)) => read(Path::new(path))?,
        (None, None) => return Ok(None),
    };
    let key = match (&user.client_key_data, &user.client_key) {
        (Some(data), _) => decode(secrecy::ExposeSecret::expose_secret(data), "client-key-data")?,
        (None, Some(path)) => read(Path::new(path))?,
        (None, None) => Vec::new(),
    };
    Certificate::from_pem(&chain, &key).map(Some).map_err(ClientError::Certificate)
}

fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, ClientError> {
    STANDARD.decode(text.trim()).map_err(|_| ClientError::NotBase64(what))
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::Unreadable { path: path.display().to_string(), source };
    std::fs::read(path).map_err(failed)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection, with TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<ClientStream<TcpStream>>),
}

impl Pooled for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
