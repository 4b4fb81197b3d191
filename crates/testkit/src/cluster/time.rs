//! Moments as the API writes them (RFC 3339, UTC).

use std::time::SystemTime;

use jiff::Timestamp;

/// Now, in microseconds: `2026-11-21T22:05:28.123456Z`.
pub(super) fn now_micro() -> String {
    format!("{:.6}", Timestamp::now())
}

/// `moment` in seconds: `2026-11-21T22:05:28Z`.
pub(super) fn whole_seconds(moment: SystemTime) -> String {
    format!("{:.0}", Timestamp::try_from(moment).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (since_epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_298_728, "2026-11-21T22:05:28Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::from_secs(since_epoch);
            assert_eq!(whole_seconds(moment), text);
            let later = whole_seconds(moment + Duration::from_millis(999));
            assert_eq!(later, text, "no second is ahead of its time");
        }
    }

    #[test]
    fn now_has_six_digits_of_a_second() {
        let text = now_micro();
        assert_eq!((text.len(), text.as_bytes()[19], text.ends_with('Z')), (27, b'.', true), "{text}");
    }
}
