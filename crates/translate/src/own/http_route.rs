use std::sync::Arc;
use std::time::Duration;

use model::{
    HeaderMatch, HostPattern, PathMatch, QueryMatch, RegexAnchor, Retry, RouteMatch, Timeouts, WildcardLabels,
};
use resources::gateway::{
    HttpRoute, HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesMatches,
    HttpRouteRulesMatchesHeadersType, HttpRouteRulesMatchesMethod, HttpRouteRulesMatchesPathType,
    HttpRouteRulesMatchesQueryParamsType,
};

use super::filters::{FilterList, Site};
use super::session;
use crate::pattern::{self, PathKind};
use crate::report::Report;
use crate::{annotations, duration};

/// Gateway API's maximum for `backendRefs[].weight`.
const WEIGHT_MAX: i32 = 1_000_000;

/// `retry.attempts` unless it is said, and the most that is useful.
const RETRY_ATTEMPTS_DEFAULT: u32 = 2;
const RETRY_ATTEMPTS_MAX: u32 = 10;
/// `retry.backoff` unless it is said.
const RETRY_BACKOFF_DEFAULT: Duration = Duration::from_millis(25);

/// Checks what an HTTPRoute says by itself.
pub(crate) fn check(route: &HttpRoute, report: &mut Report<'_>) {
    annotations::read(&route.metadata, false, report);
    hosts(route, report);
    for (i, parent) in route.spec.parent_refs.iter().flatten().enumerate() {
        if let Some(port) = parent.port {
            pattern::port(port, format!("spec.parentRefs[{i}].port"), report);
        }
    }
    if route.spec.rules.as_ref().is_some_and(Vec::is_empty) {
        report.invalid("spec.rules", "is an empty list: leave it out or write a rule");
    }
    for (i, rule) in route.spec.rules.iter().flatten().enumerate() {
        let field = format!("spec.rules[{i}]");
        matches(rule, &field, report);
        timeouts(rule, &field, report);
        retry(rule, &field, report);
        session::read(rule, "", &field, report);
        let read = filters(rule, None, &field, report);
        let backends = rule.backend_refs.as_deref().unwrap_or_default();
        if read.redirect.is_some() && !backends.is_empty() {
            report.invalid(
                format!("{field}.backendRefs"),
                "must be empty beside a RequestRedirect filter: the gateway answers by itself",
            );
        }
        for (j, backend) in rule.backend_refs.iter().flatten().enumerate() {
            let field = format!("{field}.backendRefs[{j}]");
            filters(rule, Some(backend), &field, report);
            if let Some(port) = backend.port {
                pattern::port(port, format!("{field}.port"), report);
            }
            let weight = backend.weight.unwrap_or(1);
            if !(0..=WEIGHT_MAX).contains(&weight) {
                report.invalid(
                    format!("{field}.weight"),
                    format!("{weight} is no weight: it must be from 0 to {WEIGHT_MAX}"),
                );
            }
        }
    }
}

/// The host names of a route; empty: every name of its listeners.
pub(crate) fn hosts(route: &HttpRoute, report: &mut Report<'_>) -> Vec<HostPattern> {
    let names = route.spec.hostnames.as_deref().unwrap_or_default();
    pattern::hosts(names, "spec.hostnames", WildcardLabels::OneOrMore, report)
}

/// The conditions of a rule, of which one must hold; no conditions stand for every path (HTTPRouteRule.matches).
pub(crate) fn matches(rule: &HttpRouteRules, field: &str, report: &mut Report<'_>) -> Vec<RouteMatch> {
    let matches = rule.matches.iter().flatten().enumerate();
    matches.map(|(i, one)| one_match(one, &format!("{field}.matches[{i}]"), report)).collect()
}

/// The time limits of a rule. `0s` switches a limit off (GEP-1742).
pub(crate) fn timeouts(rule: &HttpRouteRules, field: &str, report: &mut Report<'_>) -> Timeouts {
    let Some(timeouts) = &rule.timeouts else { return Timeouts::default() };
    let mut read = |name: &str, text: Option<&str>| -> Option<Duration> {
        let text = text?;
        let limit = duration::parse(text);
        if limit.is_none() {
            report.invalid(
                format!("{field}.timeouts.{name}"),
                format!("{text:?} is no duration: write 10s, 500ms or 1h30m"),
            );
        }
        limit.filter(|limit| !limit.is_zero())
    };
    let request = read("request", timeouts.request.as_deref());
    let backend_request = read("backendRequest", timeouts.backend_request.as_deref());
    if let (Some(request), Some(backend_request)) = (request, backend_request)
        && backend_request > request
    {
        report.invalid(
            format!("{field}.timeouts.backendRequest"),
            "is longer than timeouts.request: it limits one try within that time",
        );
    }
    Timeouts { request, backend_request, ..Timeouts::default() }
}

