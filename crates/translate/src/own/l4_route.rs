use kube::core::ObjectMeta;
use model::{HostPattern, ObjectRef, WildcardLabels};
use resources::gateway::{TcpRoute, TlsRoute, UdpRoute};

use crate::pattern;
use crate::report::Report;

/// Gateway API's maximum for `backendRefs[].weight`.
const WEIGHT_MAX: i32 = 1_000_000;

/// A TCPRoute, TLSRoute or UDPRoute: the API says the same of all three but for names.
#[derive(Debug)]
pub(crate) struct L4Source<'a> {
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) parents: Vec<L4Parent<'a>>,
    /// Of a TLSRoute, which must have some.
    pub(crate) hostnames: Option<&'a [String]>,
    /// The backends of each rule.
    pub(crate) rules: Vec<Vec<L4Reference<'a>>>,
}

/// A parentRef.
#[derive(Debug)]
pub(crate) struct L4Parent<'a> {
    pub(crate) group: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) section: Option<&'a str>,
    pub(crate) port: Option<i32>,
}

/// A backendRef.
#[derive(Debug)]
pub(crate) struct L4Reference<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) port: Option<i32>,
    pub(crate) weight: i32,
}

/// The three kinds have types of their own, of one shape.
macro_rules! source {
    ($key:expr, $route:expr, $hostnames:expr) => {
        L4Source {
            meta: &$route.metadata,
            parents: $route
                .spec
                .parent_refs
                .iter()
                .flatten()
                .map(|parent| L4Parent {
                    group: parent.group.as_deref(),
                    kind: parent.kind.as_deref(),
                    namespace: parent.namespace.as_deref().unwrap_or(&$key.namespace),
                    name: &parent.name,
                    section: parent.section_name.as_deref(),
                    port: parent.port,
                })
                .collect(),
            hostnames: $hostnames,
            rules: $route
                .spec
                .rules
                .iter()
                .map(|rule| {
                    let references = rule.backend_refs.iter().map(|reference| L4Reference {
                        group: reference.group.as_deref().unwrap_or(""),
                        kind: reference.kind.as_deref().unwrap_or("Service"),
                        namespace: reference.namespace.as_deref().unwrap_or(&$key.namespace),
                        name: &reference.name,
                        port: reference.port,
                        weight: reference.weight.unwrap_or(1),
                    });
                    references.collect()
                })
                .collect(),
        }
    };
}

impl<'a> L4Source<'a> {
    pub(crate) fn tcp(key: &'a ObjectRef, route: &'a TcpRoute) -> Self {
        source!(key, route, None)
    }

    pub(crate) fn tls(key: &'a ObjectRef, route: &'a TlsRoute) -> Self {
        source!(key, route, Some(&route.spec.hostnames[..]))
    }

    pub(crate) fn udp(key: &'a ObjectRef, route: &'a UdpRoute) -> Self {
        source!(key, route, None)
    }
}

/// Checks what a route says by itself.
pub(crate) fn check(route: &L4Source<'_>, report: &mut Report<'_>) {
    if route.hostnames.is_some_and(<[String]>::is_empty) {
        report.invalid("spec.hostnames", "is empty: a TLSRoute serves the names that it lists");
    }
    hosts(route, report);
    for (i, parent) in route.parents.iter().enumerate() {
        if let Some(port) = parent.port {
            pattern::port(port, format!("spec.parentRefs[{i}].port"), report);
        }
    }
    if route.rules.is_empty() {
        report.invalid("spec.rules", "is empty: write a rule with backendRefs");
    }
    for (i, rule) in route.rules.iter().enumerate() {
        let field = format!("spec.rules[{i}].backendRefs");
        if rule.is_empty() {
            report.invalid(&field, "is empty: name a Service");
        }
        for (j, reference) in rule.iter().enumerate() {
            let field = format!("{field}[{j}]");
            if let Some(port) = reference.port {
                pattern::port(port, format!("{field}.port"), report);
            }
            if !(0..=WEIGHT_MAX).contains(&reference.weight) {
                report.invalid(
                    format!("{field}.weight"),
                    format!("{} is no weight: it must be from 0 to {WEIGHT_MAX}", reference.weight),
                );
            }
        }
    }
}

/// The names that clients ask for; empty: every one, and none.
pub(crate) fn hosts(route: &L4Source<'_>, report: &mut Report<'_>) -> Vec<HostPattern> {
    let names = route.hostnames.unwrap_or_default();
    pattern::hosts(names, "spec.hostnames", WildcardLabels::OneOrMore, report)
}
