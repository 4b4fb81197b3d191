//! The CORS filter of an HTTPRoute.

use std::sync::Arc;

use model::Cors;
use policy::Origin;
use resources::gateway::HttpRouteRulesFiltersCors;

use crate::pattern;
use crate::report::Report;

/// HTTPCORSFilter.maxAge, default.
const MAX_AGE_S_DEFAULT: u32 = 5;
/// HTTPMethodWithWildcard.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];

/// Reads a CORS filter.
pub(super) fn read(cors: &HttpRouteRulesFiltersCors, field: &str, report: &mut Report<'_>) -> Cors {
    let allow_origins = list(&cors.allow_origins, &format!("{field}.allowOrigins"), report, |origin| {
        let problem = "is no origin: write scheme://host[:port] with http or https, where the host may begin with \"*.\"";
        (origin != "*" && Origin::parse(origin).is_none()).then_some(problem)
    });
    let allow_methods = list(&cors.allow_methods, &format!("{field}.allowMethods"), report, |method| {
        (!METHODS.contains(&method)).then_some("is no method that the filter knows")
    });
    let name = |name: &str| (!pattern::is_token(name)).then_some("is no header name");
    let allow_headers = list(&cors.allow_headers, &format!("{field}.allowHeaders"), report, name);
    let expose_headers = list(&cors.expose_headers, &format!("{field}.exposeHeaders"), report, name);
    let max_age_s = match cors.max_age.map(u32::try_from) {
        None => MAX_AGE_S_DEFAULT,
        Some(Ok(age)) if age > 0 => age,
        Some(_) => {
            report.invalid(format!("{field}.maxAge"), "must be at least 1 second");
            MAX_AGE_S_DEFAULT
        }
    };
    Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        allow_credentials: cors.allow_credentials.unwrap_or(false),
        max_age_s,
    }
}

/// Reads a list in which `*` stands alone.
fn list(
    values: &Option<Vec<String>>,
    field: &str,
    report: &mut Report<'_>,
    problem: impl Fn(&str) -> Option<&'static str>,
) -> Vec<Arc<str>> {
    let values = values.as_deref().unwrap_or_default();
    if values.len() > 1 && values.iter().any(|value| value == "*") {
        report.invalid(field, "has \"*\" beside others: write it alone");
    }
    for (i, value) in values.iter().enumerate() {
        if let Some(problem) = problem(value) {
            report.invalid(format!("{field}[{i}]"), format!("{value:?} {problem}"));
        }
    }
    values.iter().map(|value| value.as_str().into()).collect()
}
