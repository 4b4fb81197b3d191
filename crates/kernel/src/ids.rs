use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// How long an index rests after its last use before it is given away again: far longer than any program runs, with
/// time for the writes that take it out of use.
pub const REST: Duration = Duration::from_secs(2);

/// Indices for keys: the same key keeps its index from one compilation to the next.
#[derive(Debug)]
pub(crate) struct Ids<K> {
    by_key: HashMap<K, u32>,
    /// By index.
    slots: Vec<Option<Slot<K>>>,
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

#[derive(Debug, Clone)]
struct Slot<K> {
    key: K,
    /// The round in which it was last asked for.
    used: u64,
    /// When it was first not asked for.
    unused_since: Option<Duration>,
}

impl<K: Clone + Eq + Hash> Ids<K> {
    /// Indices from `first` on, below `end`.
    pub(crate) fn new(first: u32, end: u32) -> Self {
        Self { by_key: HashMap::new(), slots: Vec::new(), numbers: Numbers::new(first, end), round: 0 }
    }

    /// Begins a compilation.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
    }

    /// The index of `key`, and whether it is new; none if there are no more.
    pub(crate) fn get(&mut self, key: &K) -> Option<(u32, bool)> {
        if let Some(&id) = self.by_key.get(key) {
            self.touch(id);
            return Some((id, false));
        }
        let id = self.numbers.take()?;
        self.put(key.clone(), id);
        Some((id, true))
    }

    /// Whether there is an index for another key.
    pub(crate) fn has_room(&self) -> bool {
        self.numbers.has_room()
    }

    /// Whether it has an index, be it one that rests.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// Asks for the index of a key again.
    pub(crate) fn touch(&mut self, id: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(id as usize) {
            (slot.used, slot.unused_since) = (self.round, None);
        }
    }

    /// Asks again for everything that was asked for in the round before.
    pub(crate) fn touch_all(&mut self) {
        let before = self.round - 1;
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.used == before) {
            slot.used = self.round;
        }
    }

    /// Gives `key` this very index, which is not taken.
    pub(crate) fn adopt(&mut self, key: K, id: u32) {
        self.numbers.reserve(id);
        self.put(key, id);
    }

    /// The key of an index.
    pub(crate) fn key(&self, id: u32) -> Option<&K> {
        self.slots.get(id as usize)?.as_ref().map(|slot| &slot.key)
    }

    pub(crate) fn numbers(&mut self) -> &mut Numbers {
        &mut self.numbers
    }

    /// Ends a compilation: what was not asked for rests, what has rested is free. Gives the keys that left, and when the
    /// next ones will.
    pub(crate) fn finish(&mut self, now: Duration) -> (Vec<(K, u32)>, Option<Duration>) {
        let (mut left, mut next) = (Vec::new(), None::<Duration>);
        for (id, place) in (0..).zip(&mut self.slots) {
            let Some(slot) = place.as_mut().filter(|slot| slot.used != self.round) else { continue };
            let until = *slot.unused_since.get_or_insert(now) + REST;
            if until <= now {
                left.extend(place.take().map(|slot| (slot.key, id)));
            } else {
                next = Some(next.map_or(until, |other| other.min(until)));
            }
        }
        for (key, id) in &left {
            self.by_key.remove(key);
            self.numbers.give_back(*id);
        }
        (left, next)
    }

    /// All keys with their indices, and whether each is in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u32, bool)> {
        let taken = (0..).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_ref()?)));
        taken.map(|(id, slot)| (&slot.key, id, slot.used == self.round))
    }

    fn put(&mut self, key: K, id: u32) {
        let at = id as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        if let Some(place) = self.slots.get_mut(at) {
            *place = Some(Slot { key: key.clone(), used: self.round, unused_since: None });
        }
        self.by_key.insert(key, id);
    }
}

impl Numbers {
    /// From `first` on, below `end`.
    pub(crate) fn new(first: u32, end: u32) -> Self {
        Self { free: BTreeSet::new(), next: first, end }
    }

    /// One that nobody has; none if all are taken.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.first().copied().filter(|id| *id < self.end) {
            self.free.remove(&id);
            return Some(id);
        }
        let id = self.next;
        (id < self.end).then(|| self.next += 1)?;
        Some(id)
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        let free = match self.free.last() {
            // Those beyond the end are nobody's, and not to be had.
            Some(last) if *last >= self.end => self.free.range(..self.end).count(),
            _ => self.free.len(),
        };
        free + self.end.saturating_sub(self.next) as usize
    }

    /// Whether any is left.
    fn has_room(&self) -> bool {
        self.next < self.end || self.free.first().is_some_and(|id| *id < self.end)
    }

    /// There are numbers below `end` from now on; what is beyond stays whose it is.
    pub(crate) fn end_at(&mut self, end: u32) {
        self.end = end;
    }

    /// Takes this very one, be it beyond the end: it must not be given away when the end is.
    pub(crate) fn reserve(&mut self, id: u32) {
        self.free.remove(&id);
        if id >= self.next {
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

    #[test]
    fn a_number_beyond_the_end_stays_whose_it_is_when_the_end_moves() {
        let mut numbers = Numbers::new(1, 3);
        numbers.reserve(5);
        assert_eq!((numbers.left(), numbers.has_room()), (2, true));
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [Some(1), Some(2), None]);
        assert_eq!((numbers.left(), numbers.has_room()), (0, false));
        numbers.end_at(7);
        assert_eq!(numbers.left(), 3);
        assert_eq!([numbers.take(), numbers.take()], [Some(3), Some(4)]);
        assert_eq!([numbers.take(), numbers.take()], [Some(6), None], "5 is taken");
        numbers.give_back(5);
        assert_eq!(numbers.take(), Some(5));
    }
}
