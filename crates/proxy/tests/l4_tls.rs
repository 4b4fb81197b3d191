//! TLS listeners: passed through by name, ended for a TCP endpoint, and both beside HTTPS on one port.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{
    AppProtocol, Backend, BackendId, BackendSecurity, BackendTarget, ClientValidation, Endpoint,
    EndpointCondition, HostPattern, L4BackendRef, L4Route, Listener, ListenerId, ObjectKind, ObjectRef,
    Protocol, RouteId, Snapshot, Tls, TlsVersion, WildcardLabels,
};
use rustls::pki_types::ServerName;
use support::pair::{Pair, pair};
use support::{Scripted, rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An endpoint that ends TLS with this certificate, says its name, and repeats what it hears.
async fn tls_endpoint(pair: &Pair, name: &'static str) -> SocketAddr {
    let builder = rustls::ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = builder.with_single_cert(vec![pair.der.clone()], pair.key.clone_key()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                stream.write_all(name.as_bytes()).await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    address
}

async fn handshake(at: SocketAddr, trusted: &Pair, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    handshake_behind(b"", at, trusted, name).await
}

/// Says `first`, then handshakes.
async fn handshake_behind(
    first: &[u8],
    at: SocketAddr,
    trusted: &Pair,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(first).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// What an endpoint says first, and repeats until both have closed.
async fn talk(stream: &mut TlsStream<TcpStream>, said: &[u8]) -> String {
    stream.write_all(said).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = String::new();
    // Fails without close_notify.
    stream.read_to_string(&mut all).await.unwrap();
    all
}

/// A listener of its own for each of these names, on one port.
struct Lab {
    lab: support::Lab,
    listeners: Vec<Listener>,
    routes: Vec<L4Route>,
    backends: Vec<Arc<Backend>>,
    certificates: Vec<Arc<model::Certificate>>,
}

impl Lab {
    fn new(web: &Scripted) -> Self {
        Self::trusting(web, vec![])
    }

    /// With these proxies trusted.
    fn trusting(web: &Scripted, trusted_proxies: Vec<ipnet::IpNet>) -> Self {
        let config = proxy::Config { threads: 1, trusted_proxies, ..Default::default() };
        let lab = support::Lab::with(config, &[rule("/", &[web.address])]);
        Self { lab, listeners: vec![], routes: vec![], backends: vec![], certificates: vec![] }
    }

    fn listener(&mut self, host: &str, protocol: Protocol, pair: Option<&Pair>) -> ListenerId {
        let id = ListenerId::new("test", "gateway", host);
        self.certificates.extend(pair.map(|pair| pair.record.clone()));
        self.listeners.push(Listener {
            id: id.clone(),
            addresses: vec![self.lab.address.ip()],
            port: self.lab.address.port(),
            protocol,
            hostname: Some(HostPattern::parse(host, WildcardLabels::OneOrMore).unwrap()),
            tls: pair.map(|pair| Tls {
                names: Vec::new(),
                certificates: vec![pair.record.id.clone()],
                min_version: TlsVersion::Tls12,
                clients: ClientValidation::default(),
            }),
            forwarded_headers: true,
            proxy_protocol: false,
            reached_by: None,
            backend_certificate: None,
        });
        id
    }

    fn route(&mut self, listener: &ListenerId, hosts: &[&str], endpoint: SocketAddr) {
        let number = self.routes.len();
        let backend = BackendId::service("test", &format!("l4-{number}"), 1);
        self.routes.push(L4Route {
            id: RouteId {
                object: ObjectRef::new(ObjectKind::HttpRoute, "test", &format!("t{number}")),
                rule: 0,
            },
            listeners: vec![listener.clone()],
            hosts: hosts.iter().map(|h| HostPattern::parse(h, WildcardLabels::OneOrMore).unwrap()).collect(),
            backends: vec![L4BackendRef { weight: 1, target: BackendTarget::Backend(backend.clone()) }],
            created_unix_s: None,
        });
        let endpoints =
            vec![Endpoint { address: endpoint, other: None, weight: 1, condition: EndpointCondition::Ready }];
        self.backends.push(Arc::new(Backend {
            id: backend,
            protocol: AppProtocol::Http1,
            endpoints,
            affinity: None,
            policy: None,
            security: BackendSecurity::Cleartext,
            proxy_protocol: None,
        }));
    }

    /// Serves it; HTTP routes are those of `web`, on every HTTPS listener.
    fn serve(&self, web: &Scripted) {
        let plain = support::snapshot(50, self.lab.address, &[rule("/", &[web.address])]);
        let https: Vec<_> =
            self.listeners.iter().filter(|l| l.protocol == Protocol::Https).map(|l| l.id.clone()).collect();
        let routes = plain.routes.iter().map(|route| {
            let mut route = (**route).clone();
            route.listeners.clone_from(&https);
            Arc::new(route)
        });
        let backends = plain.backends.values().chain(&self.backends).cloned();
        let listeners = self.listeners.iter().cloned().map(Arc::new);
        let snapshot = Snapshot::new(50, listeners, routes, backends, self.certificates.iter().cloned());
        let snapshot = snapshot.with_l4_routes(self.routes.iter().cloned().map(Arc::new));
        assert!(self.lab.gateway.apply(Arc::new(snapshot)).is_empty());
    }
}

#[tokio::test]
async fn names_pass_through_end_here_or_are_served_as_https_on_one_port() {
    let (inner, other, ended, web) =
        (pair("a.pass.test"), pair("b.pass.test"), pair("end.test"), pair("web.test"));
    let endpoint = tls_endpoint(&inner, "inner ").await;
    let wild = tls_endpoint(&other, "other ").await;
    let plain = Scripted::new(|conn| {
        conn.stream.write_all(b"plain ").unwrap();
        let mut heard = conn.until(b"!");
        heard.extend(b" heard");
        conn.stream.write_all(&heard).unwrap();
    });
    let http = Scripted::echo("web");
    let mut lab = Lab::new(&http);
    let passing = lab.listener("*.pass.test", Protocol::Tls, None);
    let ending = lab.listener("end.test", Protocol::Tls, Some(&ended));
    lab.listener("web.test", Protocol::Https, Some(&web));
    lab.route(&passing, &["a.pass.test"], endpoint);
    lab.route(&passing, &["*.pass.test"], wild);
    lab.route(&ending, &["end.test"], plain.address);
    lab.serve(&http);
    let at = lab.lab.address;

    let mut stream = handshake(at, &inner, "a.pass.test").await.unwrap();
    assert_eq!(talk(&mut stream, b"hello").await, "inner hello");
    let mut stream = handshake(at, &other, "b.pass.test").await.unwrap();
    assert_eq!(talk(&mut stream, b"hello").await, "other hello");
    let mut stream = handshake(at, &ended, "end.test").await.unwrap();
    stream.write_all(b"hello!").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "plain hello! heard");
    let mut stream = handshake(at, &web, "web.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");

    // Names that no listener has, that no route of theirs has, and no name at all.
    for name in ["none.test", "pass.test", "127.0.0.1"] {
        let error = handshake(at, &inner, name).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("unrecogni"), "{name}: {error}");
    }
    let counted = r#"rauta_tls_handshake_failures_total{reason="unknown server name"} 3"#;
    support::eventually("refusals are counted", || lab.lab.metrics.encode().contains(counted));
    let passed = lab.lab.metrics.passed_on();
    assert_eq!((passed[0].0.1, passed[0].1.totals().opened), ("tls", 3));
}

#[tokio::test]
async fn a_listener_with_a_more_specific_name_isolates_its_routes() {
    let (one, two) = (pair("a.iso.test"), pair("b.iso.test"));
    let (first, second) = (tls_endpoint(&one, "first ").await, tls_endpoint(&two, "second ").await);
    let http = Scripted::echo("web");
    let mut lab = Lab::new(&http);
    let exact = lab.listener("a.iso.test", Protocol::Tls, None);
    let wide = lab.listener("*.iso.test", Protocol::Tls, None);
    // The wide listener's route would take the name, but the exact listener has none for it.
    lab.route(&wide, &["a.iso.test"], first);
    lab.route(&wide, &["b.iso.test"], second);
    lab.serve(&http);
    assert!(handshake(lab.lab.address, &one, "a.iso.test").await.is_err());
    let mut stream = handshake(lab.lab.address, &two, "b.iso.test").await.unwrap();
    assert_eq!(talk(&mut stream, b"x").await, "second x");
    lab.route(&exact, &["a.iso.test"], first);
    lab.serve(&http);
    let mut stream = handshake(lab.lab.address, &one, "a.iso.test").await.unwrap();
    assert_eq!(talk(&mut stream, b"x").await, "first x");
}

#[tokio::test]
async fn much_passes_through_tls_unchanged() {
    let inner = pair("a.test");
    let endpoint = tls_endpoint(&inner, "").await;
    let http = Scripted::echo("web");
    let mut lab = Lab::new(&http);
    let listener = lab.listener("a.test", Protocol::Tls, None);
    lab.route(&listener, &["a.test"], endpoint);
    lab.serve(&http);
    let mut stream = handshake(lab.lab.address, &inner, "a.test").await.unwrap();
    let sent = vec![b'q'; 1_500_000];
    assert!(talk(&mut stream, &sent).await.into_bytes() == sent);
}

#[tokio::test]
async fn a_proxys_header_comes_before_tls_and_its_client_is_told_to_the_endpoint() {
    let ended = pair("end.test");
    let plain = Scripted::new(|conn| {
        let heard = conn.until(b"!");
        conn.stream.write_all(&heard).unwrap();
    });
    let http = Scripted::echo("web");
    let mut lab = Lab::trusting(&http, vec!["127.0.0.1/32".parse().unwrap()]);
    let listener = lab.listener("end.test", Protocol::Tls, Some(&ended));
    lab.listeners[0].proxy_protocol = true;
    lab.route(&listener, &["end.test"], plain.address);
    Arc::make_mut(&mut lab.backends[0]).proxy_protocol = Some(model::ProxyProtocol::V1);
    lab.serve(&http);
    let at = lab.lab.address;
    let header = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n";
    let mut stream = handshake_behind(header, at, &ended, "end.test").await.unwrap();
    stream.write_all(b"hello!").await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, format!("PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 40000 {}\r\nhello!", at.port()));
    assert!(handshake(at, &ended, "end.test").await.is_err(), "no header, no handshake");
}

#[tokio::test]
async fn what_came_over_tls_never_goes_on_in_cleartext_where_tls_is_asked_for() {
    let (ended, inner) = (pair("end.test"), pair("pass.test"));
    let endpoint = tls_endpoint(&inner, "inner ").await;
    let http = Scripted::echo("web");
    let mut lab = Lab::new(&http);
    let ending = lab.listener("end.test", Protocol::Tls, Some(&ended));
    let passing = lab.listener("pass.test", Protocol::Tls, None);
    lab.route(&ending, &["end.test"], endpoint);
    lab.route(&passing, &["pass.test"], endpoint);
    for backend in &mut lab.backends {
        *backend = Arc::new(Backend { security: BackendSecurity::Broken, ..(**backend).clone() });
    }
    lab.serve(&http);
    let at = lab.lab.address;
    let mut stream = handshake(at, &ended, "end.test").await.unwrap();
    assert!(stream.read(&mut [0]).await.is_err(), "reset");
    assert_eq!(lab.lab.metrics.l4_refusals.values(), [("backend is to be spoken to over TLS", 1)]);
    let mut stream = handshake(at, &inner, "pass.test").await.unwrap();
    assert_eq!(talk(&mut stream, b"x").await, "inner x");
}
