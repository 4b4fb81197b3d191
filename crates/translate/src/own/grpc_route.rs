//! A GRPCRoute is an HTTPRoute whose paths are services and methods: `/service/method` (gRPC over HTTP2, Path).

use resources::gateway::{
    GrpcRoute, GrpcRouteRulesMatchesMethod, GrpcRouteRulesMatchesMethodType, HttpRoute, HttpRouteSpec,
};
use serde_json::{Value, json};

use super::http_route;
use crate::report::Report;

/// Checks what a GRPCRoute says by itself.
pub(crate) fn check(route: &GrpcRoute, report: &mut Report<'_>) {
    for (i, rule) in route.spec.rules.iter().flatten().enumerate() {
        for (j, one) in rule.matches.iter().flatten().enumerate() {
            let Some(method) = &one.method else { continue };
            let field = format!("spec.rules[{i}].matches[{j}].method");
            if method.service.is_none() && method.method.is_none() {
                report.invalid(field, "names neither a service nor a method: write one of them");
            } else if is_exact(method) {
                let named = [("service", &method.service, true), ("method", &method.method, false)];
                for (name, text, dots) in named {
                    if let Some(text) = text.as_deref().filter(|text| !is_name(text, dots)) {
                        report.invalid(format!("{field}.{name}"), format!("{text:?} is no name of a {name}"));
                    }
                }
            }
        }
    }
    match as_http(route) {
        Some(route) => http_route::check(&route, report),
        None => report.invalid("spec", "cannot be read"),
    }
}

/// The HTTPRoute that matches the same requests; none: a field of it is none of HTTPRoute's.
pub(crate) fn as_http(route: &GrpcRoute) -> Option<HttpRoute> {
    // Filters, references and header matches have the same fields in both kinds.
    let mut spec = serde_json::to_value(&route.spec).ok()?;
    let rules = route.spec.rules.as_deref().unwrap_or_default();
    for (i, rule) in rules.iter().enumerate() {
        // gRPC requests are POST; a browser that comes by is not one.
        let mut matches = vec![json!({"method": "POST"})];
        if let Some(written) = rule.matches.as_ref().filter(|written| !written.is_empty()) {
            matches = written
                .iter()
                .map(|one| {
                    let path = one.method.as_ref().map(path);
                    let headers = serde_json::to_value(&one.headers).ok()?;
                    let mut found = json!({"method": "POST", "headers": headers});
                    if let Some((kind, value)) = path {
                        found["path"] = json!({"type": kind, "value": value});
                    }
                    Some(found)
                })
                .collect::<Option<_>>()?;
        }
        spec["rules"][i]["matches"] = Value::Array(matches);
    }
    if rules.is_empty() {
        spec["rules"] = json!([{"matches": [{"method": "POST"}]}]);
    }
    let spec: HttpRouteSpec = serde_json::from_value(spec).ok()?;
    Some(HttpRoute { metadata: route.metadata.clone(), spec, status: None })
}

/// The path's condition, as HTTPRoute has it.
fn path(method: &GrpcRouteRulesMatchesMethod) -> (&'static str, String) {
    let (service, name) = (method.service.as_deref(), method.method.as_deref());
    match (is_exact(method), service, name) {
        (_, None, None) => ("PathPrefix", "/".to_owned()),
        (true, Some(service), Some(name)) => ("Exact", format!("/{service}/{name}")),
        (true, Some(service), None) => ("PathPrefix", format!("/{service}")),
        (true, None, Some(name)) => ("RegularExpression", format!("/[^/]+/{name}")),
        (false, service, name) => {
            let (service, name) = (service.unwrap_or("[^/]+"), name.unwrap_or("[^/]+"));
            ("RegularExpression", format!("/(?:{service})/(?:{name})"))
        }
    }
}

fn is_exact(method: &GrpcRouteRulesMatchesMethod) -> bool {
    method.r#type != Some(GrpcRouteRulesMatchesMethodType::RegularExpression)
}

/// GRPCMethodMatch: letters, digits and `_`, in a service with dots between.
fn is_name(text: &str, dots: bool) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if dots { text.strip_prefix('.').unwrap_or(text).split('.').all(is_word) } else { is_word(text) }
}
