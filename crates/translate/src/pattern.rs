use std::net::IpAddr;
use std::sync::Arc;

use model::{HostPattern, PathMatch, RegexAnchor, RegexPattern, ValueMatch, WildcardLabels};

use crate::report::Report;

/// Reads a list of host names; those that are none are reported and left out.
pub(crate) fn hosts(
    names: &[String],
    field: &str,
    labels: WildcardLabels,
    report: &mut Report<'_>,
) -> Vec<HostPattern> {
    let mut hosts = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        hosts.extend(host(name, &format!("{field}[{i}]"), labels, report));
    }
    hosts
}

/// Reads one host name.
pub(crate) fn host(
    name: &str,
    field: &str,
    labels: WildcardLabels,
    report: &mut Report<'_>,
) -> Option<HostPattern> {
    match HostPattern::parse(name, labels) {
        Ok(host) => Some(host),
        Err(error) => {
            report.invalid(field, format!("{name:?} {error}"));
            None
        }
    }
}

/// What follows the first label of a name, with its dot.
pub(crate) fn after_label(name: &str) -> Option<&str> {
    name.find('.').and_then(|dot| name.get(dot..))
}

/// Whether it is a name of letters, digits and inner hyphens, in labels of at most 63 (RFC 1123 section 2.1), no address.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_edge_good = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len())
            && is_edge_good
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err()
}

/// Whether objects of Kubernetes can have this name: a DNS subdomain in small letters (`IsDNS1123Subdomain` of apimachinery).
pub fn is_object_name(name: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &[u8]| {
        label.first().is_some_and(is_alphanumeric)
            && label.last().is_some_and(is_alphanumeric)
            && label.iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.as_bytes().split(|byte| *byte == b'.').all(is_label)
}

/// How a path is to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    Exact,
    Prefix,
    StringPrefix,
    Regex(RegexAnchor),
}

/// Reads a path's condition.
pub(crate) fn path(kind: PathKind, value: &str, field: &str, report: &mut Report<'_>) -> PathMatch {
    if let PathKind::Regex(anchor) = kind {
        // Start-anchored ones are ingress-nginx's, which compares without case (`location ~* "^…"`).
        let case_insensitive = anchor == RegexAnchor::Start;
        let pattern = RegexPattern { pattern: value.into(), anchor, case_insensitive };
        report.pattern(field, &pattern);
        return PathMatch::Regex(pattern);
    }
    if let Some(problem) = path_problem(value) {
        report.invalid(field, format!("path {value:?} {problem}"));
    }
    match kind {
        PathKind::Exact => PathMatch::Exact(value.into()),
        PathKind::StringPrefix => PathMatch::StringPrefix(value.into()),
        _ => PathMatch::Prefix(value.strip_suffix('/').unwrap_or(value).into()),
    }
}

/// Reads a condition on a value.
pub(crate) fn value(is_regex: bool, value: &str, field: &str, report: &mut Report<'_>) -> ValueMatch {
    if !is_regex {
        return ValueMatch::Exact(value.into());
    }
    let pattern = RegexPattern { pattern: value.into(), anchor: RegexAnchor::Full, case_insensitive: false };
    report.pattern(field, &pattern);
    ValueMatch::Regex(pattern)
}

/// Reads a header name: lower case, a token (RFC 9110 section 5.1).
pub(crate) fn header_name(name: &str, field: &str, report: &mut Report<'_>) -> Arc<str> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        report.invalid(field, format!("{name:?} is no header name"));
    }
    name.to_ascii_lowercase().into()
}

/// Whether `method` is a token (RFC 9110 section 9.1).
pub(crate) fn is_token(method: &str) -> bool {
    !method.is_empty() && method.bytes().all(is_token_byte)
}

/// Reads a port.
pub(crate) fn port(port: i32, field: impl Into<String>, report: &mut Report<'_>) -> Option<u16> {
    let read = u16::try_from(port).ok().filter(|port| *port > 0);
    if read.is_none() {
        report.invalid(field, format!("{port} is no port: it must be from 1 to 65535"));
    }
    read
}

/// Why an address can be no endpoint, whatever settings say.
pub(crate) fn address_problem(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("is the unspecified address")
    } else if address.is_multicast() {
        Some("is a multicast address")
    } else if address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        Some("is the broadcast address")
    } else {
        None
    }
}

/// Whether an address means this machine or this link only.
pub(crate) fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback()
        || match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

/// Gateway API and Ingress refuse the same (HTTPPathMatch in `httproute_types.go`; `invalidPathSequences` in
/// `pkg/apis/networking/validation`): forms that parts of the way may read differently.
fn path_problem(value: &str) -> Option<String> {
    if !value.starts_with('/') {
        return Some("must start with '/'".to_owned());
    }
    if let Some(bad) = ["//", "/./", "/../", "%2f", "%2F", "#", "?"].iter().find(|bad| value.contains(*bad)) {
        return Some(format!("must not contain {bad:?}"));
    }
    if let Some(bad) = ["/..", "/."].iter().find(|bad| value.ends_with(*bad)) {
        return Some(format!("must not end in {bad:?}"));
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("may hold printable ASCII only: percent-encode the rest, as requests do".to_owned());
    }
    None
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
