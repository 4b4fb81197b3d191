use std::time::{Duration, Instant};

/// What an endpoint gets of its share when it is new.
const SHARE_MIN: f64 = 0.1;

/// Holds endpoints back that are new to a running service, beside whatever balancer draws them.
///
/// An endpoint's share rises evenly from a tenth to all of it over the window. For each pick the caller asks once about each endpoint
/// that comes into question, with the same bits however often it is drawn, and draws again where one is held back: a balancer then gives
/// it that share of what it would have, and the others the rest by their weights.
///
/// Source: Envoy, slow start mode with aggression 1.0 and min_weight_percent 10. There weights are multiplied, which gives a little more
/// where few others are.
#[derive(Clone, Debug)]
pub struct SlowStart {
    window: Duration,
    /// None: all of its share.
    begun: Box<[Option<Instant>]>,
    /// When the one began that has come furthest: where all are new, nobody is there to take more.
    oldest: Option<Instant>,
}

impl SlowStart {
    /// `begun[i]` is when endpoint `i`, of weight `weights[i]`, began; none: it has all of its share. None of them is held back where
    /// none began, or all at once.
    pub fn new(window: Duration, begun: &[Option<Instant>], weights: &[u16]) -> Option<Self> {
        let mut counted =
            begun.iter().zip(weights).filter(|(_, weight)| **weight > 0).map(|(begun, _)| *begun);
        // None: one that has all of its share. It has begun before all others.
        let oldest = counted.clone().min()?;
        if counted.all(|begun| begun == oldest) {
            return None;
        }
        Some(Self { window, begun: begun.into(), oldest })
    }

    /// Whether endpoint `index` may be taken by a pick, by 64 random bits of the two that did not draw it.
    pub fn takes(&self, index: usize, random: u64, now: Instant) -> bool {
        let Some(begun) = self.begun.get(index).copied() else { return true };
        // The high 53 bits, which a double has.
        let drawn = (random >> 11) as f64 / (1_u64 << 53) as f64;
        drawn * self.share(self.oldest, now) < self.share(begun, now)
    }

    /// What one that began then gets of its share: from a tenth to 1.
    fn share(&self, begun: Option<Instant>, now: Instant) -> f64 {
        let Some(begun) = begun else { return 1.0 };
        let age = now.saturating_duration_since(begun);
        if age >= self.window { 1.0 } else { (age.as_secs_f64() / self.window.as_secs_f64()).max(SHARE_MIN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::mix;
    use crate::{Balancer, Pick, Random};

    const WINDOW: Duration = Duration::from_secs(60);

    /// How often each endpoint is taken, in percent, of many draws.
    fn taken(slow: &SlowStart, weights: &[u16], now: Instant) -> Vec<f64> {
        const PICKS: u64 = 40_000;
        let balancer = Random::new(weights);
        let mut counts = vec![0_u32; weights.len()];
        for pick in 0..PICKS {
            let drawn = (0..64).find_map(|draw| {
                let random = mix(mix(pick) ^ mix(draw));
                let index = balancer.pick(&Pick { random, ..Pick::default() })?;
                slow.takes(index, mix(mix(!pick) ^ index as u64), now).then_some(index)
            });
            counts[drawn.unwrap()] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) * 100.0 / PICKS as f64).collect()
    }

    #[test]
    fn shares_rise_evenly_from_a_tenth() {
        let start = Instant::now();
        let weights = [1, 1, 2];
        let slow = SlowStart::new(WINDOW, &[None, Some(start), None], &weights).unwrap();
        for (age_s, share) in [(0, 0.1), (6, 0.1), (15, 0.25), (30, 0.5), (45, 0.75), (60, 1.0), (600, 1.0)] {
            let got = taken(&slow, &weights, start + Duration::from_secs(age_s));
            let new = 25.0 * share;
            for (got, wanted) in got.iter().zip([(100.0 - new) / 3.0, new, (100.0 - new) * 2.0 / 3.0]) {
                assert!((got - wanted).abs() < 1.0, "{age_s} s: {got} % and not {wanted}");
            }
        }
    }

    #[test]
    fn where_all_are_new_the_oldest_is_the_measure() {
        let start = Instant::now();
        let later = start + WINDOW / 2;
        let slow = SlowStart::new(WINDOW, &[Some(start), Some(later)], &[1, 1]).unwrap();
        // Half of its share and a tenth: a fifth of what it would get.
        let got = taken(&slow, &[1, 1], later);
        assert!((got[1] - 10.0).abs() < 1.0, "{got:?}");
        // An endpoint without weight is no measure.
        let slow = SlowStart::new(WINDOW, &[None, Some(start), Some(later)], &[0, 1, 1]).unwrap();
        let got = taken(&slow, &[0, 1, 1], later);
        assert!((got[2] - 10.0).abs() < 1.0, "{got:?}");
    }

    #[test]
    fn nobody_is_held_back_where_none_began_or_all_at_once() {
        let start = Some(Instant::now());
        for (begun, weights) in [
            (&[][..], &[][..]),
            (&[None, None], &[1, 1]),
            (&[start, start], &[1, 1]),
            (&[None, start], &[0, 1]),
        ] {
            assert!(SlowStart::new(WINDOW, begun, weights).is_none(), "{begun:?}");
        }
    }
}
