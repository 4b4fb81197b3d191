use std::time::Instant;

use model::{Backend, EndpointCondition};

/// Since when each endpoint of `backend` is new, where its policy asks for a slow start; none: it gets all of its share.
///
/// New is one that takes requests `now` and did not `before`, in a backend that had others which did: it was listed, or came back to
/// health. Where nobody took requests before, at the start of a gateway for one, all are alike. `before` is the backend as it was, and what
/// this said of it.
pub fn warming_since(
    backend: &Backend,
    before: Option<(&Backend, &[Option<Instant>])>,
    now: Instant,
) -> Vec<Option<Instant>> {
    let window = backend.policy.as_ref().and_then(|policy| policy.slow_start);
    let before = before.filter(|(backend, _)| backend.endpoints.iter().any(|e| e.condition.takes_requests()));
    let (Some(window), Some((backend_before, since_before))) = (window, before) else {
        return vec![None; backend.endpoints.len()];
    };
    // One that is used although it fails must not be held back: too few others are left.
    let is_well = |condition| condition == EndpointCondition::Ready;
    let since = |endpoint: &model::Endpoint| {
        if !is_well(endpoint.condition) {
            return None;
        }
        let mut known = backend_before.endpoints.iter().zip(since_before);
        match known.find(|(one, _)| one.address == endpoint.address && is_well(one.condition)) {
            Some((_, since)) => since.filter(|since| now.saturating_duration_since(*since) < window),
            None => Some(now),
        }
    };
    backend.endpoints.iter().map(since).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use EndpointCondition::{Draining, Ejected, Panicked, Ready, Unhealthy};
    use model::{BackendId, BackendPolicy, Endpoint};

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn backend(slow_start: Option<Duration>, endpoints: &[(u8, EndpointCondition)]) -> Backend {
        let endpoint = |&(last, condition): &_| {
            let address = ([10, 0, 0, last], 80).into();
            Endpoint { address, other: None, weight: 1, condition }
        };
        Backend {
            id: BackendId::service("a", "b", 80),
            protocol: Default::default(),
            security: Default::default(),
            proxy_protocol: None,
            endpoints: endpoints.iter().map(endpoint).collect(),
            affinity: None,
            policy: Some(Arc::new(BackendPolicy { slow_start, ..Default::default() })),
        }
    }

    #[test]
    fn who_joins_or_comes_back_is_new_until_the_window_is_over() {
        let slow = |endpoints: &[_]| backend(Some(WINDOW), endpoints);
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        let (t0, t1, t2, t3) = (at(0), at(10), at(20), at(75));
        let first = slow(&[(1, Ready), (2, Unhealthy)]);
        // A gateway that starts.
        let none = warming_since(&first, None, t0);
        assert_eq!(none, [None, None]);
        // One is new, one comes back.
        let joined = slow(&[(1, Ready), (2, Ready), (3, Ready)]);
        let since = warming_since(&joined, Some((&first, &none)), t1);
        assert_eq!(since, [None, Some(t1), Some(t1)]);
        // They go on while something else changes, and one that goes and comes begins again.
        let other = slow(&[(1, Ready), (2, Ejected), (3, Ready), (4, Draining)]);
        let since = warming_since(&other, Some((&joined, &since)), t2);
        assert_eq!(since, [None, None, Some(t1), None]);
        let since = warming_since(&joined, Some((&other, &since)), t2);
        assert_eq!(since, [None, Some(t2), Some(t1)]);
        let since = warming_since(&joined, Some((&joined, &since)), t3);
        assert_eq!(since, [None, Some(t2), None]);
        // Without the field there is nothing of that.
        let plain = backend(None, &[(1, Ready), (2, Ready), (3, Ready)]);
        assert_eq!(warming_since(&plain, Some((&first, &none)), t1), [None, None, None]);
    }

    #[test]
    fn where_nobody_was_there_or_too_few_are_well_nobody_is_held_back() {
        let slow = |endpoints: &[_]| backend(Some(WINDOW), endpoints);
        let now = Instant::now();
        let gone = slow(&[(1, Unhealthy), (2, Draining)]);
        let back = slow(&[(1, Ready), (2, Ready)]);
        assert_eq!(warming_since(&back, Some((&gone, &[None, None])), now), [None, None]);
        let panicked = slow(&[(1, Panicked), (2, Ready)]);
        assert_eq!(warming_since(&panicked, Some((&slow(&[(2, Ready)]), &[None])), now), [None, None]);
        // Those that come out of it do so one by one.
        assert_eq!(warming_since(&back, Some((&panicked, &[None, None])), now), [Some(now), None]);
    }
}
