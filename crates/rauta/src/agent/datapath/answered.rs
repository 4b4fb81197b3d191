//! What was answered, by route or by endpoint, told from counters by index: an index is given from one to the next.

use std::collections::{BTreeMap, BTreeSet};

use wire::Responses;

/// Counts by name. Those whose name is gone are forgotten.
#[derive(Default)]
pub(super) struct Ledger {
    /// Whose each index was, and what had been counted there, when it was last looked at.
    at: BTreeMap<u32, (String, Responses)>,
    totals: BTreeMap<String, Responses>,
}

impl Ledger {
    /// Adds what was counted since the last time. `owners` says whose each index is by now: to be called before and after that
    /// changes. What an index counted for its owner before, or for an earlier agent, is left out.
    pub(super) fn take_up(
        &mut self,
        owners: impl IntoIterator<Item = (u32, String)>,
        read: impl Fn(u32) -> Option<Responses>,
    ) {
        let mut names = BTreeSet::new();
        let mut at = BTreeMap::new();
        for (index, owner) in owners {
            let Some(counted) = read(index) else { continue };
            let before = self.at.get(&index).filter(|(name, _)| *name == owner).map(|(_, counted)| *counted);
            let total = self.totals.entry(owner.clone()).or_default();
            *total = total.merged(&counted.since(&before.unwrap_or(counted)));
            names.insert(owner.clone());
            at.insert(index, (owner, counted));
        }
        self.at = at;
        self.totals.retain(|name, _| names.contains(name));
    }

    /// The names that something was counted for.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&String, &Responses)> {
        self.totals.iter().filter(|(_, total)| **total != Responses::default())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn counts_follow_the_name_when_indices_change_hands() {
        let map = RefCell::new(BTreeMap::from([(1, 7u64), (2, 100)]));
        let read = |index: u32| {
            let count = *map.borrow().get(&index)?;
            Some(Responses { first_byte_ns: count, ..Responses::default() })
        };
        let mut ledger = Ledger::default();
        let owners = |pairs: &[(u32, &str)]| -> Vec<(u32, String)> {
            pairs.iter().map(|&(index, name)| (index, name.to_owned())).collect()
        };
        let counted = |ledger: &Ledger| -> Vec<(String, u64)> {
            ledger.counted().map(|(name, total)| (name.clone(), total.first_byte_ns)).collect()
        };
        ledger.take_up(owners(&[(1, "a"), (2, "b"), (9, "far")]), read);
        assert_eq!(counted(&ledger), [], "what was counted before is not this agent's");
        map.borrow_mut().insert(1, 10);
        map.borrow_mut().insert(2, 101);
        ledger.take_up(owners(&[(1, "a"), (2, "b")]), read);
        assert_eq!(counted(&ledger), [("a".to_owned(), 3), ("b".to_owned(), 1)]);

        // `a` gets another index beside its old one, and `b` goes.
        map.borrow_mut().insert(3, 50);
        ledger.take_up(owners(&[(1, "a"), (3, "a")]), read);
        map.borrow_mut().extend([(1, 11), (3, 55)]);
        ledger.take_up(owners(&[(1, "a"), (3, "a")]), read);
        assert_eq!(counted(&ledger), [("a".to_owned(), 9)]);

        // What `a` had at its old index is not the next one's.
        ledger.take_up(owners(&[(1, "c"), (3, "a")]), read);
        map.borrow_mut().extend([(1, 13)]);
        ledger.take_up(owners(&[(1, "c"), (3, "a")]), read);
        assert_eq!(counted(&ledger), [("a".to_owned(), 9), ("c".to_owned(), 2)]);
    }
}
