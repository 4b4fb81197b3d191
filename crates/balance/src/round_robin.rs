use std::cmp::Ordering;

use crate::{Balancer, Pick};

/// Chooses endpoints in turn, in proportion to the weights, from [`Pick::turn`].
///
/// With equal weights that is `a b c a b c`; with weights 5, 1, 1 it is `a a a b c a a`, never `a a a a a b c`: the
/// `k`-th turn of an endpoint of weight `w` is due at `(2 k + 1) / (2 w)` of the round (earliest deadline first).
///
/// A round is as long as the weights' sum over their greatest common divisor. Above [`RoundRobin::TURNS_MAX`] the weights
/// are rounded to about that many turns, at least one for each endpoint that has weight.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    endpoints: usize,
    /// One round: whose turn it is.
    turns: Box<[u32]>,
}

impl RoundRobin {
    /// The turns of a round beyond which weights are rounded (64 KiB).
    pub const TURNS_MAX: u32 = 1 << 14;

    /// `weights[i]` is endpoint `i`'s share (relative, 0: none).
    pub fn new(weights: &[u16]) -> Self {
        let counts = turns_of_a_round(weights);
        let mut turns: Vec<Turn> = (0u32..)
            .zip(&counts)
            .flat_map(|(endpoint, &of)| (0..of).map(move |nth| Turn { endpoint, nth, of }))
            .collect();
        turns.sort_unstable_by(Turn::due_before);
        Self { endpoints: weights.len(), turns: turns.iter().map(|t| t.endpoint).collect() }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, pick: &Pick) -> Option<usize> {
        let turn = pick.turn.checked_rem(self.turns.len() as u64)?;
        let endpoint = self.turns.get(usize::try_from(turn).ok()?)?;
        usize::try_from(*endpoint).ok()
    }

    fn len(&self) -> usize {
        self.endpoints
    }
}

/// The `nth` of `of` turns that an endpoint has in a round.
struct Turn {
    endpoint: u32,
    nth: u32,
    of: u32,
}

impl Turn {
    fn due_before(&self, other: &Self) -> Ordering {
        let left = (2 * u64::from(self.nth) + 1) * u64::from(other.of);
        let right = (2 * u64::from(other.nth) + 1) * u64::from(self.of);
        left.cmp(&right).then(self.endpoint.cmp(&other.endpoint))
    }
}

/// How many turns each endpoint has.
fn turns_of_a_round(weights: &[u16]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let sum: u64 = weights.iter().map(|&w| u64::from(w / divisor)).sum();
    let longest = u64::from(RoundRobin::TURNS_MAX);
    let turns = |weight: u16| match u64::from(weight / divisor) {
        0 => 0,
        exact if sum <= longest => exact,
        exact => ((exact * longest + sum / 2) / sum).max(1),
    };
    // Each is at most the weight, which has 16 bits.
    weights.iter().map(|&w| u32::try_from(turns(w)).unwrap_or(u32::MAX)).collect()
}

fn greatest_common_divisor(mut a: u16, mut b: u16) -> u16 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(weights: &[u16], turns: u64) -> Vec<usize> {
        let balancer = RoundRobin::new(weights);
        (0..turns).map(|turn| balancer.pick(&Pick { turn, ..Pick::default() }).unwrap()).collect()
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(round(&[3, 3, 3], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(round(&[1], 2), [0, 0]);
    }

    #[test]
    fn heavy_endpoints_are_spread_over_the_round() {
        assert_eq!(round(&[5, 1, 1], 8), [0, 0, 0, 1, 2, 0, 0, 0]);
        assert_eq!(round(&[20, 10], 6), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn without_weight_there_is_no_turn() {
        assert_eq!(round(&[0, 2, 0], 3), [1, 1, 1]);
        for weights in [&[][..], &[0, 0]] {
            let balancer = RoundRobin::new(weights);
            assert_eq!(balancer.pick(&Pick::default()), None);
            assert_eq!(balancer.len(), weights.len());
        }
    }

    #[test]
    fn long_rounds_are_rounded_and_keep_everyone() {
        let mut weights = vec![65_521; 30];
        weights.extend([1, 1]);
        let counts = turns_of_a_round(&weights);
        assert_eq!(counts[0], 546, "16,384 / 30 and a little less");
        assert_eq!(counts[31], 1);
        assert_eq!(RoundRobin::new(&weights).turns.len(), 30 * 546 + 2);
    }

    #[test]
    fn counters_may_wrap() {
        let balancer = RoundRobin::new(&[1, 1, 1]);
        assert!(balancer.pick(&Pick { turn: u64::MAX, ..Pick::default() }).is_some());
    }
}
