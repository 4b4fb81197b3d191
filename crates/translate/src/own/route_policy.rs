//! What a RoutePolicy says by itself, field by field.

use std::net::IpAddr;

use ipnet::IpNet;
use kube::core::ObjectMeta;
use model::{
    BackendId, BasicAuth, Compression, ConcurrencyLimit, DirectResponse, ErrorResponse, ExtAuth,
    FaultInjection, IpRules, Jwks, Jwt, RateLimit, Reason,
};
use policy::header_value_problem;
use resources::{PolicyTargetRef, RoutePolicy, RoutePolicySpec, strict};
use serde_json::Value;

use super::jwt::KeyPlace;
use super::{compression, error_responses, ext_auth, faults, jwt};
use crate::pattern;
use crate::report::Report;

/// What fails closed: follows the problem in messages about fields that decide whether a request goes on.
pub(crate) const CLOSES: &str = "so what the policy is for answers 500";
/// The longest body of an answer.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// What a body is unless something is said of it.
pub(super) const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// What a policy says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    /// It cannot be read at all.
    pub(crate) is_unreadable: bool,
    pub(crate) ip_rules: Option<Said<IpRules>>,
    pub(crate) rate_limit: Option<Said<RateLimit>>,
    /// Of annotations.
    pub(crate) concurrency_limit: Option<Said<ConcurrencyLimit>>,
    /// Not read here: it needs a Secret.
    pub(crate) basic_auth: Option<Said<BasicAuth>>,
    /// The same: its keys may be in other objects.
    pub(crate) jwt: Option<Said<Jwt>>,
    /// The same: it needs a Service.
    pub(crate) ext_auth: Option<Said<ExtAuth>>,
    pub(crate) fault_injection: Option<Said<FaultInjection>>,
    pub(crate) direct_response: Option<Said<DirectResponse>>,
    pub(crate) error_responses: Option<Said<Vec<ErrorResponse>>>,
    pub(crate) compression: Option<Said<Vec<Compression>>>,
    pub(crate) request_body_max: Option<Said<u64>>,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said<T> {
    Is(T),
    /// Something that cannot be.
    Broken,
}

impl<T> From<Option<T>> for Said<T> {
    fn from(read: Option<T>) -> Self {
        read.map_or(Self::Broken, Self::Is)
    }
}

/// Checks what a RoutePolicy says by itself.
pub(crate) fn check(policy: &RoutePolicy, report: &mut Report<'_>) {
    let spec = &policy.spec;
    if spec.is_unreadable {
        report.invalid("", format!("cannot be read, {CLOSES}"));
        return;
    }
    if spec.target_refs.is_empty() {
        report.invalid("spec.targetRefs", "is empty, so it is for nothing: name a Gateway or a route");
    }
    read(spec, report);
    if let Some(said) = &spec.basic_auth {
        realm(said, report);
        username_header(said, report);
    }
    if let Some(said) = &spec.jwt {
        // Keys of other objects are looked at with those.
        let keys = |place: KeyPlace<'_>, field: &str, report: &mut Report<'_>| match place {
            KeyPlace::Inline(text) => {
                jwt::key_set(text.as_bytes(), ("", Reason::InvalidField), field, report)
            }
            KeyPlace::Object(_) => Some(Jwks::new(b"")),
        };
        jwt::read(said, keys, report);
    }
    if let Some(said) = &spec.ext_auth {
        // Whether the Service is there is looked at with it.
        ext_auth::read(said, |named, _, _| Some(BackendId::service("", &named.name, named.port)), report);
    }
}

/// What clients are told that they are asked for; none: it cannot be.
pub(crate) fn realm<'s>(said: &'s resources::BasicAuth, report: &mut Report<'_>) -> Option<&'s str> {
    let realm = said.realm.as_deref().unwrap_or("restricted");
    if realm.contains(['"', '\\']) || header_value_problem(realm).is_some() {
        let message = format!(
            "{realm:?} cannot stand in quotes in a header, {CLOSES}: leave out quotes, backslashes and control characters"
        );
        report.invalid("spec.basicAuth.realm", message);
        return None;
    }
    Some(realm)
}

/// The header in which endpoints get the user, if they do; none: it cannot be.
pub(crate) fn username_header<'s>(
    said: &'s resources::BasicAuth,
    report: &mut Report<'_>,
) -> Option<Option<&'s str>> {
    let Some(name) = said.forward_username_header.as_deref() else { return Some(None) };
    jwt::header_name(name, "spec.basicAuth.forwardUsernameHeader", report).map(Some)
}

