//! Whether an endpoint that could not be connected to is passed over for a while, and by whom.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Until when, and by those of how much patience: an endpoint that did not take a connection within a second says nothing to those
/// who would wait for five.
///
/// One word, so that both are of the same failure: ms from bit 24 on, and below them the patience in ms. 0: it is not passed over.
#[derive(Debug, Default)]
pub(crate) struct PassedOver(AtomicU64);

const PATIENCE_BITS: u32 = 24;
/// More patience than anybody has (4.6 hours): that of everybody.
const EVERYBODY: u64 = (1 << PATIENCE_BITS) - 1;

impl PassedOver {
    /// Whether those who would wait for `patience` pass it over.
    pub(crate) fn by(&self, patience: Duration, now_ms: impl FnOnce() -> u64) -> bool {
        let (until_ms, of) = self.load();
        until_ms != 0 && of >= millis(patience) && now_ms() < until_ms
    }

    /// It failed those who waited for `patience`; [`Duration::MAX`]: it would have failed everybody. Who passes it over already goes on.
    pub(crate) fn begin(&self, now_ms: u64, lasts: Duration, patience: Duration) {
        let (until_ms, of) = self.load();
        let patience = millis(patience);
        if now_ms < until_ms && of > patience {
            return;
        }
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let until_ms = now_ms.saturating_add(lasts_ms).clamp(1, u64::MAX >> PATIENCE_BITS);
        self.0.store((until_ms << PATIENCE_BITS) | patience, Relaxed);
    }

    /// It took a connection.
    pub(crate) fn end(&self) {
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }

    fn load(&self) -> (u64, u64) {
        let both = self.0.load(Relaxed);
        (both >> PATIENCE_BITS, both & EVERYBODY)
    }
}

fn millis(patience: Duration) -> u64 {
    u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).min(EVERYBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn those_pass_it_over_who_would_wait_no_longer_than_it_was_given() {
        let over = PassedOver::default();
        let by = |patience: Duration, now_ms: u64| over.by(patience, || now_ms);
        assert!(!by(S, 0));
        over.begin(0, S, 2 * S);
        assert!(by(S, 999) && by(2 * S, 999) && !by(3 * S, 999) && !by(S, 1000));
        // Those with more patience learn it themselves, and then all know.
        over.begin(500, S, Duration::MAX);
        assert!(by(S, 1499) && by(3600 * S, 1499) && by(Duration::MAX, 1499) && !by(S, 1500));
        // Who gives it little time takes nothing from what others found.
        over.begin(600, 10 * S, S);
        assert!(by(5 * S, 1499) && !by(S, 1500));
        over.begin(1500, S, S);
        assert!(by(S, 2499) && !by(2 * S, 2499));
        over.end();
        assert!(!by(S, 2499));
    }

    #[test]
    fn a_time_without_end_is_one() {
        let over = PassedOver::default();
        over.begin(7, Duration::MAX, Duration::MAX);
        assert!(over.by(Duration::MAX, || u64::MAX >> (PATIENCE_BITS + 1)));
    }
}
