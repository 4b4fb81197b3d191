use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{HostPattern, WildcardLabels};
use resources::gateway::{Gateway, GatewayListeners, GatewayListenersTlsMode};

use crate::pattern;
use crate::report::Report;

/// Checks what a Gateway says by itself.
pub(crate) fn check(gateway: &Gateway, report: &mut Report<'_>) {
    if gateway.spec.listeners.is_empty() {
        report.invalid("spec.listeners", "is empty: a Gateway needs at least one listener");
    }
    let mut names = BTreeSet::new();
    for (i, listener) in gateway.spec.listeners.iter().enumerate() {
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
        ("HTTPS", Some(tls))
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
