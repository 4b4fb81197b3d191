use std::net::SocketAddr;

use model::{
    Affinity, HeaderMatch, HostPattern, PathMatch, QueryMatch, RegexAnchor, RouteAffinity, RouteMatch,
    WildcardLabels,
};
use resources::{AffinityType, LoadBalancerType, RoutingRule, RulePathType, RuleValueType};

use crate::pattern::{self, PathKind};
use crate::report::Report;
use crate::{MAGLEV_TABLE_SIZES, affinity, is_maglev_table_size};

const WEIGHT_MAX: u32 = 65_535;

/// Checks what a RoutingRule says by itself.
pub(crate) fn check(rule: &RoutingRule, report: &mut Report<'_>) {
    let spec = &rule.spec;
    if let Some(tier) = spec.tier
        && !(1..=3).contains(&tier)
    {
        report.invalid("spec.tier", format!("{tier} is no tier: write 1, 2 or 3"));
    }
    hosts(rule, report);
    matches(rule, report);
    check_balancing(rule, report);
    affinity(rule, report);
    for (i, parent) in spec.parent_refs.iter().enumerate() {
        if parent.port == Some(0) {
            report.invalid(format!("spec.parentRefs[{i}].port"), "0 is no port");
        }
    }
    if spec.backends.is_empty() {
        report.invalid("spec.backends", "is empty: name an endpoint or a service");
    }
    for (i, backend) in spec.backends.iter().enumerate() {
        let field = format!("spec.backends[{i}]");
        match (&backend.endpoint, &backend.service) {
            (None, None) => report.invalid(&field, "names nothing: write endpoint or service"),
            (Some(_), Some(_)) => report.invalid(&field, "names both an endpoint and a service: keep one"),
            (Some(text), None) => {
                endpoint(text, &format!("{field}.endpoint"), report);
            }
            (None, Some(service)) if service.port == 0 => {
                report.invalid(format!("{field}.service.port"), "0 is no port");
            }
            (None, Some(_)) => {}
        }
        if backend.weight > WEIGHT_MAX {
            report.invalid(
                format!("{field}.weight"),
                format!("{} is no weight: it must be from 0 to {WEIGHT_MAX}", backend.weight),
            );
        }
    }
}

/// The host names; empty: every name.
pub(crate) fn hosts(rule: &RoutingRule, report: &mut Report<'_>) -> Vec<HostPattern> {
    pattern::hosts(&rule.spec.hosts, "spec.hosts", WildcardLabels::OneOrMore, report)
}

/// The conditions; empty: every request.
pub(crate) fn matches(rule: &RoutingRule, report: &mut Report<'_>) -> Vec<RouteMatch> {
    let Some(one) = &rule.spec.matches else { return Vec::new() };
    let path = match &one.path {
        None => PathMatch::Prefix("".into()),
        Some(path) => {
            let kind = match path.kind {
                RulePathType::Exact => PathKind::Exact,
                RulePathType::Prefix => PathKind::Prefix,
                RulePathType::Regex => PathKind::Regex(RegexAnchor::Full),
            };
            pattern::path(kind, &path.value, "spec.match.path.value", report)
        }
    };
    if let Some(method) = &one.method
        && !pattern::is_token(method)
    {
        report.invalid("spec.match.method", format!("{method:?} is no method (RFC 9110 section 9.1)"));
    }
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for (i, header) in one.headers.iter().enumerate() {
        let field = format!("spec.match.headers[{i}]");
        let name = pattern::header_name(&header.name, &format!("{field}.name"), report);
        let is_regex = header.kind == RuleValueType::Regex;
        let value = pattern::value(is_regex, &header.value, &format!("{field}.value"), report);
        if headers.iter().any(|earlier| earlier.name == name) {
            report.invalid(format!("{field}.name"), format!("header {name:?} stands here twice: keep one"));
        }
        headers.push(HeaderMatch { name, value });
    }
    let mut queries: Vec<QueryMatch> = Vec::new();
    for (i, query) in one.queries.iter().enumerate() {
        let field = format!("spec.match.queries[{i}]");
        let is_regex = query.kind == RuleValueType::Regex;
        let value = pattern::value(is_regex, &query.value, &format!("{field}.value"), report);
        if queries.iter().any(|earlier| *earlier.name == *query.name) {
            let message = format!("parameter {:?} stands here twice: keep one", query.name);
            report.invalid(format!("{field}.name"), message);
        }
        queries.push(QueryMatch { name: query.name.as_str().into(), value });
    }
    vec![RouteMatch { path, method: one.method.as_deref().map(Into::into), headers, queries }]
}

/// How an endpoint is chosen.
pub(crate) fn load_balancer(rule: &RoutingRule) -> LoadBalancerType {
    rule.spec.load_balancer.as_ref().map_or(LoadBalancerType::Maglev, |balancer| balancer.kind)
}

/// Slots of the Maglev table, if the rule says it.
pub(crate) fn table_size(rule: &RoutingRule) -> Option<u32> {
    rule.spec.maglev.as_ref().and_then(|maglev| maglev.table_size)
}

/// Whether clients keep their endpoint.
pub(crate) fn affinity(rule: &RoutingRule, report: &mut Report<'_>) -> RouteAffinity {
    let Some(said) = &rule.spec.affinity else { return RouteAffinity::OfBackend };
    let timeout = said.timeout.as_deref();
    let field = "spec.affinity.timeout";
    match said.kind {
        AffinityType::None => {
            if timeout.is_some() {
                report.invalid(field, "has no effect with type None: remove it, or write type ClientIP");
            }
            RouteAffinity::Off
        }
        AffinityType::ClientIP => {
            let timeout = timeout.and_then(|text| affinity::timeout(text, field, report));
            RouteAffinity::Client(timeout.map_or_else(Affinity::default, |timeout| Affinity { timeout }))
        }
    }
}

fn check_balancing(rule: &RoutingRule, report: &mut Report<'_>) {
    let Some(size) = table_size(rule) else { return };
    if !is_maglev_table_size(size) {
        let message = format!(
            "{size} is no table size: it must be a prime from {} to {}, such as 4099 or 65537",
            MAGLEV_TABLE_SIZES.start(),
            MAGLEV_TABLE_SIZES.end()
        );
        report.invalid("spec.maglev.tableSize", message);
    } else if load_balancer(rule) != LoadBalancerType::Maglev {
        report.invalid("spec.maglev", "has no effect with this loadBalancer.type: remove one of the two");
    }
}

/// Reads a literal endpoint.
pub(crate) fn endpoint(text: &str, field: &str, report: &mut Report<'_>) -> Option<SocketAddr> {
    let address: SocketAddr = match text.parse() {
        Ok(address) => address,
        Err(_) => {
            let message = format!(
                "{text:?} is no address and port: write 10.0.1.1:8080 or [fd00::1]:8080; for a name use a Service"
            );
            report.invalid(field, message);
            return None;
        }
    };
    if address.port() == 0 {
        report.invalid(field, format!("{text:?} has port 0"));
    } else if let Some(problem) = pattern::address_problem(address.ip()) {
        report.invalid(field, format!("{text:?} {problem}, which can be no endpoint"));
    }
    Some(address)
}