/// Its fields.
pub(crate) fn read(spec: &RoutePolicySpec, report: &mut Report<'_>) -> Rules {
    let ip_rules = spec.ip_rules.as_ref().map(|said| ip_rules(said, report).into());
    let rate_limit = spec.rate_limit.as_ref().map(|said| faults::rate_limit(said, report).into());
    let fault_injection = spec.fault_injection.as_ref().map(|said| faults::injection(said, report).into());
    let direct_response = spec.direct_response.as_ref().map(|said| direct_response(said, report).into());
    let request_body_max = spec.request_body_max.as_ref().map(|said| {
        if said.bytes().is_none() {
            let message = format!("{:?} is no number of bytes, {CLOSES}: write 1048576 or 1Mi", said.0);
            report.invalid("spec.requestBodyMax", message);
        }
        said.bytes().into()
    });
    let list = spec.error_responses.as_slice();
    let error_responses = (!list.is_empty()).then(|| error_responses::read(list, report).into());
    let compression = spec.compression.as_ref().map(|list| compression::read(list, report).into());
    let is_unreadable = spec.is_unreadable;
    Rules {
        is_unreadable,
        ip_rules,
        rate_limit,
        concurrency_limit: None,
        basic_auth: None,
        jwt: None,
        ext_auth: None,
        fault_injection,
        direct_response,
        error_responses,
        compression,
        request_body_max,
    }
}

/// What stands for a policy that cannot be decoded: its name, and the targets that can be read. None: it has no name.
pub(crate) fn stand_in(value: &Value) -> Option<RoutePolicy> {
    let metadata = value.get("metadata")?;
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).map(str::to_owned);
    let metadata =
        ObjectMeta { name: Some(text("name")?), namespace: text("namespace"), ..Default::default() };
    let targets = value.pointer("/spec/targetRefs").and_then(Value::as_array);
    let target_refs = targets.into_iter().flatten().filter_map(target).collect();
    let spec = RoutePolicySpec { target_refs, is_unreadable: true, ..Default::default() };
    Some(RoutePolicy { metadata, spec, status: None })
}

/// What can be read of a targetRef; more of a route than it names is closed rather than less.
fn target(value: &Value) -> Option<PolicyTargetRef> {
    strict::decode(value).ok().or_else(|| {
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let (kind, name) = (text("kind")?, text("name")?);
        let group = text("group").unwrap_or_else(|| group_of(&kind).to_owned());
        Some(PolicyTargetRef { group, kind, name, section_name: None })
    })
}

fn group_of(kind: &str) -> &'static str {
    match kind {
        "RoutingRule" => "rauta.io",
        "Ingress" => "networking.k8s.io",
        _ => "gateway.networking.k8s.io",
    }
}

fn ip_rules(said: &resources::IpRules, report: &mut Report<'_>) -> Option<IpRules> {
    let mut read = |list: &[String], name: &str| -> Option<Vec<IpNet>> {
        let nets = list.iter().enumerate().map(|(i, text)| {
            let read = network(text);
            if let Err((problem, advice)) = read {
                let message = format!("{text:?} {problem}, {CLOSES}: {advice}");
                report.invalid(format!("spec.ipRules.{name}[{i}]"), message);
            }
            read.ok()
        });
        // All of them are looked at, so that all are reported.
        nets.collect::<Vec<_>>().into_iter().collect()
    };
    let (allow, deny) = (read(&said.allow, "allow"), read(&said.deny, "deny"));
    if said.allow.is_empty() && said.deny.is_empty() {
        report.invalid("spec.ipRules", format!("names nobody, {CLOSES}: write allow or deny"));
        return None;
    }
    Some(IpRules { allow: allow?, deny: deny? })
}

/// A network or an address; else what is wrong and what to do.
pub(crate) fn network(text: &str) -> Result<IpNet, (&'static str, &'static str)> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| ("is no network", "write 10.0.0.0/8, 2001:db8::/32 or an address"))?;
    policy::plain_network(network).ok_or((
        "holds all of IPv4 beside addresses of IPv6",
        "write the networks of each by themselves, 0.0.0.0/0 for all of IPv4",
    ))
}

fn direct_response(said: &resources::DirectResponse, report: &mut Report<'_>) -> Option<DirectResponse> {
    let mut is_good = true;
    let mut bad = |field: &str, message: String| {
        report.invalid(format!("spec.directResponse.{field}"), format!("{message}, {CLOSES}"));
        is_good = false;
    };
    if !(200..=599).contains(&said.status_code) {
        bad(
            "statusCode",
            format!("{} is no status of a response: it must be from 200 to 599", said.status_code),
        );
    }
    let body = said.body.as_deref().unwrap_or_default();
    if body.len() > BODY_BYTES_MAX {
        bad("body", format!("has {} bytes, and {BODY_BYTES_MAX} is the most", body.len()));
    }
    if matches!(said.status_code, 204 | 304) && !body.is_empty() {
        bad("body", format!("cannot go with status {}", said.status_code));
    }
    let content_type = said.content_type.as_deref().unwrap_or(CONTENT_TYPE);
    if let Some(problem) = content_type_problem(content_type) {
        bad("contentType", format!("{content_type:?} {problem}"));
    }
    is_good.then(|| DirectResponse {
        status: said.status_code,
        content_type: content_type.into(),
        body: body.into(),
    })
}

/// Why text can be no `Content-Type`.
pub(super) fn content_type_problem(text: &str) -> Option<&'static str> {
    let media = text.split(';').next().unwrap_or_default().trim();
    match media.split_once('/') {
        Some((kind, name)) if pattern::is_token(kind) && pattern::is_token(name) => {
            header_value_problem(text)
        }
        _ => Some("is no media type such as text/html"),
    }
}
