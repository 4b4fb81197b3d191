//! What a BackendPolicy says by itself, field by field.

use std::time::Duration;

use model::{Balancing, CircuitLimits, HashBy, HealthCheck, OutlierDetection, Probe};
use policy::path_problem;
use resources::{
    BackendHealthCheck, BackendLoadBalancer, BackendLoadBalancerType as Kind, BackendOutlierDetection,
    BackendPolicy, BackendPolicySpec, CircuitBreaker, ConsistentHashType, HashName, HealthCheckType,
    LoadBalancerType,
};

use crate::options::is_maglev_table_size;
use crate::report::Report;
use crate::{Options, duration, pattern};

/// What a policy says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    pub(crate) balancing: Option<Chosen>,
    pub(crate) health_check: Option<HealthCheck>,
    pub(crate) panic_percent: Option<u8>,
    pub(crate) outliers: Option<OutlierDetection>,
    pub(crate) limits: Option<CircuitLimits>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) balancing: Balancing,
    pub(crate) hash_by: Option<HashBy>,
    pub(crate) slow_start: Option<Duration>,
}

/// Checks what a BackendPolicy says by itself.
pub(crate) fn check(policy: &BackendPolicy, report: &mut Report<'_>) {
    if policy.spec.target_refs.is_empty() {
        report.invalid("spec.targetRefs", "is empty, so it is for nothing: name a Service");
    }
    read(&policy.spec, &Options::default(), report);
}

/// Its fields.
pub(crate) fn read(spec: &BackendPolicySpec, options: &Options, report: &mut Report<'_>) -> Rules {
    if let Some(percent) = spec.panic_threshold.filter(|percent| *percent > 100) {
        report.invalid("spec.panicThreshold", format!("{percent} is no share in percent: write 0 to 100"));
    }
    Rules {
        balancing: spec.load_balancer.as_ref().and_then(|said| chosen(said, options, report)),
        health_check: spec.health_check.as_ref().and_then(|said| health_check(said, report)),
        panic_percent: spec.panic_threshold,
        outliers: spec.outlier_detection.as_ref().map(|said| outliers(said, report)),
        limits: spec.circuit_breaker.as_ref().map(|said| limits(said, report)),
    }
}

fn chosen(said: &BackendLoadBalancer, options: &Options, report: &mut Report<'_>) -> Option<Chosen> {
    let field = "spec.loadBalancer.slowStart.window";
    let window = said.slow_start.as_ref().map(|slow| Some(slow.window.clone()));
    let slow_start = window.and_then(|text| time(&text, field, Duration::from_millis(10), report));
    let (balancing, hash_by) = balancing(said, options, report)?;
    Some(Chosen { balancing, hash_by, slow_start })
}

