//! Endpoints behind TLS: who they must be, what is spoken, what they are shown, and what a change makes of connections.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use model::{
    AppProtocol, Authorities, BackendSecurity, BackendTls, Certificate, CertificateId, Listener, PeerName,
    PemBundle, SecretBytes, Snapshot,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use support::silent::{Silent, refusing};
use support::{Client, Lab, Rule, Target, eventually, rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// What a BackendTLSPolicy says: endpoints are `name`, by the word of this authority.
    fn security(&self, name: &str) -> BackendSecurity {
        BackendSecurity::Tls(Arc::new(BackendTls {
            server_name: name.into(),
            tells_name: true,
            names: vec![PeerName::Dns(name.into())],
            authorities: Authorities::Bundle(PemBundle::new(self.0.pem().as_bytes())),
            certificate: None,
        }))
    }
}

/// An endpoint that says of each request what it knows of it.
struct Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    received: Arc<Mutex<String>>,
    /// Connections end behind this many requests of HTTP/1; none: never.
    requests_max: Arc<AtomicUsize>,
}

impl Endpoint {
    /// `clients`: who vouches for clients; none: they are not asked for a certificate.
    async fn new(
        authority: &Authority,
        name: &str,
        protocols: &[&[u8]],
        clients: Option<&Authority>,
    ) -> Self {
        let (certificate, key) = authority.issue(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let made = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            received: Arc::default(),
            requests_max: Arc::new(AtomicUsize::new(usize::MAX)),
        };
        let (count, received, most) =
            (made.connections.clone(), made.received.clone(), made.requests_max.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (acceptor, received, most) = (acceptor.clone(), received.clone(), most.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => http2(stream).await,
                        _ => http1(stream, &received, &most).await,
                    }
                });
            }
        });
        made
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn about(stream: &TlsStream<TcpStream>) -> String {
    let tls = stream.get_ref().1;
    let shown = tls.peer_certificates().map_or(0, <[_]>::len);
    format!("asked for {}, shown {shown}", tls.server_name().unwrap_or("nobody"))
}

