//! Both sides are ours: who an endpoint must be, and what clients must show.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::io;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tls::{
    Authorities, Certificate, ClientCertificates, ClientConfig, ClientOptions, PeerName, ServerConfig,
    ServerOptions, Version, alpn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn trust(&self) -> Authorities {
        Authorities::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    fn issue(&self, names: &[&str], uri: Option<&str>) -> Arc<Certificate> {
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(Ia5String::try_from(uri).unwrap())));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let made = Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes());
        Arc::new(made.unwrap())
    }
}

fn server(certificate: &Arc<Certificate>, clients: ClientCertificates) -> ServerOptions {
    ServerOptions {
        names: Vec::new(),
        certificates: vec![certificate.clone()],
        min_version: Version::default(),
        protocols: vec![alpn::H2, alpn::HTTP11],
        clients,
    }
}

fn client(authorities: Authorities, names: &[PeerName]) -> ClientOptions {
    ClientOptions {
        server_name: "a.test".to_owned(),
        tells_name: true,
        names: names.to_vec(),
        authorities: Some(authorities),
        certificate: None,
        protocols: vec![alpn::H2],
    }
}

/// Connects and exchanges a byte both ways: the name that was asked for.
async fn meet(server: &ServerOptions, client: &ClientOptions) -> io::Result<String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let config = ServerConfig::new(server).unwrap();
    let listener = tokio::spawn(async move {
        let hello = tls::hello(far).await.unwrap();
        let name = hello.server_name().unwrap_or_default().to_owned();
        let mut stream = hello.accept(&config).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(name)
    });
    let mut stream = ClientConfig::new(client).unwrap().connect(near).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn::H2));
    // What TLS 1.3 refuses, a client learns with its first read.
    stream.read_u8().await?;
    stream.write_all(b"y").await?;
    stream.flush().await?;
    listener.await.unwrap()
}

fn dns(name: &str) -> PeerName {
    PeerName::Dns(name.to_owned())
}

#[tokio::test]
async fn an_endpoint_must_have_one_of_the_names_and_the_asked_one_is_not_enough() {
    let authority = Authority::new();
    let spiffe = "spiffe://example.com/ns/shop/sa/cart";
    let certificate = authority.issue(&["a.test", "x.pods.test"], Some(spiffe));
    let server = server(&certificate, ClientCertificates::NotAsked);
    for (names, expected) in [
        (vec![dns("a.test")], true),
        (vec![dns("A.Test")], true),
        (vec![dns("b.test")], false),
        (vec![dns("b.test"), PeerName::Uri(spiffe.to_owned())], true),
        (vec![PeerName::Uri(format!("{spiffe}x"))], false),
        (vec![dns("*.pods.test")], true),
        (vec![dns("*.test")], true),
        (vec![dns("*.other.test")], false),
    ] {
        let met = meet(&server, &client(authority.trust(), &names)).await;
        assert_eq!(met.is_ok(), expected, "{names:?}: {met:?}");
        if let Ok(asked) = met {
            assert_eq!(asked, "a.test", "the name that is asked for stays");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_no_trusted_authority_vouches_for_is_refused() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let certificate = unknown.issue(&["a.test"], None);
    let server = server(&certificate, ClientCertificates::NotAsked);
    let error = meet(&server, &client(known.trust(), &[dns("a.test")])).await.unwrap_err();
    assert!(error.to_string().starts_with("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn clients_without_a_certificate_of_the_authority_are_refused_unless_any_will_do() {
    let (ours, theirs, others) = (Authority::new(), Authority::new(), Authority::new());
    let certificate = ours.issue(&["a.test"], None);
    let good = Some(theirs.issue(&["client.test"], None));
    let bad = Some(others.issue(&["client.test"], None));
    for (clients, shown, expected) in [
        (ClientCertificates::Required(theirs.trust()), &good, true),
        (ClientCertificates::Required(theirs.trust()), &bad, false),
        (ClientCertificates::Required(theirs.trust()), &None, false),
        (ClientCertificates::Unverified, &good, true),
        (ClientCertificates::Unverified, &bad, true),
        (ClientCertificates::Unverified, &None, true),
        (ClientCertificates::NotAsked, &good, true),
    ] {
        let what = format!("{clients:?}, {shown:?}");
        let options = ClientOptions { certificate: shown.clone(), ..client(ours.trust(), &[dns("a.test")]) };
        let met = meet(&server(&certificate, clients), &options).await;
        assert_eq!(met.is_ok(), expected, "{what}: {met:?}");
    }
}

#[tokio::test]
async fn any_endpoint_will_do_where_nobody_has_to_vouch_and_it_is_told_no_name_where_that_is_asked() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = server(&others.issue(&["b.test"], None), ClientCertificates::NotAsked);
    let verified = client(ours.trust(), &[dns("a.test")]);
    assert!(meet(&server, &verified).await.is_err());
    for (tells_name, expected) in [(true, "a.test"), (false, "")] {
        let any = ClientOptions { authorities: None, tells_name, ..verified.clone() };
        assert_eq!(meet(&server, &any).await.unwrap(), expected);
    }
}

#[test]
fn what_names_nobody_is_no_configuration() {
    let authority = Authority::new();
    assert!(ClientConfig::new(&client(authority.trust(), &[])).is_err());
    let no_name =
        ClientOptions { server_name: "not a name".to_owned(), ..client(authority.trust(), &[dns("a")]) };
    assert!(ClientConfig::new(&no_name).is_err());
}
