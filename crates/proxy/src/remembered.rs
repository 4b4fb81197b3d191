//! What a thread remembers of checks that are dear: that a password was right, what a good token says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use tls::MacKey;

/// So much a thread remembers of one kind; then it begins anew.
const REMEMBERED_MAX: usize = 1024;

/// What stands for something that was checked, without telling it.
pub(crate) type Tag = [u8; MacKey::TAG_BYTES];

/// What came of checks, by the tags of what was checked.
pub(crate) struct Remembered<T>(RefCell<HashMap<Tag, T>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Clone> Remembered<T> {
    /// What came of it; none: it was not checked lately.
    pub(crate) fn get(&self, tag: &Tag) -> Option<T> {
        self.0.borrow().get(tag).cloned()
    }

    /// Remembers what came of it.
    pub(crate) fn add(&self, tag: Tag, value: T) {
        let mut all = self.0.borrow_mut();
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(tag, value);
    }
}

/// What tags are made with.
#[derive(Default)]
pub(crate) struct TagKey(OnceLock<Option<MacKey>>);

impl TagKey {
    /// The tag of these parts; none: the system has no random numbers, and nothing is remembered.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> Option<Tag> {
        let key = self.0.get_or_init(|| MacKey::random().ok());
        key.as_ref().map(|key| key.tag(parts))
    }
}

/// A number for a policy, as a part of tags and keys: tells what is remembered of it from what is of others, and from before a change.
pub(crate) fn name() -> u64 {
    // Each state of the standard library's hasher has keys of its own.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_remembered_than_may_be_and_names_are_no_ones_elses() {
        let (key, remembered) = (TagKey::default(), Remembered::default());
        let tag = |number: usize| key.tag(&[b"a", &number.to_be_bytes()]).unwrap();
        (0..REMEMBERED_MAX).for_each(|number| remembered.add(tag(number), number));
        assert_eq!(remembered.get(&tag(7)), Some(7));
        assert_eq!(
            TagKey::default().tag(&[b"a", &7_usize.to_be_bytes()]).and_then(|tag| remembered.get(&tag)),
            None
        );
        remembered.add(tag(REMEMBERED_MAX), 0);
        assert_eq!((remembered.get(&tag(7)), remembered.get(&tag(REMEMBERED_MAX))), (None, Some(0)));
        assert_ne!(name(), name());
    }
}
