use std::net::IpAddr;

use model::{ClientValidation, Listener, ListenerId, ObjectRef, Protocol, Reason, Tls, TlsVersion};
use resources::gateway::{
    Gateway, GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom, GatewayListenersTlsMode,
};

use super::created_unix_s;
use super::frame::{Framing, From, Site};
use crate::own;
use crate::report::Report;

/// The label that every Namespace has: the one that a selector can be judged by without Namespace objects.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
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
            warn_of_unsupported(gateway, &mut report);
            let addresses = addresses(gateway, &mut report);
            for (i, listener) in gateway.spec.listeners.iter().enumerate() {
                let id = ListenerId::new(&key.namespace, &key.name, &listener.name);
                let field = format!("spec.listeners[{i}]");
                let site = match &addresses {
                    Some(addresses) => self.listener(key, gateway, listener, id.clone(), addresses, &field),
                    None => None,
                };
                match site {
                    Some(site) => self.frame.listeners.push(site),
                    None => drop(self.frame.refused.insert(id)),
                }
            }
        }
    }

    /// Opens the listener of Ingresses and of RoutingRules without parents.
    ///
    /// Where a Gateway of ours listens on the same port for every host name, that listener takes these routes: one
    /// socket cannot hold two listeners that no request could tell apart.
    pub(super) fn open_default_listener(&mut self) {
        let wanted = &self.options.default_listener;
        let mut covered = false;
        let mut blocked = false;
        for site in &self.frame.listeners {
            let listener = &site.record;
            if listener.port != wanted.port || !overlap(&listener.addresses, &wanted.addresses) {
                continue;
            }
            if listener.protocol != Protocol::Http {
                blocked = true;
            } else if listener.hostname.is_none() {
                self.frame.default_listeners.push(listener.id.clone());
                covered |= covers(&listener.addresses, &wanted.addresses);
            }
        }
        self.frame.default_listeners.sort();
        if covered || blocked {
            return;
        }
        let record = Listener {
            id: ListenerId::default_http(),
            addresses: wanted.addresses.clone(),
            port: wanted.port,
            protocol: Protocol::Http,
            hostname: None,
            tls: None,
            forwarded_headers: self.options.forwarded_headers,
            backend_certificate: None,
            proxy_protocol: false,
        };
        self.frame.default_listeners.push(record.id.clone());
        self.frame.listeners.push(Site { record, from: From::All, takes_http_routes: false });
    }

    fn listener(
        &mut self,
        key: &ObjectRef,
        gateway: &Gateway,
        listener: &GatewayListeners,
        id: ListenerId,
        addresses: &[IpAddr],
        field: &str,
    ) -> Option<Site> {
        let mut report = Report::new(key, &mut self.frame.diagnostics);
        let protocol = protocol(listener, field, &mut report)?;
        let has_client_validation = gateway.spec.tls.as_ref().is_some_and(|tls| tls.frontend.is_some());
        if protocol == Protocol::Https && has_client_validation {
            let message = "this version cannot validate client certificates, so no HTTPS listener of this Gateway \
                           is served";
            report.error(Reason::Unsupported, "spec.tls.frontend", message);
            return None;
        }
        let port = u16::try_from(listener.port).ok()?;
        let hostname = own::gateway::hostname(listener, field, &mut Report::muted(key));
        for other in self.frame.listeners.iter().map(|site| &site.record) {
            if other.port != port || !overlap(&other.addresses, addresses) {
                continue;
            }
            if other.protocol != protocol {
                let message = format!(
                    "port {port} is taken for the other protocol by listener {}: choose another",
                    other.id
                );
                report.error(Reason::Conflicted, format!("{field}.protocol"), message);
                return None;
            }
            if other.hostname == hostname {
                let host = hostname.as_ref().map_or("every host".to_owned(), |host| format!("host {host}"));
                let message = format!(
                    "port {port} and {host} are taken by listener {}, which is served instead: choose another port \
                     or hostname",
                    other.id
                );
                report.error(Reason::Conflicted, format!("{field}.port"), message);
                return None;
            }
        }
        let (from, takes_http_routes) = allowed_routes(key, listener, field, &mut report);
        let tls = match protocol {
            Protocol::Http | Protocol::Tls | Protocol::Tcp | Protocol::Udp => None,
            Protocol::Https => {
                let min_version = min_version(listener, field, &mut report)?;
                let clients = ClientValidation::NotAsked;
                Some(Tls { certificates: self.certificates_of(key, listener, field)?, min_version, clients })
            }
        };
        let forwarded_headers = self.options.forwarded_headers;
        let addresses = addresses.to_vec();
        let (backend_certificate, proxy_protocol) = (None, false);
        let record = Listener {
            id,
            addresses,
            port,
            protocol,
            hostname,
            tls,
            forwarded_headers,
            backend_certificate,
            proxy_protocol,
        };
        Some(Site { record, from, takes_http_routes })
    }
}

