use crate::alias::Alias;
use crate::mix::mix;

/// Draws two endpoints by chance, in proportion to their weights, and takes the one that costs less.
///
/// Two draws are enough: the fullest endpoint has O(log log n) requests more than the mean, where one draw leaves
/// O(log n / log log n). And who knows only old numbers does not send everything to the one endpoint that looked best.
///
/// Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
#[derive(Clone, Debug)]
pub struct TwoChoices(Alias);

impl TwoChoices {
    /// `weights[i]` is endpoint `i`'s share (relative, 0: none).
    pub fn new(weights: &[u16]) -> Self {
        Self(Alias::new(weights.iter().map(|&weight| u32::from(weight))))
    }

    /// The index that 64 random bits draw, by what each endpoint costs; none if no endpoint has weight. Of equals the first
    /// drawn.
    pub fn pick(&self, random: u64, cost: impl Fn(usize) -> f64) -> Option<usize> {
        // With two endpoints of equal weight one draw in 32 sees one of them only.
        const REDRAWS_MAX: u64 = 5;
        let first = self.0.pick(random)?;
        let others = (1..=REDRAWS_MAX).filter_map(|draw| self.0.pick(mix(random ^ mix(draw))));
        let Some(second) = others.into_iter().find(|&other| other != first) else { return Some(first) };
        Some(if cost(second) < cost(first) { second } else { first })
    }
}
