/// How long an endpoint takes to answer, as one thread has seen it: a moving average that jumps up with a slow answer and
/// comes down slowly, so that trouble is believed at once and recovery when it lasts.
///
/// A value: the caller keeps it and brings the time.
///
/// Source: Finagle, `PeakEwmaLoadBalancer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeakEwma {
    /// Microseconds at `at_ms`; 0: nothing is known.
    micros: u32,
    /// When it was last seen, in ms of the caller's clock (which may wrap).
    at_ms: u32,
}

impl PeakEwma {
    /// After so long without an answer the average is e times smaller: who was slow is tried again.
    const DECAY_MS: f64 = 10_000.0;
    /// What the first answer of an endpoint is thought to take while it is awaited.
    const UNKNOWN_MICROS: f64 = 1_000_000.0;

    /// The same after an answer that took `micros`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two numbers of 32 bits"
    )]
    pub fn with(self, micros: u32, now_ms: u32) -> Self {
        let before = f64::from(self.micros);
        let seen = f64::from(micros.max(1));
        let average = if seen >= before {
            seen
        } else {
            let kept = self.kept(now_ms);
            before * kept + seen * (1.0 - kept)
        };
        Self { micros: average as u32, at_ms: now_ms }
    }

    /// What one more request would cost an endpoint with so many under way.
    pub fn cost(self, active: u64, now_ms: u32) -> f64 {
        let known = f64::from(self.micros) * self.kept(now_ms);
        let micros = match known >= 1.0 {
            true => known,
            // It is tried, but not by a crowd before it has answered once.
            false if active > 0 => Self::UNKNOWN_MICROS,
            false => 0.0,
        };
        micros * (active as f64 + 1.0)
    }

    /// In one word, to be kept in an atomic.
    pub const fn to_bits(self) -> u64 {
        (self.micros as u64) << 32 | self.at_ms as u64
    }

    /// From such a word.
    #[expect(clippy::cast_possible_truncation, reason = "each half is one of the numbers")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { micros: (bits >> 32) as u32, at_ms: bits as u32 }
    }

    fn kept(self, now_ms: u32) -> f64 {
        (-f64::from(now_ms.wrapping_sub(self.at_ms)) / Self::DECAY_MS).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_up_and_comes_down_slowly() {
        let slow = PeakEwma::default().with(1_000, 0).with(200_000, 1);
        assert_eq!(slow.micros, 200_000);
        let again = slow.with(1_000, 1_001);
        assert!((175_000..185_000).contains(&again.micros), "{again:?}");
        let later = (0..60).fold(again, |average, n| average.with(1_000, 2_000 + n * 1_000));
        assert!((1_000..3_000).contains(&later.micros), "{later:?}");
    }

    #[test]
    fn who_is_unknown_is_tried_by_one() {
        let unknown = PeakEwma::default();
        let known = unknown.with(50_000, 0);
        assert!(unknown.cost(0, 5) < known.cost(0, 5));
        assert!(unknown.cost(1, 5) > known.cost(1, 5));
        // A slow one is tried again after a while.
        assert!(known.cost(0, 200_000) < 1.0, "{}", known.cost(0, 200_000));
    }

    #[test]
    fn a_word_holds_it_and_clocks_may_wrap() {
        let one = PeakEwma::default().with(123_456, u32::MAX - 10);
        assert_eq!(PeakEwma::from_bits(one.to_bits()), one);
        let after = one.with(1, 10);
        assert!(after.micros > 123_000, "{after:?}");
    }
}
