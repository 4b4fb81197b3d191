//! The listeners of Ingresses and of RoutingRules without parents.
//!
//! Where a Gateway of ours listens on the same port for every host name, that listener takes these routes, of those namespaces that its
//! `allowedRoutes` let in: one socket cannot hold two listeners that no request could tell apart.

use std::collections::BTreeMap;

use model::{ClientValidation, Listener, ListenerId, Protocol, Tls, TlsVersion, Transport};

use super::frame::{Framing, HttpsAt, Site, Taker};
use super::listeners::{covers, overlap};
use super::namespaces::From;
use crate::DefaultListener;

impl Framing<'_> {
    /// Opens the one for HTTP.
    pub(super) fn open_default_listener(&mut self) {
        let wanted = &self.options.default_listener;
        let (mut covered, mut blocked) = (false, false);
        let mut takers = Vec::new();
        for site in self.beside(wanted) {
            let listener = &site.record;
            if listener.protocol != Protocol::Http {
                blocked = true;
            } else if listener.hostname.is_none() {
                takers.push((listener.id.clone(), taker(site)));
                covered |= covers(&listener.addresses, &wanted.addresses);
            }
        }
        self.frame.takers = takers.into_iter().collect();
        self.frame.default_listeners = self.frame.takers.keys().cloned().collect();
        self.frame.is_http_blocked = self.frame.default_listeners.is_empty() && blocked;
        if !covered && !blocked {
            self.open(ListenerId::default_http(), wanted, None);
        }
    }

    /// Opens the one for HTTPS.
    pub(super) fn open_default_https(&mut self) {
        self.frame.default_certificate = self.default_certificate();
        let wanted = &self.options.default_https;
        let (mut covered, mut blocked) = (false, None);
        let (mut takers, mut shown, mut claimed) = (Vec::new(), Vec::new(), BTreeMap::new());
        for site in self.beside(wanted) {
            let listener = &site.record;
            match (listener.protocol, &listener.hostname) {
                (Protocol::Https, None) => {
                    let certificates = listener.tls.iter().flat_map(|tls| tls.certificates.iter().cloned());
                    shown.push((listener.id.clone(), certificates.collect()));
                    takers.push((listener.id.clone(), taker(site)));
                    covered |= covers(&listener.addresses, &wanted.addresses);
                }
                // What begins with TLS is told apart by name. One that is at some of the addresses leaves the name at the others.
                (Protocol::Https | Protocol::Tls, Some(hostname)) => {
                    if covers(&listener.addresses, &wanted.addresses) {
                        claimed.insert(hostname.clone(), listener.id.clone());
                    }
                }
                _ => blocked = Some(listener.id.clone()),
            }
        }
        shown.sort();
        self.frame.claimed = claimed;
        self.frame.takers.extend(takers);
        self.frame.default_listeners.extend(shown.iter().map(|(id, _)| id.clone()));
        self.frame.https = match blocked {
            Some(other) if shown.is_empty() => HttpsAt::Blocked(other),
            None if !covered => HttpsAt::Own,
            _ => HttpsAt::Gateways(shown),
        };
        if matches!(self.frame.https, HttpsAt::Own) {
            let tls = Tls {
                // Those of Ingresses come when these are known.
                names: Vec::new(),
                certificates: self.frame.default_certificate.iter().cloned().collect(),
                min_version: TlsVersion::default(),
                clients: ClientValidation::NotAsked,
            };
            self.open(ListenerId::default_https(), wanted, Some(tls));
        }
    }

    /// The listeners that share a socket with a default one.
    fn beside(&self, wanted: &DefaultListener) -> impl Iterator<Item = &Site> {
        let is_beside = |site: &&Site| {
            let listener = &site.record;
            listener.port == wanted.port
                && listener.protocol.transport() == Transport::Tcp
                && overlap(&listener.addresses, &wanted.addresses)
        };
        self.frame.listeners.iter().filter(is_beside)
    }

    fn open(&mut self, id: ListenerId, at: &DefaultListener, tls: Option<Tls>) {
        let record = Listener {
            id,
            addresses: at.addresses.clone(),
            port: at.port,
            reached_by: self.options.https_port.filter(|_| tls.is_some()),
            protocol: if tls.is_some() { Protocol::Https } else { Protocol::Http },
            hostname: None,
            tls,
            forwarded_headers: self.options.forwarded_headers,
            backend_certificate: None,
            proxy_protocol: false,
        };
        self.frame.default_listeners.push(record.id.clone());
        self.frame.listeners.push(Site { record, from: From::All, kinds: Vec::new(), is_of_set: false });
    }
}

fn taker(site: &Site) -> Taker {
    Taker { protocol: site.record.protocol, from: site.from.clone() }
}
