use model::{ObjectKind, ObjectRef, Protocol, Reason};
use resources::gateway::{
    Gateway, GatewayAllowedListenersNamespacesFrom, GatewayListeners,
    GatewayListenersAllowedRoutesNamespacesFrom,
};

use super::GATEWAY_GROUP;
use super::namespaces::From;
use crate::report::Report;

/// The kinds of routes of the Gateway API that a listener can serve.
fn kinds_of(protocol: Protocol, ends_tls: bool) -> &'static [ObjectKind] {
    match protocol {
        Protocol::Http | Protocol::Https => &[ObjectKind::HttpRoute, ObjectKind::GrpcRoute],
        Protocol::Tls if ends_tls => &[ObjectKind::TlsRoute, ObjectKind::TcpRoute],
        Protocol::Tls => &[ObjectKind::TlsRoute],
        Protocol::Tcp => &[ObjectKind::TcpRoute],
        Protocol::Udp => &[ObjectKind::UdpRoute],
    }
}

/// Who may attach to a listener of `owner` (a Gateway or ListenerSet): namespaces, and kinds of the Gateway API.
pub(super) fn allowed_routes(
    owner: &ObjectRef,
    listener: &GatewayListeners,
    (protocol, ends_tls): (Protocol, bool),
    field: &str,
    report: &mut Report<'_>,
) -> (From, Vec<ObjectKind>) {
    let served = kinds_of(protocol, ends_tls);
    let same = From::Only(owner.namespace.to_string());
    let Some(allowed) = &listener.allowed_routes else { return (same, served.to_vec()) };
    let namespaces = allowed.namespaces.as_ref();
    let from = match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
        None | Some(GatewayListenersAllowedRoutesNamespacesFrom::Same) => same,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::All) => From::All,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Selector) => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let field = format!("{field}.allowedRoutes.namespaces.selector");
            From::selector(selector).unwrap_or_else(|problem| nobody(problem, &field, report))
        }
    };
    let kinds = allowed.kinds.as_deref().unwrap_or_default();
    if kinds.is_empty() {
        return (from, served.to_vec());
    }
    let mut taken = Vec::new();
    for (i, kind) in kinds.iter().enumerate() {
        let group = kind.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let found = served.iter().find(|served| group == GATEWAY_GROUP && served.as_str() == kind.kind);
        match found {
            Some(found) => taken.push(*found),
            None => {
                let names: Vec<_> = served.iter().map(|kind| kind.as_str()).collect();
                let message = format!(
                    "{group}/{} is not served by a listener of protocol {}: write {}",
                    kind.kind,
                    listener.protocol,
                    names.join(" or ")
                );
                report.error(Reason::Unsupported, format!("{field}.allowedRoutes.kinds[{i}]"), message);
            }
        }
    }
    (from, taken)
}

/// Of which namespaces a Gateway takes ListenerSets; of none unless it says so (GEP-1713).
pub(super) fn allowed_listeners(gateway: &ObjectRef, object: &Gateway, report: &mut Report<'_>) -> From {
    let namespaces = object.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
        None | Some(GatewayAllowedListenersNamespacesFrom::None) => From::Nobody,
        Some(GatewayAllowedListenersNamespacesFrom::Same) => From::Only(gateway.namespace.to_string()),
        Some(GatewayAllowedListenersNamespacesFrom::All) => From::All,
        Some(GatewayAllowedListenersNamespacesFrom::Selector) => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let field = "spec.allowedListeners.namespaces.selector";
            From::selector(selector).unwrap_or_else(|problem| nobody(problem, field, report))
        }
    }
}

/// Says what is wrong with a selector: nothing attaches then.
fn nobody((place, problem): (String, String), field: &str, report: &mut Report<'_>) -> From {
    report.invalid(format!("{field}{place}"), format!("{problem}, so nothing attaches"));
    From::Nobody
}