/// The retries of a rule (GEP-1731).
pub(crate) fn retry(rule: &HttpRouteRules, field: &str, report: &mut Report<'_>) -> Option<Retry> {
    let said = rule.retry.as_ref()?;
    let field = format!("{field}.retry");
    let mut codes = Vec::new();
    for (i, code) in said.codes.iter().flatten().enumerate() {
        match u16::try_from(*code) {
            Ok(code) if (400..=599).contains(&code) => codes.push(code),
            _ => report.invalid(
                format!("{field}.codes[{i}]"),
                format!("{code} is no status to retry on: it must be from 400 to 599"),
            ),
        }
    }
    let attempts = match said.attempts.map(u32::try_from) {
        None => RETRY_ATTEMPTS_DEFAULT,
        Some(Ok(attempts)) if (1..=RETRY_ATTEMPTS_MAX).contains(&attempts) => attempts,
        Some(_) => {
            report.invalid(format!("{field}.attempts"), format!("must be from 1 to {RETRY_ATTEMPTS_MAX}"));
            RETRY_ATTEMPTS_DEFAULT
        }
    };
    let backoff = said.backoff.as_deref().map(|text| (text, duration::parse(text)));
    if let Some((text, None)) = backoff {
        let message = format!("{text:?} is no duration: write 10s, 500ms or 1h30m");
        report.invalid(format!("{field}.backoff"), message);
    }
    let backoff = backoff.and_then(|(_, backoff)| backoff).unwrap_or(RETRY_BACKOFF_DEFAULT);
    Some(Retry { codes, attempts, backoff })
}

/// The filters of `rule`, or of one backend of it; `field` is the one's or the other's.
pub(crate) fn filters(
    rule: &HttpRouteRules,
    backend: Option<&HttpRouteRulesBackendRefs>,
    field: &str,
    report: &mut Report<'_>,
) -> FilterList {
    let list = match backend {
        Some(backend) => backend.filters.as_deref(),
        None => rule.filters.as_deref(),
    };
    let site = Site { prefix: sole_prefix(rule), is_backend: backend.is_some() };
    super::filters::read(list.unwrap_or_default(), &site, &format!("{field}.filters"), report)
}

/// The prefix of a rule's only match, if that is by prefix. A rule without matches has one, on every path.
fn sole_prefix(rule: &HttpRouteRules) -> Option<Arc<str>> {
    let path = match rule.matches.as_deref().unwrap_or_default() {
        [] => None,
        [one] => one.path.as_ref(),
        _ => return None,
    };
    let Some(path) = path else { return Some("".into()) };
    if !matches!(path.r#type, None | Some(HttpRouteRulesMatchesPathType::PathPrefix)) {
        return None;
    }
    let value = path.value.as_deref().unwrap_or("/");
    Some(value.strip_suffix('/').unwrap_or(value).into())
}

fn one_match(one: &HttpRouteRulesMatches, field: &str, report: &mut Report<'_>) -> RouteMatch {
    let path = match &one.path {
        None => PathMatch::Prefix("".into()),
        Some(path) => {
            let kind = match path.r#type {
                Some(HttpRouteRulesMatchesPathType::Exact) => PathKind::Exact,
                Some(HttpRouteRulesMatchesPathType::RegularExpression) => PathKind::Regex(RegexAnchor::Full),
                Some(HttpRouteRulesMatchesPathType::PathPrefix) | None => PathKind::Prefix,
            };
            pattern::path(kind, path.value.as_deref().unwrap_or("/"), &format!("{field}.path.value"), report)
        }
    };
    // "If multiple entries specify equivalent header names, only the first entry with an equivalent name MUST be
    // considered for a match" (HTTPRouteMatch.headers; queryParams alike).
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for (i, header) in one.headers.iter().flatten().enumerate() {
        let field = format!("{field}.headers[{i}]");
        let name = pattern::header_name(&header.name, &format!("{field}.name"), report);
        let is_regex = header.r#type == Some(HttpRouteRulesMatchesHeadersType::RegularExpression);
        let value = pattern::value(is_regex, &header.value, &format!("{field}.value"), report);
        if headers.iter().all(|earlier| earlier.name != name) {
            headers.push(HeaderMatch { name, value });
        }
    }
    let mut queries: Vec<QueryMatch> = Vec::new();
    for (i, query) in one.query_params.iter().flatten().enumerate() {
        let field = format!("{field}.queryParams[{i}]");
        let is_regex = query.r#type == Some(HttpRouteRulesMatchesQueryParamsType::RegularExpression);
        let value = pattern::value(is_regex, &query.value, &format!("{field}.value"), report);
        if queries.iter().all(|earlier| *earlier.name != *query.name) {
            queries.push(QueryMatch { name: query.name.as_str().into(), value });
        }
    }
    RouteMatch {
        path,
        method: one.method.as_ref().map(|method| method_name(method).into()),
        headers,
        queries,
    }
}

fn method_name(method: &HttpRouteRulesMatchesMethod) -> &'static str {
    match method {
        HttpRouteRulesMatchesMethod::Get => "GET",
        HttpRouteRulesMatchesMethod::Head => "HEAD",
        HttpRouteRulesMatchesMethod::Post => "POST",
        HttpRouteRulesMatchesMethod::Put => "PUT",
        HttpRouteRulesMatchesMethod::Delete => "DELETE",
        HttpRouteRulesMatchesMethod::Connect => "CONNECT",
        HttpRouteRulesMatchesMethod::Options => "OPTIONS",
        HttpRouteRulesMatchesMethod::Trace => "TRACE",
        HttpRouteRulesMatchesMethod::Patch => "PATCH",
    }
}