fn warn_of_unsupported(gateway: &Gateway, report: &mut Report<'_>) {
    let spec = &gateway.spec;
    let mut warn = |is_set: bool, field: &str| {
        if is_set {
            report.warning(Reason::Unsupported, field, "has no effect in this version");
        }
    };
    warn(spec.infrastructure.is_some(), "spec.infrastructure");
    warn(spec.allowed_listeners.is_some(), "spec.allowedListeners");
    warn(spec.tls.as_ref().is_some_and(|tls| tls.backend.is_some()), "spec.tls.backend");
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

/// The addresses to listen on, none of them standing for all; no value: addresses were asked for, and none can be had.
fn addresses(gateway: &Gateway, report: &mut Report<'_>) -> Option<Vec<IpAddr>> {
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

fn protocol(listener: &GatewayListeners, field: &str, report: &mut Report<'_>) -> Option<Protocol> {
    let is_passthrough =
        listener.tls.as_ref().is_some_and(|tls| tls.mode == Some(GatewayListenersTlsMode::Passthrough));
    match listener.protocol.as_str() {
        "HTTP" => Some(Protocol::Http),
        "HTTPS" if is_passthrough => {
            let message = "Passthrough is not served in this version: use Terminate";
            report.error(Reason::Unsupported, format!("{field}.tls.mode"), message);
            None
        }
        "HTTPS" => Some(Protocol::Https),
        other => {
            let message = format!(
                "{other:?} is not served in this version, so this listener is not: use HTTP or HTTPS"
            );
            report.error(Reason::Unsupported, format!("{field}.protocol"), message);
            None
        }
    }
}

/// Who may attach: namespaces, and whether HTTPRoutes may.
fn allowed_routes(
    gateway: &ObjectRef,
    listener: &GatewayListeners,
    field: &str,
    report: &mut Report<'_>,
) -> (From, bool) {
    let same = From::Only(vec![gateway.namespace.to_string()]);
    let Some(allowed) = &listener.allowed_routes else { return (same, true) };
    let namespaces = allowed.namespaces.as_ref();
    let from = match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
        None | Some(GatewayListenersAllowedRoutesNamespacesFrom::Same) => same,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::All) => From::All,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Selector) => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let labels = selector.and_then(|selector| selector.match_labels.as_ref());
            let expressions = selector.and_then(|selector| selector.match_expressions.as_ref());
            let name = labels.and_then(|labels| labels.get(NAMESPACE_NAME));
            let is_by_name_alone =
                labels.is_some_and(|labels| labels.len() == 1) && expressions.is_none_or(Vec::is_empty);
            match name.filter(|_| is_by_name_alone) {
                Some(name) => From::Only(vec![name.clone()]),
                None => {
                    let message = format!(
                        "only matchLabels with {NAMESPACE_NAME} can be judged without Namespace objects, so no \
                         route attaches: use that label, or from: Same or All"
                    );
                    let field = format!("{field}.allowedRoutes.namespaces.selector");
                    report.error(Reason::Unsupported, field, message);
                    From::Only(Vec::new())
                }
            }
        }
    };
    let kinds = allowed.kinds.as_deref().unwrap_or_default();
    let mut takes_http_routes = kinds.is_empty();
    for (i, kind) in kinds.iter().enumerate() {
        let group = kind.group.as_deref().unwrap_or("gateway.networking.k8s.io");
        if (group, kind.kind.as_str()) == ("gateway.networking.k8s.io", "HTTPRoute") {
            takes_http_routes = true;
        } else {
            let message = format!("{group}/{} is not served in this version: write HTTPRoute", kind.kind);
            report.error(Reason::Unsupported, format!("{field}.allowedRoutes.kinds[{i}]"), message);
        }
    }
    (from, takes_http_routes)
}

/// Whether a socket of one list would take connections that are meant for the other; empty: all addresses.
fn overlap(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|address| b.contains(address))
}

/// Whether every address of `wanted` is in `having`; empty: all addresses.
fn covers(having: &[IpAddr], wanted: &[IpAddr]) -> bool {
    having.is_empty() || (!wanted.is_empty() && wanted.iter().all(|address| having.contains(address)))
}