fn balancing(
    said: &BackendLoadBalancer,
    options: &Options,
    report: &mut Report<'_>,
) -> Option<(Balancing, Option<HashBy>)> {
    let field = "spec.loadBalancer.consistentHash";
    let maglev = |size| options.balancing(LoadBalancerType::Maglev, size);
    let (balancing, hash) = match (said.kind, &said.consistent_hash) {
        (Kind::Maglev, None) => (maglev(None), None),
        (Kind::RoundRobin, None) => (Balancing::RoundRobin, None),
        (Kind::Random, None) => (Balancing::Random, None),
        (Kind::LeastRequest, None) => (Balancing::LeastRequest, None),
        (Kind::PeakEWMA, None) => (Balancing::PeakEwma, None),
        (Kind::ConsistentHash, Some(hash)) => (maglev(hash.table_size), Some(hash)),
        (Kind::ConsistentHash, None) => {
            report
                .invalid(field, "is missing: say what type ConsistentHash is over, such as {type: SourceIP}");
            return None;
        }
        (_, Some(_)) => {
            report.invalid(field, "is for type ConsistentHash only: remove it, or write that type");
            return None;
        }
    };
    let Some(hash) = hash else { return Some((balancing, None)) };
    if let Some(size) = hash.table_size.filter(|size| !is_maglev_table_size(*size)) {
        report.invalid(
            format!("{field}.tableSize"),
            format!("{size} slots: write a prime from 251 to 65537, such as 4099"),
        );
    }
    let mut named = |said: &Option<HashName>, wanted: bool, name: &str, kind: &str| -> Option<String> {
        let field = format!("{field}.{name}");
        match (said, wanted) {
            (Some(said), true) if pattern::is_token(&said.name) => return Some(said.name.clone()),
            (Some(said), true) => {
                report.invalid(format!("{field}.name"), format!("{:?} is no name of a {name}", said.name));
            }
            (None, true) => report.invalid(field, format!("is missing: type {kind} needs its name")),
            (Some(_), false) => {
                report.invalid(field, format!("is for type {kind} only: remove it, or write that type"));
            }
            (None, false) => {}
        }
        None
    };
    let header = named(&hash.header, hash.kind == ConsistentHashType::Header, "header", "Header");
    let cookie = named(&hash.cookie, hash.kind == ConsistentHashType::Cookie, "cookie", "Cookie");
    let by = match hash.kind {
        ConsistentHashType::SourceIP => HashBy::SourceAddress,
        ConsistentHashType::Header => HashBy::Header(header?.to_ascii_lowercase().into()),
        ConsistentHashType::Cookie => HashBy::Cookie(cookie?.into()),
    };
    Some((balancing, Some(by)))
}

fn health_check(said: &BackendHealthCheck, report: &mut Report<'_>) -> Option<HealthCheck> {
    let probe = probe(said, report);
    let ms = Duration::from_millis;
    let interval = time(&said.interval, "spec.healthCheck.interval", ms(10), report);
    let timeout = time(&said.timeout, "spec.healthCheck.timeout", ms(1), report);
    let (interval, timeout) =
        (interval.unwrap_or(HealthCheck::INTERVAL_DEFAULT), timeout.unwrap_or(HealthCheck::TIMEOUT_DEFAULT));
    let mut count = |number: Option<u32>, name: &str, default: u32| {
        if number == Some(0) {
            report.invalid(format!("spec.healthCheck.{name}"), "is 0: one probe is the least");
        }
        number.unwrap_or(default)
    };
    let unhealthy_after =
        count(said.unhealthy_threshold, "unhealthyThreshold", HealthCheck::UNHEALTHY_AFTER_DEFAULT);
    let healthy_after = count(said.healthy_threshold, "healthyThreshold", HealthCheck::HEALTHY_AFTER_DEFAULT);
    Some(HealthCheck { probe: probe?, interval, timeout, healthy_after, unhealthy_after })
}

fn probe(said: &BackendHealthCheck, report: &mut Report<'_>) -> Option<Probe> {
    let field = "spec.healthCheck";
    let others = [
        ("http", said.http.is_some(), HealthCheckType::HTTP, "HTTP"),
        ("grpc", said.grpc.is_some(), HealthCheckType::GRPC, "GRPC"),
    ];
    for (name, _, _, kind) in others.into_iter().filter(|(_, is_set, kind, _)| *is_set && *kind != said.kind)
    {
        report.invalid(
            format!("{field}.{name}"),
            format!("is for type {kind} only: remove it, or write that type"),
        );
    }
    match said.kind {
        HealthCheckType::TCP => Some(Probe::Tcp),
        HealthCheckType::GRPC => {
            let service = said.grpc.as_ref().and_then(|grpc| grpc.service.as_deref()).unwrap_or_default();
            Some(Probe::Grpc { service: service.into() })
        }
        HealthCheckType::HTTP => {
            let http = said.http.clone().unwrap_or_default();
            let path = http.path.as_deref().unwrap_or(HealthCheck::PATH_DEFAULT);
            if let Some(problem) = target_problem(path) {
                report.invalid(format!("{field}.http.path"), format!("{path:?} {problem}"));
            }
            if let Some(host) = http.hostname.as_deref().filter(|host| !is_host(host)) {
                let message =
                    format!("{host:?} is no host name, such as health.example or health.example:8080");
                report.invalid(format!("{field}.http.hostname"), message);
            }
            for (i, status) in http.expected_statuses.iter().enumerate() {
                if !(200..=599).contains(status) {
                    let message = format!("{status} is no status of an answer: write 200 to 599");
                    report.invalid(format!("{field}.http.expectedStatuses[{i}]"), message);
                }
            }
            Some(Probe::Http {
                path: path.into(),
                host: http.hostname.map(Into::into),
                statuses: http.expected_statuses,
            })
        }
    }
}

