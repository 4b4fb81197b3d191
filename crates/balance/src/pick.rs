/// What a choice may depend on. Each balancer uses one of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// The flow and its request counter, mixed: [`crate::hash_flow`].
    pub hash: u64,
    /// 64 random bits.
    pub random: u64,
    /// Counts the picks; each core has its own counter.
    pub turn: u64,
}

/// Chooses among endpoints.
pub trait Balancer: Send + Sync {
    /// The index of the endpoint for `pick`; none if no endpoint has weight.
    fn pick(&self, pick: &Pick) -> Option<usize>;

    /// How many endpoints there are, those without weight included.
    fn len(&self) -> usize;

    /// Whether there are no endpoints at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