async fn http1(mut stream: TlsStream<TcpStream>, received: &Mutex<String>, most: &AtomicUsize) {
    let about = about(&stream);
    let (mut text, mut requests) = (Vec::new(), 0);
    let mut chunk = [0; 4096];
    while requests < most.load(Ordering::SeqCst) {
        // Requests of these tests have no body, or one that ends in "END".
        while !(text.ends_with(b"\r\n\r\n") && !text.starts_with(b"POST") || text.ends_with(b"END")) {
            match stream.read(&mut chunk).await {
                Ok(read) if read > 0 => text.extend_from_slice(&chunk[..read]),
                _ => return,
            }
        }
        received.lock().unwrap().push_str(&String::from_utf8(std::mem::take(&mut text)).unwrap());
        requests += 1;
        let body = format!("HTTP/1.1, {about}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    let _ = stream.shutdown().await;
}

async fn http2(stream: TlsStream<TcpStream>) {
    let about = about(&stream);
    let mut peer = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = peer.accept().await {
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        let text = format!("HTTP/2, {about}, {}", request.uri().scheme_str().unwrap());
        send.send_data(Bytes::from(text), true).unwrap();
    }
}

fn secured<'r>(
    endpoints: &'r [SocketAddr],
    protocol: AppProtocol,
    security: BackendSecurity,
) -> [Rule<'r>; 1] {
    [Rule { protocol, security, ..rule("/", endpoints) }]
}

/// The answers to so many requests on one connection of a client.
async fn ask(lab: &Lab, requests: usize) -> Vec<(u16, String)> {
    let address = lab.address;
    tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        let ask = |_| {
            let answer = client.get("/");
            (answer.status, answer.text())
        };
        (0..requests).map(ask).collect()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_version_is_what_the_service_says_or_the_endpoint_chooses() {
    let authority = Authority::new();
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (protocol, offered, expected) in [
        (AppProtocol::Http1, both, "HTTP/1.1, asked for a.test, shown 0"),
        (AppProtocol::Http2, both, "HTTP/2, asked for a.test, shown 0, https"),
        (AppProtocol::Negotiated, both, "HTTP/2, asked for a.test, shown 0, https"),
        (AppProtocol::Negotiated, &both[1..], "HTTP/1.1, asked for a.test, shown 0"),
        (AppProtocol::Negotiated, &[], "HTTP/1.1, asked for a.test, shown 0"),
    ] {
        let endpoint = Endpoint::new(&authority, "a.test", offered, None).await;
        let lab = Lab::new(&secured(&[endpoint.address], protocol, authority.security("a.test")));
        for (status, text) in ask(&lab, 3).await {
            assert_eq!((status, text.as_str()), (200, expected), "{protocol:?}");
        }
        assert_eq!(endpoint.connections(), 1, "{protocol:?}: connections are kept");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_another_or_nobody_gets_no_request() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (authority, name) in [(&ours, "b.test"), (&theirs, "a.test")] {
        let endpoint = Endpoint::new(authority, name, &[], None).await;
        let security = ours.security("a.test");
        let lab = Lab::new(&secured(&[endpoint.address], AppProtocol::Http1, security));
        let answers = ask(&lab, 1).await;
        assert_eq!(answers, [(502, "TLS with the endpoint failed\n".to_owned())], "{name}");
        assert_eq!(*endpoint.received.lock().unwrap(), "");
        let counted = r#"rauta_upstream_connections_total{result="tls"} 1"#;
        assert!(lab.metrics.encode().contains(counted), "{}", lab.metrics.encode());
    }
    // One in cleartext is none that has proved anything.
    let plain = support::Scripted::echo("plain");
    let lab = Lab::new(&secured(&[plain.address], AppProtocol::Http1, ours.security("a.test")));
    // It waits for the rest of what it takes for a request.
    assert_eq!(ask(&lab, 1).await[0].0, 504);
    assert!(!plain.received().contains("HTTP/1.1"));
}

#[tokio::test]
async fn where_tls_cannot_be_set_up_nothing_leaves() {
    let plain = support::Scripted::echo("plain");
    let no_bundle = BackendSecurity::Tls(Arc::new(BackendTls {
        server_name: "a.test".into(),
        tells_name: true,
        names: vec![PeerName::Dns("a.test".into())],
        authorities: Authorities::Bundle(PemBundle::new(b"nothing")),
        certificate: None,
    }));
    for security in [BackendSecurity::Broken, no_bundle] {
        let lab = Lab::new(&secured(&[plain.address], AppProtocol::Http1, security));
        assert_eq!(ask(&lab, 1).await[0].0, 500);
    }
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn a_policy_that_changes_leaves_no_connection_of_the_old_one() {
    let (old, new) = (Authority::new(), Authority::new());
    let endpoint = Endpoint::new(&old, "a.test", &[b"h2"], None).await;
    let endpoints = [endpoint.address];
    let mut lab = Lab::new(&secured(&endpoints, AppProtocol::Http2, old.security("a.test")));
    assert_eq!(ask(&lab, 1).await[0].0, 200);
    // The same again changes nothing.
    lab.apply(&secured(&endpoints, AppProtocol::Http2, old.security("a.test")));
    assert_eq!(ask(&lab, 1).await[0].0, 200);
    assert_eq!(endpoint.connections(), 1);
    lab.apply(&secured(&endpoints, AppProtocol::Http2, new.security("a.test")));
    assert_eq!(ask(&lab, 1).await[0].0, 502);
    assert_eq!(endpoint.connections(), 2);
}

#[tokio::test]
async fn endpoints_see_the_certificate_of_the_gateway_and_refuse_without() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let endpoint = Endpoint::new(&ours, "a.test", &[], Some(&clients)).await;
    let endpoints = [endpoint.address];
    let rules = secured(&endpoints, AppProtocol::Http1, ours.security("a.test"));
    let lab = Lab::new(&rules);
    assert_eq!(ask(&lab, 1).await[0].0, 502);
    assert_eq!(*endpoint.received.lock().unwrap(), "");
    let (certificate, key) = clients.issue("gateway.test");
    let id = CertificateId { namespace: "test".into(), name: "client".into() };
    let record = Certificate {
        id: id.clone(),
        chain_pem: certificate.pem().into_bytes().into(),
        key_pem: SecretBytes::new(key.serialize_pem().as_bytes()),
    };
    let plain = support::snapshot(7, lab.address, &rules);
    let listeners = plain
        .listeners
        .values()
        .map(|listener| Arc::new(Listener { backend_certificate: Some(id.clone()), ..(**listener).clone() }));
    let (routes, backends) = (plain.routes.iter().cloned(), plain.backends.values().cloned());
    let snapshot = Snapshot::new(7, listeners, routes, backends, [Arc::new(record)]);
    lab.gateway.apply(Arc::new(snapshot));
    // It is passed over for a moment, but it is the only one.
    assert_eq!(ask(&lab, 1).await, [(200, "HTTP/1.1, asked for a.test, shown 1".to_owned())]);
}

#[tokio::test]
async fn what_a_backend_shows_comes_before_what_the_gateway_shows_and_anybody_may_be_asked_for() {
    let (theirs, clients) = (Authority::new(), Authority::new());
    let endpoint = Endpoint::new(&theirs, "other.test", &[], Some(&clients)).await;
    let (certificate, key) = clients.issue("backend.test");
    let shown = Arc::new(Certificate {
        id: CertificateId { namespace: "test".into(), name: "shown".into() },
        chain_pem: certificate.pem().into_bytes().into(),
        key_pem: SecretBytes::new(key.serialize_pem().as_bytes()),
    });
    let tls = BackendTls {
        server_name: "a.test".into(),
        tells_name: false,
        names: vec![PeerName::Dns("a.test".into())],
        authorities: Authorities::Anybody,
        certificate: Some(shown),
    };
    let security = BackendSecurity::Tls(Arc::new(tls));
    let lab = Lab::new(&secured(&[endpoint.address], AppProtocol::Http1, security));
    assert_eq!(ask(&lab, 1).await, [(200, "HTTP/1.1, asked for nobody, shown 1".to_owned())]);
}

#[tokio::test]
async fn a_kept_connection_that_the_endpoint_closed_costs_no_request() {
    let authority = Authority::new();
    let endpoint = Endpoint::new(&authority, "a.test", &[], None).await;
    endpoint.requests_max.store(1, Ordering::SeqCst);
    let endpoints = [endpoint.address];
    let lab = Lab::new(&secured(&endpoints, AppProtocol::Http1, authority.security("a.test")));
    let address = lab.address;
    tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        for _ in 0..20 {
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nEND");
            assert_eq!(client.response().status, 200);
        }
    })
    .await
    .unwrap();
    eventually("each has come once", || endpoint.received.lock().unwrap().matches("POST").count() == 20);
}

#[tokio::test]
async fn probes_speak_as_requests_do() {
    let authority = Authority::new();
    let endpoint = Endpoint::new(&authority, "endpoint.test", &[b"h2", b"http/1.1"], None).await;
    let result = |name: &str| {
        let second = std::time::Duration::from_secs(1);
        let probe = model::Probe::Http { path: "/health".into(), host: None, statuses: vec![200] };
        let check = model::HealthCheck {
            probe,
            interval: std::time::Duration::from_millis(5),
            timeout: 5 * second,
            healthy_after: 1,
            unhealthy_after: 1,
        };
        let policy = model::BackendPolicy { health_check: Some(check), ..Default::default() };
        let all = [endpoint.address];
        let [rule] = secured(&all, AppProtocol::Negotiated, authority.security(name));
        let lab = Lab::new(&[Rule { policy: Some(Arc::new(policy)), ..rule }]);
        tokio::task::spawn_blocking(move || {
            let (mut found, lab) = (Vec::new(), &{ lab });
            eventually("probed", || {
                found = lab.metrics.health().probes();
                !found.is_empty()
            });
            found[0].0
        })
    };
    assert_eq!(result("endpoint.test").await.unwrap(), "passed");
    assert_eq!(result("another.test").await.unwrap(), "tls");
}

#[tokio::test]
async fn tls_begins_at_whichever_address_answers() {
    let authority = Authority::new();
    let endpoint = Endpoint::new(&authority, "a.test", &[b"h2", b"http/1.1"], None).await;
    let silent = Silent::new();
    for dead in [silent.address, refusing()] {
        for protocol in [AppProtocol::Http1, AppProtocol::Http2, AppProtocol::Negotiated] {
            let pairs = [(dead, endpoint.address)];
            let [secured] = secured(&[], protocol, authority.security("a.test"));
            let lab = Lab::new(&[Rule { target: Target::Pairs(&pairs), ..secured }]);
            for (status, text) in ask(&lab, 3).await {
                assert_eq!((status, text.contains("asked for a.test")), (200, true), "{protocol:?}: {text}");
            }
        }
    }
}