fn outliers(said: &BackendOutlierDetection, report: &mut Report<'_>) -> OutlierDetection {
    let field = "spec.outlierDetection";
    let least = Duration::from_millis(10);
    let base = time(&said.base_ejection_time, &format!("{field}.baseEjectionTime"), least, report);
    let most = time(&said.max_ejection_time, &format!("{field}.maxEjectionTime"), least, report);
    let base_ejection = base.unwrap_or(OutlierDetection::BASE_EJECTION_DEFAULT);
    if let Some(most) = most.filter(|most| *most < base_ejection) {
        let message = format!(
            "{} ms is shorter than baseEjectionTime ({} ms)",
            most.as_millis(),
            base_ejection.as_millis()
        );
        report.invalid(format!("{field}.maxEjectionTime"), message);
    }
    let percent = said.max_ejection_percent.unwrap_or(OutlierDetection::MAX_PERCENT_DEFAULT);
    if percent > 100 {
        let message = format!("{percent} is no share in percent: write 0 to 100");
        report.invalid(format!("{field}.maxEjectionPercent"), message);
    }
    let errors = said.consecutive_5xx_errors.unwrap_or(OutlierDetection::CONSECUTIVE_5XX_DEFAULT);
    let gateway_errors = said.consecutive_gateway_errors.unwrap_or(0);
    if (errors, gateway_errors) == (0, 0) {
        report.invalid(field, "counts nothing: set consecutive5xxErrors or consecutiveGatewayErrors");
    }
    OutlierDetection {
        consecutive_5xx: Some(errors).filter(|count| *count > 0),
        consecutive_gateway_errors: Some(gateway_errors).filter(|count| *count > 0),
        base_ejection,
        max_ejection: most.unwrap_or(OutlierDetection::MAX_EJECTION_DEFAULT).max(base_ejection),
        max_percent: percent,
    }
}

fn limits(said: &CircuitBreaker, report: &mut Report<'_>) -> CircuitLimits {
    let limits = CircuitLimits {
        connections: said.max_connections,
        pending: said.max_pending_requests,
        requests: said.max_parallel_requests,
        retries: said.max_parallel_retries,
    };
    if limits.connections == Some(0) {
        report.invalid("spec.circuitBreaker.maxConnections", "is 0: no request could be sent");
    }
    if limits == CircuitLimits::default() {
        report.invalid("spec.circuitBreaker", "limits nothing: set one of its fields, or remove it");
    }
    limits
}

/// A time of at least `least`; none: nothing is said.
fn time(text: &Option<String>, field: &str, least: Duration, report: &mut Report<'_>) -> Option<Duration> {
    let text = text.as_deref()?;
    let found = duration::parse(text).filter(|time| *time >= least);
    if found.is_none() {
        let message =
            format!("{text:?} is no duration of {} ms or more, such as 500ms or 3s", least.as_millis());
        report.invalid(field, message);
    }
    found
}

/// Why text can be no path with a query.
fn target_problem(target: &str) -> Option<&'static str> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !query.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#') {
        return Some("has a query with a byte that must be percent-encoded");
    }
    path_problem(path)
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        })
}
