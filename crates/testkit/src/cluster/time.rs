//! Moments as the API writes them (RFC 3339, UTC).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in microseconds: `2026-11-21T22:05:28.123456Z`.
pub(super) fn now_micro() -> String {
    let since = since_epoch(SystemTime::now());
    format!("{}.{:06}Z", seconds(since.as_secs()), since.subsec_micros())
}

/// `moment` in seconds: `2026-11-21T22:05:28Z`.
pub(super) fn whole_seconds(moment: SystemTime) -> String {
    format!("{}Z", seconds(since_epoch(moment).as_secs()))
}

fn since_epoch(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn seconds(since_epoch: u64) -> String {
    let (days, second) = (since_epoch / 86_400, since_epoch % 86_400);
    // Days to the civil calendar, with years from March: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (since_epoch, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_298_728, "2026-11-21T22:05:28"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(seconds(since_epoch), text);
        }
    }
}
