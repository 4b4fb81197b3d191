use std::time::{Duration, Instant};

/// What planning may take of the time in which events could be heard: one part of so many.
const SHARE: u32 = 25;
/// Two plans are not closer together than this.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// When statuses may be planned: at once, but not after every event of many.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// When the next plan may be made, if not before `now`.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        self.next.map_or(now, |next| next.max(now))
    }

    /// Whether one may be made.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// One was begun at `started` and took so long.
    pub(crate) fn took(&mut self, started: Instant, time: Duration) {
        self.next = Some(started + PAUSE_MIN.max(time * SHARE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_take_a_bounded_share_of_the_time() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.is_due(start));
        pace.took(start, Duration::from_millis(1));
        assert!(!pace.is_due(start + PAUSE_MIN / 2));
        assert!(pace.is_due(start + PAUSE_MIN));
        pace.took(start, Duration::from_millis(10));
        assert!(!pace.is_due(start + Duration::from_millis(249)));
        assert!(pace.is_due(start + Duration::from_millis(250)));
        assert_eq!(pace.next(start), start + Duration::from_millis(250));
    }
}
