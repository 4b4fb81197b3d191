//! What the tests of the matcher share.

pub(crate) mod decide;
pub(crate) mod generate;
pub(crate) mod naive;

use model::{Action, HostPattern, Listener, ListenerId, ObjectKind, ObjectRef, Protocol};
use model::{RegexAnchor, RegexPattern, Route, RouteId, RouteMatch, WildcardLabels};

pub(crate) fn gateway_host(text: &str) -> HostPattern {
    HostPattern::parse(text, WildcardLabels::OneOrMore).unwrap()
}

pub(crate) fn ingress_host(text: &str) -> HostPattern {
    HostPattern::parse(text, WildcardLabels::One).unwrap()
}

pub(crate) fn pattern(text: &str, anchor: RegexAnchor, case_insensitive: bool) -> RegexPattern {
    RegexPattern { pattern: text.into(), anchor, case_insensitive }
}

/// A listener `name` on port 80 of all addresses.
pub(crate) fn listener(name: &str, hostname: Option<HostPattern>) -> Listener {
    Listener {
        id: ListenerId::new("test", "gateway", name),
        addresses: vec![],
        port: 80,
        protocol: Protocol::Http,
        hostname,
        tls: None,
        forwarded_headers: true,
        backend_certificate: None,
        proxy_protocol: false,
        reached_by: None,
    }
}

/// The first rule of HTTPRoute `test/name`, on `listeners`.
pub(crate) fn route(
    name: &str,
    listeners: &[&Listener],
    hosts: Vec<HostPattern>,
    matches: Vec<RouteMatch>,
) -> Route {
    Route {
        listeners: listeners.iter().map(|l| l.id.clone()).collect(),
        hosts,
        matches,
        ..Route::new(
            RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 },
            Action::Respond { status: 200, reason: "test".into() },
        )
    }
}
