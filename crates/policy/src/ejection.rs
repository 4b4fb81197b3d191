use model::OutlierDetection;

/// An endpoint that is left out for what it answered.
///
/// Source: Envoy, "Outlier detection": base ejection time multiplied by how often it was ejected in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Until when, in ms of the caller's clock.
    pub until_ms: u64,
    /// How often in a row.
    times: u32,
}

impl Ejection {
    /// Another one at `now_ms`, after `before`.
    pub fn new(before: Option<Self>, said: &OutlierDetection, now_ms: u64) -> Self {
        let base_ms = u64::try_from(said.base_ejection.as_millis()).unwrap_or(u64::MAX).max(1);
        let max_ms = u64::try_from(said.max_ejection.as_millis()).unwrap_or(u64::MAX).max(base_ms);
        // Each time that it behaves for as long as the base, one of the earlier ones is forgotten.
        let earlier = before.map_or(0, |before| {
            let forgotten = now_ms.saturating_sub(before.until_ms) / base_ms;
            u64::from(before.times).saturating_sub(forgotten)
        });
        let times = earlier + 1;
        let until_ms = now_ms.saturating_add(base_ms.saturating_mul(times).min(max_ms));
        Self { until_ms, times: u32::try_from(times).unwrap_or(u32::MAX) }
    }
}

/// Whether one more of `all` endpoints may be left out where `out` of them are: one may always be.
pub fn may_eject(out: usize, all: usize, max_percent: u8) -> bool {
    out == 0 || (out + 1) * 100 <= all * usize::from(max_percent)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_time_is_longer_and_good_behaviour_is_remembered() {
        let said = OutlierDetection {
            consecutive_5xx: Some(5),
            consecutive_gateway_errors: None,
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(100),
            max_percent: 10,
        };
        let first = Ejection::new(None, &said, 1_000);
        assert_eq!(first.until_ms, 31_000);
        let second = Ejection::new(Some(first), &said, 40_000);
        assert_eq!(second.until_ms, 100_000);
        let fourth = Ejection::new(Some(Ejection::new(Some(second), &said, 100_000)), &said, 200_000);
        assert_eq!(fourth.until_ms, 300_000, "never longer than the maximum");
        let later = Ejection::new(Some(fourth), &said, 300_000 + 3 * 30_000);
        assert_eq!(later.until_ms, 390_000 + 60_000, "three of four are forgotten");
        let much_later = Ejection::new(Some(fourth), &said, 9_000_000);
        assert_eq!(much_later.until_ms, 9_030_000);
    }

    #[test]
    fn a_share_of_the_endpoints_may_be_out_and_one_always() {
        assert!(may_eject(0, 1, 0) && may_eject(0, 3, 10));
        assert!(!may_eject(1, 10, 10) && may_eject(1, 20, 10) && !may_eject(2, 20, 10));
        assert!(may_eject(9, 10, 100));
    }
}
