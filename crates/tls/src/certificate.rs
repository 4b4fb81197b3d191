use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::CertificateError;
use crate::provider::provider;

/// A chain with its private key, checked to be a pair.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// DNS names in lower case, as the leaf has them.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_after_unix_s: i64,
}

impl Certificate {
    /// Reads both from PEM: `chain` with the leaf first, `key` as PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// [`CertificateError`]. An expired certificate is none: clients decide about time.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(CertificateError::BadChain)?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadLeaf)?;
        let SubjectNames { dns: names, addresses, .. } = subject_names(&parsed);
        let not_after_unix_s = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoKey,
            error => CertificateError::BadKey(error),
        })?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| CertificateError::UnusableKey)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            // An algorithm that does not tell its public key is let through: handshakes show it.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(CertificateError::Mismatch),
            Err(_) => return Err(CertificateError::BadLeaf),
        }
        Ok(Self { key: Arc::new(key), names, addresses, not_after_unix_s })
    }

    /// Whether clients that ask for `host` (lower case) accept it: a name, a wildcard for its first label (RFC 9525
    /// section 6.3), or an address.
    pub fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        self.names.iter().any(|name| covers_name(name, host))
    }

    /// The DNS names of the leaf, in lower case.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When the leaf expires, in seconds since 1970.
    pub fn not_after_unix_s(&self) -> i64 {
        self.not_after_unix_s
    }

    pub(crate) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.names.join(", "))
    }
}

/// Whether `name`, perhaps a wildcard for one label, stands for `host`. Both in lower case.
pub(crate) fn covers_name(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == parent),
        None => name == host,
    }
}

/// The names that a leaf says to be its subject's.
#[derive(Default)]
pub(crate) struct SubjectNames {
    /// In lower case.
    pub(crate) dns: Vec<String>,
    pub(crate) uris: Vec<String>,
    addresses: Vec<IpAddr>,
}

pub(crate) fn subject_names(leaf: &X509Certificate<'_>) -> SubjectNames {
    let mut names = SubjectNames::default();
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return names };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
            GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4: Option<[u8; 4]> = bytes.try_into().ok();
    let v6: Option<[u8; 16]> = bytes.try_into().ok();
    v4.map(IpAddr::from).or(v6.map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let key =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let key = key.unwrap();
        (key.cert.pem(), key.signing_key.serialize_pem())
    }

    #[test]
    fn names_wildcards_and_addresses_are_covered() {
        let (chain, key) = pair(&["Shop.example", "*.apps.example", "127.0.0.1"]);
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        for (host, expected) in [
            ("shop.example", true),
            ("a.apps.example", true),
            ("a.b.apps.example", false),
            ("apps.example", false),
            (".apps.example", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("other.example", false),
        ] {
            assert_eq!(certificate.covers(host), expected, "{host}");
        }
        assert!(certificate.not_after_unix_s() > 1_700_000_000);
        assert_eq!(format!("{certificate:?}"), "Certificate(shop.example, *.apps.example)");
    }

    #[test]
    fn what_is_no_pair_is_refused_with_the_part_that_is_wrong() {
        let (chain, key) = pair(&["a.example"]);
        let (_, other) = pair(&["a.example"]);
        let refuse =
            |chain: &str, key: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(refuse(&chain, &other), CertificateError::Mismatch));
        assert!(matches!(refuse("hello", &key), CertificateError::NoCertificate));
        assert!(matches!(refuse(&chain, &chain), CertificateError::NoKey));
        assert!(matches!(refuse("-----BEGIN CERTIFICATE-----\nAAAA", &key), CertificateError::BadChain(_)));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refuse(garbage, &key), CertificateError::BadLeaf));
        let bad_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(refuse(&chain, bad_key), CertificateError::UnusableKey));
        assert!(refuse(&chain, &other).is_about_key() && !refuse("hello", &key).is_about_key());
    }
}
