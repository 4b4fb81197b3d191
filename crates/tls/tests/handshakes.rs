//! Handshakes with rustls' own client over an in-memory pipe.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tls::{Certificate, ClientCertificates, ServerConfig, ServerOptions, Version, alpn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

struct Pair {
    certificate: Arc<Certificate>,
    der: CertificateDer<'static>,
}

fn pair(name: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let certificate = Certificate::from_pem(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
    Pair { certificate: Arc::new(certificate), der: made.cert.der().clone() }
}

fn options(pairs: &[&Pair]) -> ServerOptions {
    ServerOptions {
        names: Vec::new(),
        certificates: pairs.iter().map(|p| p.certificate.clone()).collect(),
        min_version: Version::default(),
        protocols: vec![alpn::H2, alpn::HTTP11],
        clients: ClientCertificates::NotAsked,
    }
}

fn client(
    trusts: &[&Pair],
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in trusts {
        roots.add(pair.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

type Connected = std::io::Result<tokio_rustls::client::TlsStream<DuplexStream>>;

/// Connects as `client` to a listener that says what it was asked for, and then "hi".
async fn connect(server: ServerConfig, client: Arc<ClientConfig>, name: &str) -> (Connected, Option<String>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let listener = tokio::spawn(async move {
        let hello = tls::hello(far).await.unwrap();
        let name = hello.server_name().map(str::to_owned);
        if let Ok(mut stream) = hello.accept(&server).await {
            let _ = stream.write_all(b"hi").await;
            let _ = stream.shutdown().await;
        }
        name
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = tokio_rustls::TlsConnector::from(client).connect(name, near).await;
    let asked = listener.await.unwrap();
    (connected, asked)
}

#[tokio::test]
async fn the_name_chooses_the_certificate_and_alpn_the_protocol() {
    let (a, b) = (pair("a.example"), pair("*.b.example"));
    let server = ServerConfig::new(&options(&[&a, &b])).unwrap();
    for (name, trusted) in [("a.example", &a), ("x.b.example", &b)] {
        let client = client(&[trusted], rustls::ALL_VERSIONS, &[b"http/1.1", b"h2"]);
        let (stream, asked) = connect(server.clone(), client, name).await;
        let mut stream = stream.unwrap();
        assert_eq!(asked.as_deref(), Some(name));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn::H2), "the gateway's order counts");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_covers_gets_the_first_one() {
    let (a, b) = (pair("a.example"), pair("b.example"));
    let server = ServerConfig::new(&options(&[&a, &b])).unwrap();
    let client = client(&[&a, &b], rustls::ALL_VERSIONS, &[]);
    let (stream, _) = connect(server, client, "c.example").await;
    let error = stream.unwrap_err().to_string();
    assert!(error.contains("a.example") && !error.contains("\"b.example"), "{error}");
}

#[tokio::test]
async fn a_name_has_its_own_certificate_before_a_wildcard_and_the_others_and_who_has_none_is_refused() {
    let (exact, wildcard, second, other) =
        (pair("x.a.example"), pair("*.a.example"), pair("x.a.example"), pair("x.a.example"));
    let named = |name: &str, pair: &Pair| (name.to_owned(), pair.certificate.clone());
    let names = vec![
        named("*.a.example", &wildcard),
        named("x.a.example", &exact),
        // Of equal ones the first counts.
        named("x.a.example", &second),
        // Whatever names it has.
        named("elsewhere.example", &exact),
    ];
    let with = |certificates: &[&Pair]| {
        ServerConfig::new(&ServerOptions { names: names.clone(), ..options(certificates) }).unwrap()
    };
    let (strict, lax) = (with(&[]), with(&[&other]));
    for (name, serves) in [
        ("x.a.example", true),
        ("y.a.example", true),
        ("elsewhere.example", true),
        ("z.y.a.example", false),
        ("a.example", false),
        (".a.example", false),
        ("b.example", false),
        ("", false),
    ] {
        assert_eq!((strict.serves(name), lax.serves(name)), (serves, true), "{name}");
    }
    for server in [strict.clone(), lax] {
        for (name, trusted) in [("x.a.example", &exact), ("y.a.example", &wildcard)] {
            let client = client(&[trusted], rustls::ALL_VERSIONS, &[]);
            assert!(connect(server.clone(), client, name).await.0.is_ok(), "{name}");
        }
    }
    let client = client(&[&exact, &wildcard], rustls::ALL_VERSIONS, &[]);
    assert!(connect(strict, client, "b.example").await.0.is_err());
}

#[tokio::test]
async fn a_minimum_version_is_kept() {
    let a = pair("a.example");
    let only_13 = ServerOptions { min_version: Version::Tls13, ..options(&[&a]) };
    let old = client(&[&a], &[&rustls::version::TLS12], &[]);
    let (stream, _) = connect(ServerConfig::new(&only_13).unwrap(), old.clone(), "a.example").await;
    assert!(stream.is_err(), "TLS 1.2 must not get in");
    let (stream, _) = connect(ServerConfig::new(&options(&[&a])).unwrap(), old, "a.example").await;
    assert_eq!(stream.unwrap().get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

#[tokio::test]
async fn sessions_are_resumed_by_ticket() {
    let a = pair("a.example");
    let server = ServerConfig::new(&options(&[&a])).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client(&[&a], &[version], &[]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (stream, _) = connect(server.clone(), client.clone(), "a.example").await;
            let mut stream = stream.unwrap();
            // Tickets of TLS 1.3 come behind the handshake.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_gets_an_alert_and_an_error() {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let error = tls::hello(far).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let mut alert = Vec::new();
    near.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&21), "an alert record");
}

#[tokio::test]
async fn a_refused_client_is_told_that_its_name_is_unknown() {
    let a = pair("a.example");
    let (near, far) = tokio::io::duplex(64 * 1024);
    let listener = tokio::spawn(async move { tls::hello(far).await.unwrap().refuse().await });
    let name = ServerName::try_from("x.example").unwrap();
    let connector = tokio_rustls::TlsConnector::from(client(&[&a], rustls::ALL_VERSIONS, &[]));
    let error = connector.connect(name, near).await.unwrap_err().to_string();
    listener.await.unwrap();
    assert!(error.contains("UnrecognizedName") || error.contains("UnrecognisedName"), "{error}");
}

#[tokio::test]
async fn bytes_for_passthrough_are_those_that_came() {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let a = pair("a.example");
    let mut session = rustls::ClientConnection::new(
        client(&[&a], rustls::ALL_VERSIONS, &[]),
        ServerName::try_from("a.example").unwrap(),
    )
    .unwrap();
    let mut sent = Vec::new();
    session.write_tls(&mut sent).unwrap();
    // In pieces: a ClientHello may come in several segments.
    for piece in sent.chunks(100) {
        near.write_all(piece).await.unwrap();
    }
    let hello = tls::hello(far).await.unwrap();
    assert_eq!(hello.server_name(), Some("a.example"));
    let (_, bytes) = hello.into_parts();
    assert_eq!(bytes, sent);
}
