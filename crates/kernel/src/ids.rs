use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// How long an index rests after its last use before it is given away again: far longer than any program runs, with
/// time for the writes that take it out of use.
pub const REST: Duration = Duration::from_secs(2);

/// Indices for keys: the same key keeps its index from one compilation to the next.
#[derive(Debug)]
pub(crate) struct Ids<K> {
    entries: HashMap<K, Entry>,
    numbers: Numbers,
    round: u64,
}

/// Plain indices, each given to one owner at a time.
#[derive(Debug)]
pub(crate) struct Numbers {
    free: BTreeSet<u32>,
    next: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u32,
    /// The round in which it was last asked for.
    used: u64,
    /// When it was first not asked for.
    unused_since: Option<Duration>,
}

impl<K: Clone + Eq + Hash> Ids<K> {
    /// Indices from `first` on, below `end`.
    pub(crate) fn new(first: u32, end: u32) -> Self {
        Self { entries: HashMap::new(), numbers: Numbers::new(first, end), round: 0 }
    }

    /// Begins a compilation.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
    }

    /// The index of `key`, and whether it is new; none if there are no more.
    pub(crate) fn get(&mut self, key: &K) -> Option<(u32, bool)> {
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.used, entry.unused_since) = (self.round, None);
            return Some((entry.id, false));
        }
        let id = self.numbers.take()?;
        self.entries.insert(key.clone(), Entry { id, used: self.round, unused_since: None });
        Some((id, true))
    }

    /// Gives `key` this very index, which is not taken.
    pub(crate) fn adopt(&mut self, key: K, id: u32) {
        self.numbers.reserve(id);
        self.entries.insert(key, Entry { id, used: self.round, unused_since: None });
    }

    pub(crate) fn numbers(&mut self) -> &mut Numbers {
        &mut self.numbers
    }

    /// Ends a compilation: what was not asked for rests, what has rested is free. Gives the keys that left, and when the
    /// next ones will.
    pub(crate) fn finish(&mut self, now: Duration) -> (Vec<(K, u32)>, Option<Duration>) {
        let (mut left, mut next) = (Vec::new(), None::<Duration>);
        for (key, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.used != self.round) {
            let until = *entry.unused_since.get_or_insert(now) + REST;
            if until <= now {
                left.push((key.clone(), entry.id));
            } else {
                next = Some(next.map_or(until, |other| other.min(until)));
            }
        }
        for (key, id) in &left {
            self.entries.remove(key);
            self.numbers.give_back(*id);
        }
        (left, next)
    }

    /// All keys with their indices, and whether each is in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u32, bool)> {
        self.entries.iter().map(|(key, entry)| (key, entry.id, entry.used == self.round))
    }
}

impl Numbers {
    /// From `first` on, below `end`.
    pub(crate) fn new(first: u32, end: u32) -> Self {
        Self { free: BTreeSet::new(), next: first, end }
    }

    /// One that nobody has; none if all are taken.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        let id = self.next;
        (id < self.end).then(|| self.next += 1)?;
        Some(id)
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        self.free.len() + (self.end - self.next) as usize
    }

    /// Takes this very one.
    pub(crate) fn reserve(&mut self, id: u32) {
        self.free.remove(&id);
        if id >= self.next && id < self.end {
            self.free.extend(self.next..id);
            self.next = id + 1;
        }
    }

    pub(crate) fn give_back(&mut self, id: u32) {
        self.free.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn keys_keep_their_index_and_indices_rest() {
        let mut ids = Ids::new(1, 4);
        ids.begin();
        assert_eq!(
            [ids.get(&"a"), ids.get(&"b"), ids.get(&"a")],
            [Some((1, true)), Some((2, true)), Some((1, false))]
        );
        assert_eq!(ids.finish(seconds(0)), (vec![], None));
        ids.begin();
        ids.get(&"b");
        assert_eq!(ids.finish(seconds(1)), (vec![], Some(seconds(1) + REST)));
        ids.begin();
        assert_eq!(
            (ids.get(&"b"), ids.get(&"c"), ids.get(&"d")),
            (Some((2, false)), Some((3, true)), None),
            "a rests"
        );
        assert_eq!(ids.finish(seconds(1) + REST).0, [("a", 1)]);
        ids.begin();
        assert_eq!(ids.get(&"d"), Some((1, true)));
    }

    #[test]
    fn a_key_that_comes_back_while_it_rests_has_its_index() {
        let mut ids = Ids::new(0, 9);
        ids.begin();
        ids.get(&"a");
        ids.finish(seconds(0));
        ids.begin();
        ids.finish(seconds(0));
        ids.begin();
        assert_eq!(ids.get(&"a"), Some((0, false)));
        assert_eq!(ids.finish(seconds(60)), (vec![], None));
    }

    #[test]
    fn reserved_numbers_are_not_given_away() {
        let mut numbers = Numbers::new(1, 6);
        numbers.reserve(3);
        numbers.reserve(1);
        assert_eq!(numbers.left(), 3);
        assert_eq!(
            [numbers.take(), numbers.take(), numbers.take(), numbers.take()],
            [Some(2), Some(4), Some(5), None]
        );
    }
}
