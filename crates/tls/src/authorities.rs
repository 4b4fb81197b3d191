use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::AuthorityError;

/// Certificate authorities that are trusted to say who a peer is. Cheap to clone.
#[derive(Clone)]
pub struct Authorities(pub(crate) Arc<RootCertStore>);

impl Authorities {
    /// Reads a bundle of certificates from PEM.
    ///
    /// # Errors
    /// [`AuthorityError`]: there is no certificate in it, or one that is none.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, AuthorityError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            let certificate = certificate.map_err(AuthorityError::BadBundle)?;
            store.add(certificate).map_err(|_| AuthorityError::BadCertificate)?;
        }
        if store.is_empty() { Err(AuthorityError::NoCertificate) } else { Ok(Self(Arc::new(store))) }
    }

    /// Those of the system: the files that OpenSSL would read, `SSL_CERT_FILE` and `SSL_CERT_DIR` before all. They are read
    /// once in the life of the process.
    ///
    /// # Errors
    /// [`AuthorityError::NoSystem`]: there are none.
    pub fn of_system() -> Result<Self, AuthorityError> {
        static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
        let store = SYSTEM.get_or_init(|| {
            let mut store = RootCertStore::empty();
            // What is no certificate among them is no reason to trust none of the others.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(store)
        });
        if store.is_empty() { Err(AuthorityError::NoSystem) } else { Ok(Self(store.clone())) }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_certificates_and_nothing_else() {
        let one = || rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap().cert.pem();
        assert_eq!(Authorities::from_pem(format!("{}{}", one(), one()).as_bytes()).unwrap().0.len(), 2);
        let refuse = |text: &str| Authorities::from_pem(text.as_bytes()).unwrap_err();
        assert!(matches!(refuse(""), AuthorityError::NoCertificate));
        assert!(matches!(refuse("-----BEGIN CERTIFICATE-----\nAAAA"), AuthorityError::BadBundle(_)));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refuse(&format!("{}{garbage}", one())), AuthorityError::BadCertificate));
    }
}
