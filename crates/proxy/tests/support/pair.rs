//! A certificate of its own, as the gateway gets it and as clients and endpoints use it; listeners that show it.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{
    Certificate, CertificateId, HostPattern, Listener, ListenerId, Protocol, SecretBytes, Snapshot, Tls,
    TlsVersion, WildcardLabels,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Rule, snapshot};

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

/// The snapshot of `rules` with an HTTPS listener for each pair instead of the listener for HTTP.
pub fn secured(
    version: u64,
    address: SocketAddr,
    rules: &[Rule<'_>],
    pairs: &[(&str, &Pair)],
) -> Arc<Snapshot> {
    let plain = snapshot(version, address, rules);
    let first = plain.listeners.values().next().unwrap().clone();
    let listeners: Vec<_> = pairs
        .iter()
        .map(|(name, pair)| {
            Arc::new(Listener {
                id: ListenerId::new("test", "gateway", name),
                protocol: Protocol::Https,
                hostname: Some(HostPattern::parse(name, WildcardLabels::OneOrMore).unwrap()),
                tls: Some(Tls {
                    names: Vec::new(),
                    certificates: vec![pair.record.id.clone()],
                    min_version: TlsVersion::Tls12,
                    clients: Default::default(),
                }),
                ..(*first).clone()
            })
        })
        .collect();
    let ids: Vec<_> = listeners.iter().map(|l| l.id.clone()).collect();
    let routes = plain.routes.iter().map(|route| {
        let mut route = (**route).clone();
        route.listeners.clone_from(&ids);
        for attached in &mut route.policies {
            attached.listeners.clone_from(&ids);
        }
        Arc::new(route)
    });
    let certificates = pairs.iter().map(|(_, pair)| pair.record.clone());
    Arc::new(Snapshot::new(version, listeners, routes, plain.backends.values().cloned(), certificates))
}
