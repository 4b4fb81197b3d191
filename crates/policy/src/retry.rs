use std::time::Duration;

/// How many retries a route may spend: a fifth of its requests, and a few each second whatever comes, so that endpoints
/// in distress do not get their load multiplied.
///
/// One thread's part, as a value: the caller keeps it and brings the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// In thousandths of a retry.
    pub milli: u64,
    /// When it was last filled, in ms of the caller's clock.
    pub filled_at_ms: u64,
}

/// What a request brings in.
const MILLI_A_REQUEST: u64 = 200;
/// What time brings in.
const MILLI_A_MS: u64 = 3;
/// What can be saved up.
const MILLI_MAX: u64 = 10_000;

impl RetryBudget {
    /// A few retries to begin with.
    pub fn new(now_ms: u64) -> Self {
        Self { milli: 3_000, filled_at_ms: now_ms }
    }

    /// What a request leaves.
    #[must_use]
    pub fn with_request(self, now_ms: u64) -> Self {
        let filled = self.at(now_ms);
        Self { milli: (filled.milli + MILLI_A_REQUEST).min(MILLI_MAX), ..filled }
    }

    /// What a retry leaves; none: there is not enough for one.
    pub fn spend(self, now_ms: u64) -> Option<Self> {
        let filled = self.at(now_ms);
        Some(Self { milli: filled.milli.checked_sub(1000)?, ..filled })
    }

    fn at(self, now_ms: u64) -> Self {
        let passed = now_ms.saturating_sub(self.filled_at_ms);
        let milli = self.milli.saturating_add(passed.saturating_mul(MILLI_A_MS)).min(MILLI_MAX);
        Self { milli, filled_at_ms: now_ms.max(self.filled_at_ms) }
    }
}

/// How long to wait before the `retry`th retry, from 1: `base` doubled with each, up to eight times, and up to a quarter
/// more by chance, so that requests which failed together do not come again together.
pub fn retry_backoff(base: Duration, retry: u32, random: u64) -> Duration {
    let doubled = base.saturating_mul(1 << retry.saturating_sub(1).min(3));
    let most = u64::try_from((doubled / 4).as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
    doubled.saturating_add(Duration::from_nanos(random % most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_fifth_of_requests_and_a_few_a_second() {
        let mut budget = RetryBudget::new(0);
        let mut spent = 0;
        // One second of 1000 requests, all of which want a retry.
        for now_ms in 0..1000 {
            budget = budget.with_request(now_ms);
            if let Some(left) = budget.spend(now_ms) {
                (budget, spent) = (left, spent + 1);
            }
        }
        assert!((200..=206).contains(&spent), "{spent}");
    }

    #[test]
    fn a_quiet_route_has_some_and_saves_up_no_more_than_ten() {
        let mut budget = RetryBudget::new(0);
        for _ in 0..3 {
            budget = budget.spend(0).unwrap();
        }
        assert_eq!(budget.spend(0), None);
        assert!(budget.spend(334).is_some());
        let mut rich = RetryBudget::new(0).with_request(3_600_000);
        for _ in 0..10 {
            rich = rich.spend(3_600_000).unwrap();
        }
        assert_eq!(rich.spend(3_600_000), None);
        // A clock that goes back brings nothing.
        assert_eq!(rich.spend(0), None);
    }

    #[test]
    fn waits_double_up_to_eight_times_and_are_never_shorter() {
        let base = Duration::from_millis(100);
        for (retry, least) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 800), (99, 800)] {
            assert_eq!(retry_backoff(base, retry, 0), Duration::from_millis(least));
            let most = retry_backoff(base, retry, u64::MAX);
            assert!(most >= Duration::from_millis(least) && most <= Duration::from_millis(least * 5 / 4));
        }
        assert_eq!(retry_backoff(Duration::ZERO, 1, 7), Duration::ZERO);
    }
}
