use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::ShardedCounter;

/// Label values one counter may have; more fold into `other`.
const LABELS_MAX: usize = 64;

/// Stands for everything beyond the bound.
pub(crate) const OTHER: &str = "other";

/// A counter with one label whose values are fixed words of the code, such as the reasons of an error enum.
#[derive(Debug)]
pub struct LabelledCounter {
    shards: usize,
    counters: RwLock<BTreeMap<&'static str, Arc<ShardedCounter>>>,
}

impl LabelledCounter {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards, counters: RwLock::default() }
    }

    /// Adds one under `label`.
    pub fn inc(&self, shard: usize, label: &'static str) {
        self.counter(label).add(shard, 1);
    }

    /// The counter of `label`, for those who count often and keep it.
    pub fn counter(&self, label: &'static str) -> Arc<ShardedCounter> {
        if let Some(counter) = self.counters.read().unwrap_or_else(PoisonError::into_inner).get(label) {
            return Arc::clone(counter);
        }
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        let label = if counters.len() < LABELS_MAX { label } else { OTHER };
        Arc::clone(counters.entry(label).or_insert_with(|| Arc::new(ShardedCounter::new(self.shards))))
    }

    /// Every label with its count, sorted by label.
    pub fn values(&self) -> Vec<(&'static str, u64)> {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        counters.iter().map(|(label, counter)| (*label, counter.get())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_counted_apart() {
        let family = LabelledCounter::new(2);
        family.inc(0, "a");
        family.inc(1, "a");
        family.counter("b").add(0, 5);
        assert_eq!(family.values(), [("a", 2), ("b", 5)]);
    }

    #[test]
    fn labels_beyond_the_bound_fold_into_other() {
        let family = LabelledCounter::new(1);
        for i in 0..LABELS_MAX + 10 {
            family.inc(0, Box::leak(format!("reason {i}").into_boxed_str()));
        }
        let values = family.values();
        assert_eq!(values.len(), LABELS_MAX + 1);
        assert_eq!(values.iter().find(|(label, _)| *label == OTHER), Some(&(OTHER, 10)));
    }
}
