use std::net::IpAddr;

use model::{Listener, ListenerId, ObjectKind, ObjectRef, Protocol, Reason, Tls, TlsVersion, Transport};
use resources::gateway::{Gateway, GatewayListeners, GatewayListenersTlsMode};

use super::allowed::{allowed_listeners, allowed_routes};
use super::clients::Secured;
use super::created_unix_s;
use super::frame::{Framing, Site};
use crate::objects::Assigned;
use crate::own;
use crate::report::Report;

/// The oldest version of TLS that a listener speaks, in `tls.options`.
const MIN_VERSION: &str = "rauta.io/min-tls-version";

impl Framing<'_> {
    /// Opens the listeners of our Gateways, oldest Gateway first: where two conflict, the first one wins.
    pub(super) fn gateways(&mut self) {
        let mut gateways: Vec<_> = self.objects.gateways.iter().collect();
        gateways.sort_by_key(|(_, gateway)| created_unix_s(&gateway.metadata).unwrap_or(i64::MAX));
        for (key, gateway) in gateways {
            let mut report = Report::new(key, &mut self.frame.diagnostics);
            if !self.classes.owns_gateway(&gateway.spec.gateway_class_name, &mut report) {
                continue;
            }
            warn_of_unsupported(gateway, self.options.standalone, &mut report);
            // For what is to be said: sets ask again.
            allowed_listeners(key, gateway, &mut report);
            let addresses = addresses(self.objects.assigned_to(key, self.options), gateway, &mut report);
            let backend_certificate = self.backend_certificate(key, gateway);
            let clients = self.client_validation(key, gateway);
            self.secured.insert(key.clone(), Secured { backend_certificate, clients });
            for (i, listener) in gateway.spec.listeners.iter().enumerate() {
                let id = ListenerId::new(&key.namespace, &key.name, &listener.name);
                let field = format!("spec.listeners[{i}]");
                self.listener((key, gateway), listener, id, addresses.as_deref(), &field);
            }
        }
    }

    /// Opens a listener of `key`, which is `gateway` or a ListenerSet of it, at `addresses`; none: it stays closed.
    pub(super) fn listener(
        &mut self,
        (key, gateway): (&ObjectRef, &Gateway),
        listener: &GatewayListeners,
        id: ListenerId,
        addresses: Option<&[IpAddr]>,
        field: &str,
    ) {
        let Some(mut site) = self.site((key, gateway), listener, id.clone(), field) else {
            self.frame.refused.insert(id, None);
            return;
        };
        let opens = addresses.is_some_and(|addresses| {
            addresses.clone_into(&mut site.record.addresses);
            self.has_room(key, &site.record, field)
                && self.secure(key, listener, &mut site.record, field).is_some()
        });
        if opens {
            self.frame.listeners.push(site);
        } else {
            self.frame.refused.insert(id, Some(site));
        }
    }

    /// A listener as routes see it, open or not; none: its protocol is none of ours, and no route is for it.
    fn site(
        &mut self,
        (key, gateway): (&ObjectRef, &Gateway),
        listener: &GatewayListeners,
        id: ListenerId,
        field: &str,
    ) -> Option<Site> {
        let port = u16::try_from(listener.port).ok()?;
        let mut report = Report::new(key, &mut self.frame.diagnostics);
        let protocol = protocol(listener, field, &mut report)?;
        let ends_tls = ends_tls(protocol, listener);
        let (from, kinds) = allowed_routes(key, listener, (protocol, ends_tls), field, &mut report);
        let record = Listener {
            id,
            addresses: Vec::new(),
            port,
            reached_by: None,
            protocol,
            hostname: own::gateway::hostname(listener, field, &mut Report::muted(key)),
            tls: None,
            forwarded_headers: self.options.forwarded_headers,
            backend_certificate: None,
            proxy_protocol: protocol.transport() == Transport::Tcp
                && own::gateway::proxy_protocol(gateway, &listener.name),
        };
        Some(Site { record, from, kinds, is_of_set: key.kind == ObjectKind::ListenerSet })
    }

    /// Whether no listener stands where this one is to stand; says which one does.
    fn has_room(&mut self, key: &ObjectRef, wanted: &Listener, field: &str) -> bool {
        let (port, protocol) = (wanted.port, wanted.protocol);
        let mut report = Report::new(key, &mut self.frame.diagnostics);
        for other in self.frame.listeners.iter().map(|site| &site.record) {
            if other.port != port
                || other.protocol.transport() != protocol.transport()
                || !overlap(&other.addresses, &wanted.addresses)
            {
                continue;
            }
            // What begins with TLS is told apart by name: what passes through may stand beside what ends here.
            let is_by_name = other.protocol.begins_with_tls() && protocol.begins_with_tls();
            if other.protocol != protocol && !is_by_name {
                let message = format!(
                    "port {port} is taken for the other protocol by listener {}: choose another",
                    other.id
                );
                report.error(Reason::Conflicted, format!("{field}.protocol"), message);
                return false;
            }
            if other.hostname == wanted.hostname {
                let hostname = wanted.hostname.as_ref();
                let host = hostname.map_or("every host".to_owned(), |host| format!("host {host}"));
                let message = format!(
                    "port {port} and {host} are taken by listener {}, which is served instead: choose another port \
                     or hostname",
                    other.id
                );
                report.error(Reason::Conflicted, format!("{field}.port"), message);
                return false;
            }
        }
        true
    }

    /// Gives a listener what it needs for TLS, where that ends here; none: it cannot have that.
    fn secure(
        &mut self,
        key: &ObjectRef,
        listener: &GatewayListeners,
        record: &mut Listener,
        field: &str,
    ) -> Option<()> {
        let gateway = ObjectRef::new(ObjectKind::Gateway, &record.id.namespace, &record.id.gateway);
        let secured = self.secured.get(&gateway)?;
        record.backend_certificate.clone_from(&secured.backend_certificate);
        if ends_tls(record.protocol, listener) {
            let clients = secured.clients.of(record.port)?;
            let mut report = Report::new(key, &mut self.frame.diagnostics);
            let min_version = min_version(listener, field, &mut report)?;
            record.tls = Some(Tls {
                names: Vec::new(),
                certificates: self.certificates_of(key, listener, field)?,
                min_version,
                clients,
            });
        }
        Some(())
    }
}

