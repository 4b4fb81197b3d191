//! The service that a RoutePolicy asks, but for where it is.

use std::sync::Arc;
use std::time::Duration;

use model::{BackendId, ExtAuth, ExtAuthProtocol};
use policy::{HeadKind, header_refusal, path_problem};
use resources::{HttpExtAuth, PolicyBackendRef};

use super::route_policy::CLOSES;
use crate::report::Report;
use crate::{duration, pattern};

/// How long it may take unless something is said of it, as in Envoy Gateway.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The status while it cannot be asked unless something is said of it, as in Envoy Gateway.
const STATUS_ON_ERROR: u16 = 403;

/// Who is asked and what for, where `backend` says which backend a reference means; none: it cannot be.
pub(crate) fn read(
    said: &resources::ExtAuth,
    mut backend: impl FnMut(&PolicyBackendRef, &str, &mut Report<'_>) -> Option<BackendId>,
    report: &mut Report<'_>,
) -> Option<ExtAuth> {
    let field = "spec.extAuth";
    let (by, references) = match (&said.http, &said.grpc) {
        (Some(http), None) => ("http", http.backend_refs.as_slice()),
        (None, Some(grpc)) => ("grpc", grpc.backend_refs.as_slice()),
        (None, None) => {
            report.invalid(field, format!("has neither http nor grpc, {CLOSES}: say who is asked"));
            return None;
        }
        (Some(_), Some(_)) => {
            report.invalid(field, format!("has both http and grpc, {CLOSES}: leave one out"));
            return None;
        }
    };
    let backend = match references {
        [one] => backend(one, &format!("{field}.{by}.backendRefs[0]"), report),
        several => {
            let message = format!("has {} entries, {CLOSES}: name one Service", several.len());
            report.invalid(format!("{field}.{by}.backendRefs"), message);
            None
        }
    };
    let protocol = match &said.http {
        Some(http) => by_http(http, &format!("{field}.http"), report),
        None => Some(ExtAuthProtocol::Grpc),
    };
    let to_service = names(&said.headers_to_ext_auth, false, &format!("{field}.headersToExtAuth"), report);
    let timeout = match said.timeout.as_deref() {
        None => Some(TIMEOUT),
        Some(text) => {
            let time = duration::parse(text).filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX);
            if time.is_none() {
                let message = format!("{text:?} is no time up to a minute, {CLOSES}: write 500ms or 2s");
                report.invalid(format!("{field}.timeout"), message);
            }
            time
        }
    };
    let status_on_error = said.status_on_error.unwrap_or(STATUS_ON_ERROR);
    let is_error = (400..=599).contains(&status_on_error);
    if !is_error {
        let message = format!("{status_on_error} is no status of an error, {CLOSES}: write 400 to 599");
        report.invalid(format!("{field}.statusOnError"), message);
    }
    if !is_error {
        return None;
    }
    Some(ExtAuth {
        backend: backend?,
        protocol: protocol?,
        headers_to_ext_auth: to_service?,
        fails_open: said.fail_open.unwrap_or_default(),
        timeout: timeout?,
        status_on_error,
    })
}

fn by_http(said: &HttpExtAuth, field: &str, report: &mut Report<'_>) -> Option<ExtAuthProtocol> {
    let path = said.path.as_deref().unwrap_or_default();
    // What follows begins with a slash of its own.
    let path = path.strip_suffix('/').unwrap_or(path);
    let problem = if path.is_empty() { None } else { path_problem(path) };
    if let Some(problem) = problem {
        report.invalid(format!("{field}.path"), format!("{path:?} {problem}, {CLOSES}"));
    }
    let to_backend = names(&said.headers_to_backend, true, &format!("{field}.headersToBackend"), report);
    if problem.is_some() {
        return None;
    }
    Some(ExtAuthProtocol::Http { path: path.into(), headers_to_backend: to_backend? })
}

/// Names of headers that the gateway may write; in lower case.
fn names(list: &[String], is_written: bool, field: &str, report: &mut Report<'_>) -> Option<Vec<Arc<str>>> {
    let read = list.iter().enumerate().map(|(i, name)| {
        let refusal = header_refusal(HeadKind::Request, name);
        let problem = match (pattern::is_token(name), refusal) {
            (false, _) => "is no name of a header",
            (true, Some(refusal)) => refusal,
            (true, None) => return Some(Arc::from(name.to_ascii_lowercase())),
        };
        // Those that it always gets may be named all the same.
        if !is_written && name.eq_ignore_ascii_case("host") {
            return Some(Arc::from("host"));
        }
        report.invalid(format!("{field}[{i}]"), format!("{name:?} {problem}, {CLOSES}"));
        None
    });
    read.collect::<Vec<_>>().into_iter().collect()
}
