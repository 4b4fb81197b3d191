//! What BackendPolicies ask for, and whom they leave out, for people.

use model::{
    Backend, BackendPolicy, BackendRef, BackendTarget, CircuitLimits, EndpointCondition, HashBy, HealthCheck,
    OutlierDetection, Probe, Snapshot,
};

use super::text;
use crate::settings::parse::show_duration;

/// What is asked for a backend, a clause each.
pub(crate) fn clauses(backend: &Backend) -> Vec<String> {
    let Some(policy) = backend.policy.as_deref() else { return Vec::new() };
    let BackendPolicy { balancing, hash_by, slow_start, health_check, panic_percent, outliers, limits } =
        policy;
    let mut clauses = Vec::new();
    match (balancing, hash_by) {
        (Some(balancing), None) => clauses.push(text::balancing(*balancing)),
        (_, Some(by)) => clauses.push(format!("consistent hash by {}", hashed(by))),
        (None, None) => {}
    }
    clauses.extend(slow_start.map(|window| format!("slow start over {}", show_duration(window))));
    clauses.extend(health_check.as_ref().map(checked));
    clauses.extend(outliers.as_ref().map(judged));
    match *panic_percent {
        BackendPolicy::PANIC_PERCENT_DEFAULT => {}
        0 => clauses.push("no endpoint is used that is not healthy".to_owned()),
        percent => clauses.push(format!("all endpoints are used if less than {percent} % are healthy")),
    }
    clauses.extend(limits.as_ref().map(limited));
    clauses
}

/// What that means for a request to these backends.
pub(crate) fn steps(snapshot: &Snapshot, references: &[BackendRef]) -> Vec<String> {
    let mut steps = Vec::new();
    for reference in references.iter().filter(|reference| reference.weight > 0) {
        let BackendTarget::Backend(id) = &reference.target else { continue };
        let Some(backend) = snapshot.backends.get(id) else { continue };
        steps.extend(
            clauses(backend).into_iter().map(|clause| format!("{id}, by its BackendPolicy: {clause}")),
        );
        for endpoint in &backend.endpoints {
            let why = match endpoint.condition {
                EndpointCondition::Ready | EndpointCondition::Draining => continue,
                EndpointCondition::Unhealthy => "is left out: it fails its health check",
                EndpointCondition::Ejected => "is left out for a while: it failed too many requests in a row",
                EndpointCondition::Panicked => "should be left out, but too few others are healthy",
            };
            steps.push(format!("{} of {id} {why}", endpoint.address));
        }
    }
    steps
}

fn hashed(by: &HashBy) -> String {
    match by {
        HashBy::Header(name) => format!("header {name}"),
        HashBy::Cookie(name) => format!("cookie {name}"),
        HashBy::SourceAddress => "the client's address".to_owned(),
    }
}

fn checked(check: &HealthCheck) -> String {
    let probe = match &check.probe {
        Probe::Http { path, .. } => format!("GET {path}"),
        Probe::Tcp => "a connection".to_owned(),
        Probe::Grpc { service } if service.is_empty() => "gRPC".to_owned(),
        Probe::Grpc { service } => format!("gRPC of {service}"),
    };
    format!("health check by {probe} every {}", show_duration(check.interval))
}

fn judged(said: &OutlierDetection) -> String {
    let of = |count: Option<u32>, what: &str| count.map(|count| format!("{count} {what}"));
    let counts = [of(said.consecutive_5xx, "errors"), of(said.consecutive_gateway_errors, "gateway errors")];
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    format!("left out after {} in a row for {}", counts.join(" or "), show_duration(said.base_ejection))
}

fn limited(limits: &CircuitLimits) -> String {
    let of = |limit: Option<u32>, what: &str| limit.map(|limit| format!("{limit} {what}"));
    let all = [
        of(limits.connections, "connections"),
        of(limits.pending, "waiting requests"),
        of(limits.requests, "requests"),
        of(limits.retries, "retries"),
    ];
    format!("at most {}", all.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::{BackendId, Endpoint};

    use super::*;

    #[test]
    fn each_thing_asked_for_is_a_clause_and_who_is_left_out_is_named() {
        let second = Duration::from_secs(1);
        let policy = BackendPolicy {
            balancing: Some(model::Balancing::default()),
            hash_by: Some(HashBy::Cookie("user".into())),
            slow_start: Some(30 * second),
            health_check: Some(HealthCheck {
                probe: Probe::Http { path: "/health".into(), host: None, statuses: vec![] },
                interval: 3 * second,
                timeout: second,
                healthy_after: 1,
                unhealthy_after: 3,
            }),
            panic_percent: 0,
            outliers: Some(OutlierDetection {
                consecutive_5xx: Some(5),
                consecutive_gateway_errors: Some(3),
                base_ejection: 30 * second,
                max_ejection: 300 * second,
                max_percent: 10,
            }),
            limits: Some(CircuitLimits { connections: Some(9), requests: Some(7), ..Default::default() }),
        };
        let endpoint = |last, condition| Endpoint {
            address: ([10, 0, 0, last], 80).into(),
            other: None,
            weight: 1,
            condition,
        };
        let id = BackendId::service("a", "b", 80);
        let backend = Backend {
            id: id.clone(),
            protocol: Default::default(),
            security: Default::default(),
            proxy_protocol: None,
            endpoints: vec![
                endpoint(1, EndpointCondition::Ready),
                endpoint(2, EndpointCondition::Unhealthy),
                endpoint(3, EndpointCondition::Ejected),
            ],
            affinity: None,
            policy: Some(Arc::new(policy)),
        };
        let asked = [
            "consistent hash by cookie user",
            "slow start over 30s",
            "health check by GET /health every 3s",
            "left out after 5 errors or 3 gateway errors in a row for 30s",
            "no endpoint is used that is not healthy",
            "at most 9 connections, 7 requests",
        ];
        assert_eq!(clauses(&backend), asked);
        let snapshot = Snapshot::new(1, [], [], [Arc::new(backend)], []);
        let steps = steps(&snapshot, &[BackendRef::new(1, BackendTarget::Backend(id))]);
        assert_eq!(steps.len(), 8);
        assert_eq!(steps[6], "10.0.0.2:80 of a/b:80 is left out: it fails its health check");
    }
}
