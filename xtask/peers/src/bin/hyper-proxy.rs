//! A plain reverse proxy of hyper and rustls, as one would write it in an afternoon: what the libraries cost by themselves.
//!
//! `hyper-proxy shared|per-core PORT ENDPOINT [TLS_PORT CERTIFICATE KEY GRPC_ENDPOINT]`
//!
//! `shared` has one runtime of two threads that steal tasks from each other; `per-core` two runtimes of one thread, each with
//! listening sockets and connections of its own.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

type Failure = Box<dyn Error + Send + Sync>;
type Pool = Client<HttpConnector, Incoming>;

/// Path of everything gRPC that is asked for.
const GRPC: &str = "/grpc.";

struct Proxy {
    http1: Pool,
    http2: Pool,
    endpoint: Authority,
    grpc: Authority,
}

const THREADS: usize = 2;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let runtimes = arguments.next();
    let arguments: Vec<String> = arguments.collect();
    match runtimes.as_deref() {
        Some("shared") => {
            let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
            runtime.block_on(run(&arguments))
        }
        Some("per-core") => std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        Builder::new_current_thread().enable_all().build()?.block_on(run(&arguments))
                    })
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
        }),
        _ => Err("say shared or per-core first".into()),
    }
}

async fn run(arguments: &[String]) -> Result<(), Failure> {
    let argument = |index: usize| arguments.get(index).map(String::as_str).ok_or("too few arguments");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool = |http2: bool| {
        Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1024)
            .http2_only(http2)
            .build(connector.clone())
    };
    let endpoint: Authority = argument(1)?.parse()?;
    let grpc = if arguments.len() > 2 { argument(5)?.parse()? } else { endpoint.clone() };
    let proxy = Arc::new(Proxy { http1: pool(false), http2: pool(true), endpoint, grpc });
    let plain = listen(argument(0)?.parse()?)?;
    if arguments.len() > 2 {
        let secured = listen(argument(2)?.parse()?)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls(argument(3)?, argument(4)?)?));
        tokio::spawn(accept(secured, Some(acceptor), proxy.clone()));
    }
    accept(plain, None, proxy).await;
    Ok(())
}

fn listen(port: u16) -> Result<TcpListener, Failure> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into())?)
}

fn tls(certificate: &str, key: &str) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, proxy: Arc<Proxy>) {
    loop {
        let Ok((stream, client)) = listener.accept().await else { continue };
        let (tls, proxy) = (tls.clone(), proxy.clone());
        tokio::spawn(async move {
            // A client that goes away is no matter of the proxy's.
            drop(connection(stream, client, tls, proxy).await);
        });
    }
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<TlsAcceptor>,
    proxy: Arc<Proxy>,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => serve(tls.accept(stream).await?, client, "https", proxy).await,
        None => serve(stream, client, "http", proxy).await,
    }
}

async fn serve<S>(
    stream: S,
    client: SocketAddr,
    scheme: &'static str,
    proxy: Arc<Proxy>,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let proxy = proxy.clone();
        async move {
            proxy.forward(request, client, scheme).await.map_err(|error| io::Error::other(error.to_string()))
        }
    });
    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
}

impl Proxy {
    async fn forward(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
        scheme: &'static str,
    ) -> Result<Response<Incoming>, Failure> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let is_grpc = path.path().starts_with(GRPC);
        let (pool, authority) =
            if is_grpc { (&self.http2, &self.grpc) } else { (&self.http1, &self.endpoint) };
        if let (None, Some(authority)) = (head.headers.get("host"), head.uri.authority()) {
            head.headers.insert("host", HeaderValue::from_str(authority.as_str())?);
        }
        head.uri =
            Uri::builder().scheme(Scheme::HTTP).authority(authority.clone()).path_and_query(path).build()?;
        head.version = if is_grpc { Version::HTTP_2 } else { Version::HTTP_11 };
        head.headers.remove("connection");
        let address = HeaderValue::from_str(&client.ip().to_string())?;
        head.headers.insert(HeaderName::from_static("x-forwarded-for"), address);
        head.headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static(scheme));
        let mut response = pool.request(Request::from_parts(head, body)).await?;
        response.headers_mut().remove("connection");
        Ok(response)
    }
}
