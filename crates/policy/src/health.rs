use std::net::SocketAddr;

use model::{Backend, BackendPolicy, Endpoint, EndpointCondition, HealthCheck};

/// What is known of one endpoint by its health check. Until it has failed often enough it counts as healthy: whoever
/// listed it as ready has looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthTrack {
    /// Whether it gets no new requests.
    pub is_unhealthy: bool,
    /// Probes in a row that said otherwise.
    streak: u32,
}

impl HealthTrack {
    /// The same after one more probe.
    #[must_use]
    pub fn with(self, passed: bool, check: &HealthCheck) -> Self {
        if passed != self.is_unhealthy {
            return Self { streak: 0, ..self };
        }
        let streak = self.streak.saturating_add(1);
        let enough = if passed { check.healthy_after } else { check.unhealthy_after };
        if streak >= enough { Self { is_unhealthy: !passed, streak: 0 } } else { Self { streak, ..self } }
    }
}

/// The backend without the endpoints for which `out` says why they are left out; or, if too few are left, with all of them
/// ([`EndpointCondition::Panicked`]): a few that carry the load of all fail too, and a check that fails everywhere is more
/// likely wrong itself. None: nothing changes.
///
/// Both tiers are given the outcome, so they choose alike.
pub fn with_health(
    backend: &Backend,
    out: impl Fn(SocketAddr) -> Option<EndpointCondition>,
) -> Option<Backend> {
    let takes = |e: &Endpoint| e.condition.takes_requests();
    if !backend.endpoints.iter().any(|e| takes(e) && out(e.address).is_some()) {
        return None;
    }
    let counted = || backend.endpoints.iter().filter(|e| takes(e) && e.weight > 0);
    let (all, left) = (counted().count(), counted().filter(|e| out(e.address).is_none()).count());
    let least = backend.policy.as_deref().map_or(BackendPolicy::PANIC_PERCENT_DEFAULT, |p| p.panic_percent);
    let is_panic = left * 100 < all * usize::from(least);
    let mut backend = backend.clone();
    for endpoint in backend.endpoints.iter_mut().filter(|e| takes(e)) {
        if let Some(why) = out(endpoint.address) {
            endpoint.condition = if is_panic { EndpointCondition::Panicked } else { why };
        }
    }
    Some(backend)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::{BackendId, Probe};

    use super::*;

    fn check(healthy_after: u32, unhealthy_after: u32) -> HealthCheck {
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(1));
        HealthCheck { probe: Probe::Tcp, interval, timeout, healthy_after, unhealthy_after }
    }

    #[test]
    fn it_takes_as_many_probes_in_a_row_as_are_asked_for() {
        let check = check(2, 3);
        let mut track = HealthTrack::default();
        let mut seen = String::new();
        for passed in "-+--+---+-++-+++".chars().map(|c| c == '+') {
            track = track.with(passed, &check);
            seen.push(if track.is_unhealthy { 'x' } else { '.' });
        }
        assert_eq!(seen, ".......xxxx.....");
    }

    fn backend(conditions: &[EndpointCondition], panic_percent: u8) -> Backend {
        let endpoint = |(last, condition): (u8, &EndpointCondition)| Endpoint {
            address: ([10, 0, 0, last], 80).into(),
            other: None,
            weight: 1,
            condition: *condition,
        };
        Backend {
            id: BackendId::service("a", "b", 80),
            protocol: Default::default(),
            security: Default::default(),
            proxy_protocol: None,
            endpoints: (0..).zip(conditions).map(endpoint).collect(),
            affinity: None,
            policy: Some(Arc::new(BackendPolicy { panic_percent, ..Default::default() })),
        }
    }

    fn outcome(backend: &Backend, ill: &[u8]) -> Vec<EndpointCondition> {
        let is_ill =
            |address: SocketAddr| ill.iter().any(|last| address.ip().to_string() == format!("10.0.0.{last}"));
        let changed = with_health(backend, |address| is_ill(address).then_some(EndpointCondition::Unhealthy));
        changed.unwrap_or_else(|| backend.clone()).endpoints.iter().map(|e| e.condition).collect()
    }

    #[test]
    fn the_unhealthy_are_left_out_until_too_few_are_left() {
        use EndpointCondition::{Draining, Panicked, Ready, Unhealthy};
        let four = backend(&[Ready; 4], 50);
        assert_eq!(with_health(&four, |_| None), None);
        assert_eq!(outcome(&four, &[1]), [Ready, Unhealthy, Ready, Ready]);
        assert_eq!(outcome(&four, &[1, 2]), [Ready, Unhealthy, Unhealthy, Ready], "half is not below half");
        assert_eq!(outcome(&four, &[0, 1, 2]), [Panicked, Panicked, Panicked, Ready]);
        assert_eq!(outcome(&four, &[0, 1, 2, 3]), [Panicked; 4]);
        let without = backend(&[Ready; 2], 0);
        assert_eq!(outcome(&without, &[0, 1]), [Unhealthy; 2], "no panic is asked for");
        let always = backend(&[Ready; 2], 100);
        assert_eq!(outcome(&always, &[0]), [Panicked, Ready]);
        // What drains is no part of the sum, and stays so.
        let draining = backend(&[Ready, Ready, Draining, Draining], 50);
        assert_eq!(outcome(&draining, &[0, 2]), [Unhealthy, Ready, Draining, Draining]);
    }
}
