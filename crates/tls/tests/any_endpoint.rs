//! Endpoints that nobody has to vouch for: any certificate will do, of version 1 too, but its key must be theirs.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{SupportedProtocolVersion, crypto::aws_lc_rs};
use tls::{ClientConfig, ClientOptions, alpn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// The parts of a sequence, each with its tag and length.
fn parts(sequence: &[u8]) -> Vec<&[u8]> {
    let mut rest = header(sequence).1;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (size, _) = header(rest);
        let (part, behind) = rest.split_at(size);
        parts.push(part);
        rest = behind;
    }
    parts
}

/// How long the first element is, and its inside.
fn header(der: &[u8]) -> (usize, &[u8]) {
    let (long, length) = match der[1] {
        short @ 0..0x80 => (0, usize::from(short)),
        more => {
            let long = usize::from(more & 0x7f);
            (long, der[2..2 + long].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    };
    let start = 2 + long;
    (start + length, &der[start..start + length])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let inside = parts.concat();
    let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
    let short = u8::try_from(inside.len()).ok().filter(|short| *short < 0x80);
    let mut out = match (short, length) {
        (Some(short), _) => vec![0x30, short],
        (None, [0, low]) => vec![0x30, 0x81, low],
        (None, [high, low]) => vec![0x30, 0x82, high, low],
    };
    out.extend(inside);
    out
}

/// The same certificate as version 1 has it: no number of a version and no extensions. Its signature is then wrong, which nobody reads.
fn version_1(certificate: &[u8]) -> Vec<u8> {
    let [signed, algorithm, signature] = parts(certificate)[..] else { panic!("no certificate") };
    let fields = parts(signed);
    // `[0] version`, `[3] extensions` (RFC 5280 4.1).
    let kept: Vec<&[u8]> = fields.into_iter().filter(|field| !matches!(field[0], 0xa0 | 0xa3)).collect();
    assert_eq!(kept.len(), 6);
    sequence(&[&sequence(&kept), algorithm, signature])
}

struct Endpoint {
    key: KeyPair,
    certificate: Vec<u8>,
}

impl Endpoint {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["b.test".to_owned()]).unwrap();
        let certificate = version_1(params.self_signed(&key).unwrap().der());
        Self { key, certificate }
    }
}

/// A handshake with who shows `certificate` and signs with `key`.
async fn meet(
    certificate: &[u8],
    key: &KeyPair,
    version: &'static SupportedProtocolVersion,
) -> io::Result<()> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let shown = CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], key);
    let server = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    let client = ClientOptions {
        server_name: "a.test".to_owned(),
        tells_name: true,
        names: Vec::new(),
        authorities: None,
        certificate: None,
        protocols: vec![alpn::HTTP11],
    };
    let (near, far) = tokio::io::duplex(64 * 1024);
    let served = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
        stream.write_all(b"x").await?;
        stream.flush().await
    });
    let mut stream = ClientConfig::new(&client).unwrap().connect(near).await?;
    assert_eq!(stream.read_u8().await?, b'x');
    served.await.unwrap()
}

const ALGORITHMS: [&SignatureAlgorithm; 4] = [
    &rcgen::PKCS_ECDSA_P256_SHA256,
    &rcgen::PKCS_ECDSA_P384_SHA384,
    &rcgen::PKCS_ED25519,
    &rcgen::PKCS_RSA_SHA256,
];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn certificates_of_version_1_will_do() {
    for algorithm in ALGORITHMS {
        let endpoint = Endpoint::new(algorithm);
        for version in VERSIONS {
            let met = meet(&endpoint.certificate, &endpoint.key, version).await;
            assert!(met.is_ok(), "{algorithm:?} {version:?}: {met:?}");
        }
    }
}

#[tokio::test]
async fn who_shows_the_certificate_of_another_key_is_refused() {
    for algorithm in ALGORITHMS {
        let (endpoint, other) = (Endpoint::new(algorithm), Endpoint::new(algorithm));
        for version in VERSIONS {
            let error = meet(&endpoint.certificate, &other.key, version).await.unwrap_err();
            assert!(error.to_string().contains("BadSignature"), "{algorithm:?} {version:?}: {error}");
        }
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused() {
    let endpoint = Endpoint::new(ALGORITHMS[0]);
    for version in VERSIONS {
        let error = meet(b"\x30\x03abc", &endpoint.key, version).await.unwrap_err();
        assert!(error.to_string().contains("BadEncoding"), "{version:?}: {error}");
    }
}
