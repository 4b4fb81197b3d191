//! A set of few things, of which there are many: thousands of objects name one Service each.

/// As long as it must be: a `BTreeSet` has room for eleven.
#[derive(Debug)]
pub(crate) struct Few<T>(Vec<T>);

/// Up to here each one more is room for one more.
const EXACT_MAX: usize = 4;

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Puts `value` in, if it is not there.
    pub(crate) fn insert(&mut self, value: T) {
        if let Err(at) = self.0.binary_search(&value) {
            if self.0.len() < EXACT_MAX {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, value);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// What is here and not in `other`, in order.
    pub(crate) fn difference(&self, other: &Self) -> impl Iterator<Item = &T> {
        self.0.iter().filter(|value| other.0.binary_search(value).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_without_room_for_more() {
        let mut few = Few::default();
        few.insert(3);
        assert_eq!(few.0.capacity(), 1);
        for value in [1, 9, 3, 5, 1, 7, 2] {
            few.insert(value);
        }
        assert_eq!(few.0, [1, 2, 3, 5, 7, 9]);
        let mut other = Few::default();
        assert!(other.is_empty());
        [2, 4, 9].into_iter().for_each(|value| other.insert(value));
        assert_eq!(few.difference(&other).collect::<Vec<_>>(), [&1, &3, &5, &7]);
        assert_eq!(other.difference(&few).collect::<Vec<_>>(), [&4]);
    }
}
