use crate::alias::Alias;
use crate::{Balancer, Pick};

/// Chooses an endpoint by chance, in proportion to the weights, from [`Pick::random`].
///
/// Building and memory are linear in the endpoints, a pick takes constant time.
#[derive(Clone, Debug)]
pub struct Random(Alias);

impl Random {
    /// `weights[i]` is endpoint `i`'s share (relative, 0: none).
    pub fn new(weights: &[u16]) -> Self {
        Self(Alias::new(weights.iter().map(|&w| u32::from(w))))
    }
}

impl Balancer for Random {
    fn pick(&self, pick: &Pick) -> Option<usize> {
        self.0.pick(pick.random)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Chooses a backend of a route by weight.
///
/// Source of the weights' meaning: Gateway API v1.6.1, `BackendRef.weight`: "weight/(sum of all weights)"; 0: no traffic.
#[derive(Clone, Debug)]
pub struct WeightedChoice {
    alias: Alias,
    /// The sum of the weights up to and with each one.
    up_to: Box<[u64]>,
}

impl WeightedChoice {
    /// `weights[i]` is the share of backendRef `i` (relative, 0: none).
    pub fn new(weights: &[u32]) -> Self {
        let mut sum = 0;
        let up_to = weights.iter().map(|&weight| {
            sum += u64::from(weight);
            sum
        });
        Self { up_to: up_to.collect(), alias: Alias::new(weights.iter().copied()) }
    }

    /// The index that 64 random bits draw; none if no backendRef has weight.
    pub fn pick(&self, random: u64) -> Option<usize> {
        self.alias.pick(random)
    }

    /// The index at `point`, a place in 0..2^32 of the weights laid end to end; none if no backendRef has weight.
    ///
    /// A point keeps its backendRef while the weights stay, and of two that trade weight only theirs move. The kernel tier
    /// draws so too, and gets the same index.
    pub fn at(&self, point: u32) -> Option<usize> {
        let total = *self.up_to.last()?;
        // A total of 2^32 and more has no place in the kernel; here it costs nothing.
        let place = u64::try_from((u128::from(point) * u128::from(total)) >> 32).ok()?;
        self.up_to.iter().position(|&up_to| place < up_to)
    }
}
