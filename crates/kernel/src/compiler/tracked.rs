use std::collections::BTreeMap;

/// The wanted content of a map, and what it was before the changes that were not asked for yet.
#[derive(Clone, Debug)]
pub(super) struct Tracked<K, V> {
    now: BTreeMap<K, V>,
    before: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<K: Copy + Ord, V: Copy + PartialEq> Tracked<K, V> {
    /// That is what the map holds already.
    pub(super) fn holding(now: BTreeMap<K, V>) -> Self {
        Self { now, before: BTreeMap::new() }
    }

    pub(super) fn now(&self) -> &BTreeMap<K, V> {
        &self.now
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        let old = self.now.insert(key, value);
        if old != Some(value) {
            self.before.entry(key).or_insert(old);
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(old) = self.now.remove(key) {
            self.before.entry(*key).or_insert(Some(old));
        }
    }

    /// Makes `new` the whole content.
    pub(super) fn replace(&mut self, new: BTreeMap<K, V>) {
        let old = std::mem::replace(&mut self.now, new);
        let mut news = self.now.iter().peekable();
        for (key, value) in old {
            while let Some((new, _)) = news.next_if(|(new, _)| **new < key) {
                self.before.entry(*new).or_insert(None);
            }
            if news.next_if(|(new, _)| **new == key).is_none_or(|(_, new)| *new != value) {
                self.before.entry(key).or_insert(Some(value));
            }
        }
        for (new, _) in news {
            self.before.entry(*new).or_insert(None);
        }
    }

    /// The entries that changed since this was asked last, as they were and as they are.
    pub(super) fn take(&mut self) -> (BTreeMap<K, V>, BTreeMap<K, V>) {
        let before = std::mem::take(&mut self.before);
        let now = before.keys().filter_map(|key| Some((*key, *self.now.get(key)?))).collect();
        (before.into_iter().filter_map(|(key, old)| Some((key, old?))).collect(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_once_and_only_if_it_did() {
        let mut map = Tracked::holding(BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd')]));
        map.put(1, 'x');
        map.put(1, 'a');
        map.put(2, 'y');
        map.put(3, 'c');
        map.remove(&4);
        let (old, new) = map.take();
        assert_eq!(old, BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd')]));
        assert_eq!(new, BTreeMap::from([(1, 'a'), (2, 'y'), (3, 'c')]));
        map.replace(BTreeMap::from([(0, 'z'), (2, 'y'), (3, 'k'), (9, 'n')]));
        let (old, new) = map.take();
        assert_eq!(old, BTreeMap::from([(1, 'a'), (3, 'c')]));
        assert_eq!(new, BTreeMap::from([(0, 'z'), (3, 'k'), (9, 'n')]));
        assert_eq!(map.take(), (BTreeMap::new(), BTreeMap::new()));
    }
}
