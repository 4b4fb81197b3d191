//! A certificate of its own, as the gateway gets it and as clients and endpoints use it.

use std::sync::Arc;

use model::{Certificate, CertificateId, SecretBytes};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that clients are told to trust.
pub struct Pair {
    pub record: Arc<Certificate>,
    pub der: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

pub fn pair(name: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let record = Certificate {
        id: CertificateId { namespace: "test".into(), name: name.into() },
        chain_pem: made.cert.pem().into_bytes().into(),
        key_pem: SecretBytes::new(made.signing_key.serialize_pem().as_bytes()),
    };
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Pair { record: Arc::new(record), der: made.cert.der().clone(), key }
}
