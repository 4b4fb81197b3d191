use model::{HostPattern, PathMatch, RegexAnchor, WildcardLabels};
use resources::core::{HTTPIngressPath, Ingress, IngressBackend, IngressRule};

use crate::annotations::{self, Settings};
use crate::pattern::{self, PathKind};
use crate::report::Report;

/// Checks what an Ingress says by itself.
pub(crate) fn check(ingress: &Ingress, report: &mut Report<'_>) {
    let settings = annotations::read(&ingress.metadata, true, report);
    let Some(spec) = &ingress.spec else {
        report.invalid("spec", "is missing: an Ingress needs rules or a defaultBackend");
        return;
    };
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        report.invalid("spec", "has neither rules nor a defaultBackend");
    }
    if let Some(backend) = &spec.default_backend {
        check_backend(backend, "spec.defaultBackend", report);
    }
    for (i, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{i}]");
        host(rule, &field, report);
        for (j, one) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
            let field = format!("{field}.http.paths[{j}]");
            path(one, settings, &field, report);
            check_backend(&one.backend, &format!("{field}.backend"), report);
        }
    }
}

/// The host of a rule; none: every name.
pub(crate) fn host(rule: &IngressRule, field: &str, report: &mut Report<'_>) -> Option<HostPattern> {
    let name = rule.host.as_deref().filter(|name| !name.is_empty())?;
    pattern::host(name, &format!("{field}.host"), WildcardLabels::One, report)
}

/// The condition of one path (IngressSpec in the reference of `networking.k8s.io/v1`).
pub(crate) fn path(
    path: &HTTPIngressPath,
    settings: Settings,
    field: &str,
    report: &mut Report<'_>,
) -> PathMatch {
    let kind = match path.path_type.as_str() {
        _ if settings.all_regex => PathKind::Regex(RegexAnchor::Start),
        "Exact" => PathKind::Exact,
        "Prefix" => PathKind::Prefix,
        "ImplementationSpecific" if settings.use_regex => PathKind::Regex(RegexAnchor::Start),
        "ImplementationSpecific" => PathKind::StringPrefix,
        other => {
            let message = format!("{other:?} is none of Exact, Prefix and ImplementationSpecific");
            report.invalid(format!("{field}.pathType"), message);
            PathKind::Prefix
        }
    };
    let value = path.path.as_deref().filter(|value| !value.is_empty()).unwrap_or("/");
    pattern::path(kind, value, &format!("{field}.path"), report)
}

fn check_backend(backend: &IngressBackend, field: &str, report: &mut Report<'_>) {
    match (&backend.service, &backend.resource) {
        (None, None) => report.invalid(field, "names nothing: write service.name and service.port"),
        (Some(_), Some(_)) => report.invalid(field, "names both a service and a resource: keep one"),
        // The rest of it is served, and its route says what requests get here.
        (None, Some(_)) => {}
        (Some(service), None) => {
            let (name, number) =
                service.port.as_ref().map_or((None, None), |port| (port.name.as_deref(), port.number));
            match (name.filter(|name| !name.is_empty()), number) {
                (None, None) => report.invalid(
                    format!("{field}.service.port"),
                    "is missing: write a name or a number, not both",
                ),
                (Some(_), Some(_)) => {
                    report.invalid(format!("{field}.service.port"), "has both a name and a number: keep one")
                }
                (None, Some(number)) => {
                    pattern::port(number, format!("{field}.service.port.number"), report);
                }
                (Some(_), None) => {}
            }
        }
    }
}