fn warn_of_unsupported(gateway: &Gateway, standalone: bool, report: &mut Report<'_>) {
    let spec = &gateway.spec;
    let mut warn = |is_set: bool, field: &str| {
        if is_set {
            report.warning(Reason::Unsupported, field, "has no effect in this version");
        }
    };
    // In a cluster it is the status writer's.
    warn(standalone && spec.infrastructure.is_some(), "spec.infrastructure");
    for (i, listener) in spec.listeners.iter().enumerate() {
        let options = listener.tls.iter().filter_map(|tls| tls.options.as_ref()).flatten();
        for (name, _) in options.filter(|(name, _)| *name != MIN_VERSION) {
            warn(true, &format!("spec.listeners[{i}].tls.options[{name:?}]"));
        }
    }
}

/// The oldest version of TLS to speak; no value: what stands there is none, and newer than meant beats older.
fn min_version(listener: &GatewayListeners, field: &str, report: &mut Report<'_>) -> Option<TlsVersion> {
    let options = listener.tls.as_ref().and_then(|tls| tls.options.as_ref());
    match options.and_then(|options| options.get(MIN_VERSION)).map(String::as_str) {
        None => Some(TlsVersion::default()),
        Some("1.2") => Some(TlsVersion::Tls12),
        Some("1.3") => Some(TlsVersion::Tls13),
        Some(other) => {
            let message = format!(
                "{other:?} is no version to choose, so this listener is not served: write \"1.2\" or \"1.3\""
            );
            report.error(Reason::InvalidField, format!("{field}.tls.options[{MIN_VERSION:?}]"), message);
            None
        }
    }
}

/// The addresses to listen on, empty: all; no value: the Gateway has none. `assigned`: what it was given, where addresses are given;
/// who gives them says what is wrong with those that it asks for.
pub(super) fn addresses(
    assigned: Option<Assigned<'_>>,
    gateway: &Gateway,
    report: &mut Report<'_>,
) -> Option<Vec<IpAddr>> {
    if let Some(Assigned(addresses)) = assigned {
        return addresses.map(<[IpAddr]>::to_vec);
    }
    let wanted = gateway.spec.addresses.as_deref().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (i, address) in wanted.iter().enumerate() {
        let kind = address.r#type.as_deref().unwrap_or("IPAddress");
        let value = address.value.as_deref().filter(|value| !value.is_empty());
        match (kind, value.map(str::parse)) {
            ("IPAddress", Some(Ok(value))) if IpAddr::is_unspecified(&value) => report.error(
                Reason::InvalidField,
                format!("spec.addresses[{i}].value"),
                "stands for every address: leave spec.addresses out for that",
            ),
            ("IPAddress", Some(Ok(value))) => addresses.push(value),
            ("IPAddress", _) => report.error(
                Reason::Unsupported,
                format!("spec.addresses[{i}].value"),
                "is missing, and this version assigns no addresses: write one, or leave spec.addresses out",
            ),
            _ => report.error(
                Reason::Unsupported,
                format!("spec.addresses[{i}].type"),
                format!("{kind:?} is not served: write IPAddress and an address of this machine"),
            ),
        }
    }
    addresses.sort();
    addresses.dedup();
    (wanted.is_empty() || !addresses.is_empty()).then_some(addresses)
}

fn is_passthrough(listener: &GatewayListeners) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.mode == Some(GatewayListenersTlsMode::Passthrough))
}

fn ends_tls(protocol: Protocol, listener: &GatewayListeners) -> bool {
    protocol == Protocol::Https || (protocol == Protocol::Tls && !is_passthrough(listener))
}

fn protocol(listener: &GatewayListeners, field: &str, report: &mut Report<'_>) -> Option<Protocol> {
    match listener.protocol.as_str() {
        "HTTP" => Some(Protocol::Http),
        "TLS" => Some(Protocol::Tls),
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "HTTPS" if is_passthrough(listener) => {
            let message =
                "Passthrough needs protocol TLS, so this listener is not served: HTTPS ends TLS here";
            report.error(Reason::Unsupported, format!("{field}.tls.mode"), message);
            None
        }
        "HTTPS" => Some(Protocol::Https),
        other => {
            let message = format!(
                "{other:?} is not served in this version, so this listener is not: use HTTP, HTTPS, TLS, TCP or UDP"
            );
            report.error(Reason::Unsupported, format!("{field}.protocol"), message);
            None
        }
    }
}

/// Whether a socket of one list would take connections that are meant for the other; empty: all addresses.
pub(super) fn overlap(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|address| b.contains(address))
}

/// Whether every address of `wanted` is in `having`; empty: all addresses.
pub(super) fn covers(having: &[IpAddr], wanted: &[IpAddr]) -> bool {
    having.is_empty() || (!wanted.is_empty() && wanted.iter().all(|address| having.contains(address)))
}
