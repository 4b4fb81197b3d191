//! Clients that keep their endpoint, as objects ask for it.

use std::time::Duration;

use model::{Affinity, RouteAffinity};
use resources::core::Service;

use crate::duration;
use crate::report::Report;

/// The annotation that says whether clients stay.
pub(crate) const ANNOTATION: &str = "rauta.io/affinity";
/// The annotation that says for how long.
pub(crate) const TIMEOUT: &str = "rauta.io/affinity-timeout";

/// Reads both annotations, each with the field that it stands in.
pub(crate) fn annotated(
    kind: Option<(&str, String)>,
    timeout: Option<(&str, String)>,
    report: &mut Report<'_>,
) -> RouteAffinity {
    let asked = match &kind {
        None => None,
        Some(("client-ip", _)) => Some(true),
        Some(("none", _)) => Some(false),
        Some((other, field)) => {
            report.invalid(field, format!("{other:?} is neither \"client-ip\" nor \"none\""));
            return RouteAffinity::OfBackend;
        }
    };
    if let (Some((_, field)), false) = (&timeout, asked == Some(true)) {
        report.invalid(
            field,
            format!("has no effect without {ANNOTATION}: \"client-ip\": add it, or remove this"),
        );
    }
    match asked {
        None => RouteAffinity::OfBackend,
        Some(false) => RouteAffinity::Off,
        Some(true) => {
            let timeout = timeout.and_then(|(text, field)| self::timeout(text, &field, report));
            RouteAffinity::Client(timeout.map_or_else(Affinity::default, |timeout| Affinity { timeout }))
        }
    }
}

/// Reads a time for which clients keep their endpoint: whole seconds, up to a day.
pub(crate) fn timeout(text: &str, field: &str, report: &mut Report<'_>) -> Option<Duration> {
    let is_right = |time: &Duration| {
        *time > Duration::ZERO && *time <= Affinity::TIMEOUT_MAX && time.subsec_nanos() == 0
    };
    let found = duration::parse(text).filter(is_right);
    if found.is_none() {
        report.invalid(
            field,
            format!("{text:?} is no time in whole seconds from 1s to 24h, such as 30m or 3h"),
        );
    }
    found
}

/// What `sessionAffinity` of a Service says; it was checked when the Service came in ([`check`]).
pub(crate) fn of_service(service: &Service) -> Option<Affinity> {
    let spec = service.spec.as_ref()?;
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let seconds = seconds(service).and_then(|seconds| u64::try_from(seconds).ok());
    Some(seconds.map_or_else(Affinity::default, |seconds| Affinity { timeout: Duration::from_secs(seconds) }))
}

/// Checks what a Service says of its clients. Source: Kubernetes API v1, `ServiceSpec.sessionAffinity`, `ClientIPConfig`.
pub(crate) fn check(service: &Service, report: &mut Report<'_>) {
    match service.spec.as_ref().and_then(|spec| spec.session_affinity.as_deref()) {
        None | Some("" | "None" | "ClientIP") => {}
        Some(other) => {
            report.invalid("spec.sessionAffinity", format!("{other:?} is neither \"None\" nor \"ClientIP\""));
        }
    }
    if let Some(seconds) = seconds(service)
        && !(1..=86_400).contains(&seconds)
    {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        report.invalid(field, format!("{seconds} is not from 1 to 86400 (a day)"));
    }
}

fn seconds(service: &Service) -> Option<i32> {
    let config = service.spec.as_ref()?.session_affinity_config.as_ref()?;
    config.client_ip.as_ref()?.timeout_seconds
}
