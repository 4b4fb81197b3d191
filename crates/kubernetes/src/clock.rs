//! The time of day as the API writes it (RFC 3339, UTC).

use jiff::Timestamp;

/// Now, in seconds: meta/v1 Time.
pub(crate) fn seconds() -> String {
    format!("{:.0}", Timestamp::now())
}

/// Now, in microseconds: meta/v1 MicroTime.
pub(crate) fn micros() -> String {
    format!("{:.6}", Timestamp::now())
}

/// A moment as the API wrote it, in seconds since 1970.
pub(crate) fn unix_s(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_api_does() {
        let (seconds, micros) = (seconds(), micros());
        assert_eq!((seconds.len(), micros.len()), (20, 27), "{seconds} {micros}");
        assert!(seconds.ends_with('Z') && micros.ends_with('Z'));
        assert!(unix_s(&seconds) <= unix_s(&micros));
        assert_eq!(unix_s("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(unix_s("yesterday"), None);
    }
}
