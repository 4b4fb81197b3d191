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
pub struct WeightedChoice(Alias);

impl WeightedChoice {
    /// `weights[i]` is the share of backendRef `i` (relative, 0: none).
    pub fn new(weights: &[u32]) -> Self {
        Self(Alias::new(weights.iter().copied()))
    }

    /// The index that 64 random bits draw; none if no backendRef has weight.
    pub fn pick(&self, random: u64) -> Option<usize> {
        self.0.pick(random)
    }
}
