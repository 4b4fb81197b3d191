use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{HostPattern, WildcardLabels};
use resources::gateway::{Gateway, GatewayListeners, GatewayListenersTlsMode, ListenerSet};

use crate::pattern;
use crate::report::Report;

/// The listeners whose connections begin with a header of the PROXY protocol, by name or all (`true`): an annotation.
const PROXY_PROTOCOL: &str = "rauta.io/accept-proxy-protocol";

/// Checks what a Gateway says by itself.
pub(crate) fn check(gateway: &Gateway, report: &mut Report<'_>) {
    if gateway.spec.listeners.is_empty() {
        report.invalid("spec.listeners", "is empty: a Gateway needs at least one listener");
    }
    check_listeners(&gateway.spec.listeners, report);
    let meta = gateway.metadata.annotations.as_ref();
    if let Some(value) = meta.and_then(|all| all.get(PROXY_PROTOCOL)) {
        let is_known = |name: &str| gateway.spec.listeners.iter().any(|listener| listener.name == name);
        for name in value.split(',').map(str::trim).filter(|name| *name != "true" && !is_known(name)) {
            let message =
                format!("{name:?} is no listener of it: write \"true\", or names separated by commas");
            report.invalid(format!("metadata.annotations[{PROXY_PROTOCOL}]"), message);
        }
    }
    for (i, address) in gateway.spec.addresses.iter().flatten().enumerate() {
        let (kind, value) = (address.r#type.as_deref().unwrap_or("IPAddress"), address.value.as_deref());
        if let ("IPAddress", Some(value)) = (kind, value)
            && value.parse::<IpAddr>().is_err()
        {
            report.invalid(format!("spec.addresses[{i}].value"), format!("{value:?} is no IP address"));
        }
    }
}

/// Whether connections of trusted proxies to this listener begin with a header of the PROXY protocol.
pub(crate) fn proxy_protocol(gateway: &Gateway, listener: &str) -> bool {
    let meta = gateway.metadata.annotations.as_ref();
    meta.and_then(|all| all.get(PROXY_PROTOCOL))
        .is_some_and(|value| value.split(',').map(str::trim).any(|name| name == "true" || name == listener))
}

/// Checks what a ListenerSet says by itself.
pub(crate) fn check_set(set: &ListenerSet, report: &mut Report<'_>) {
    if set.spec.listeners.is_empty() {
        report.invalid("spec.listeners", "is empty: a ListenerSet needs at least one listener");
    }
    check_listeners(&listeners_of(set), report);
}

/// The listeners of a ListenerSet, in the form of a Gateway's: the API says the same of both.
pub(crate) fn listeners_of(set: &ListenerSet) -> Vec<GatewayListeners> {
    let value = serde_json::to_value(&set.spec.listeners).unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

fn check_listeners(listeners: &[GatewayListeners], report: &mut Report<'_>) {
    let mut names = BTreeSet::new();
    for (i, listener) in listeners.iter().enumerate() {
        let field = format!("spec.listeners[{i}]");
        if listener.name.is_empty() {
            report.invalid(format!("{field}.name"), "is empty: parentRefs name listeners by it");
        } else if !names.insert(&listener.name) {
            report.invalid(
                format!("{field}.name"),
                format!("{:?} names two listeners: give each its own name", listener.name),
            );
        }
        pattern::port(listener.port, format!("{field}.port"), report);
        hostname(listener, &field, report);
        check_tls(listener, &field, report);
        if matches!(listener.protocol.as_str(), "TCP" | "UDP") && listener.hostname.is_some() {
            let message = format!("must not be set for protocol {}, which names no host", listener.protocol);
            report.invalid(format!("{field}.hostname"), message);
        }
    }
}

/// The host names that a listener serves; none: every name.
pub(crate) fn hostname(
    listener: &GatewayListeners,
    field: &str,
    report: &mut Report<'_>,
) -> Option<HostPattern> {
    let name = listener.hostname.as_deref().filter(|name| !name.is_empty())?;
    pattern::host(name, &format!("{field}.hostname"), WildcardLabels::OneOrMore, report)
}

/// Listener.tls in `gateway_types.go`: required for HTTPS and TLS, forbidden for HTTP, TCP and UDP; certificates are
/// required where TLS ends.
fn check_tls(listener: &GatewayListeners, field: &str, report: &mut Report<'_>) {
    match (listener.protocol.as_str(), &listener.tls) {
        ("HTTPS", None) => report.invalid(
            format!("{field}.tls"),
            "is missing: an HTTPS listener needs certificateRefs to a Secret of type kubernetes.io/tls",
        ),
        ("TLS", None) => report.invalid(
            format!("{field}.tls"),
            "is missing: a TLS listener needs mode Passthrough, or certificateRefs to a Secret",
        ),
        ("HTTPS" | "TLS", Some(tls))
            if tls.mode != Some(GatewayListenersTlsMode::Passthrough)
                && tls.certificate_refs.as_ref().is_none_or(Vec::is_empty) =>
        {
            report.invalid(
                format!("{field}.tls.certificateRefs"),
                "is empty: name a Secret of type kubernetes.io/tls",
            );
        }
        ("HTTP" | "TCP" | "UDP", Some(_)) => report.invalid(
            format!("{field}.tls"),
            format!("must not be set for protocol {}: use HTTPS, or remove tls", listener.protocol),
        ),
        _ => {}
    }
}
