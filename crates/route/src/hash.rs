use std::hash::{BuildHasher, RandomState};

/// The secret numbers of a table's hashes.
///
/// The keys come from whoever may write routes, the requests from anybody; the numbers are drawn anew for each table, so
/// that neither can aim at one bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    start: u64,
    step: u64,
}

impl Seed {
    pub(crate) fn random() -> Self {
        let draw = |salt: u64| RandomState::new().hash_one(salt);
        Self { start: draw(1), step: draw(2) }
    }

    /// The hash of all of `bytes` under `scope`.
    #[inline]
    pub(crate) fn hash(self, scope: u32, bytes: &[u8]) -> u64 {
        PrefixHasher::new(self, scope, bytes).at(bytes.len())
    }
}

/// Hashes the prefixes of a text, the shorter before the longer, reading each byte about once.
///
/// Sixteen bytes a step by folded multiplication, as in wyhash and rapidhash. The state after the whole steps of a prefix
/// is kept; only its last bytes are mixed in anew.
#[derive(Clone, Copy)]
pub(crate) struct PrefixHasher<'b> {
    bytes: &'b [u8],
    seed: Seed,
    state: u64,
    done: usize,
}

impl<'b> PrefixHasher<'b> {
    #[inline]
    pub(crate) fn new(seed: Seed, scope: u32, bytes: &'b [u8]) -> Self {
        let state = fold(seed.start ^ u64::from(scope), seed.step);
        Self { bytes, seed, state, done: 0 }
    }

    /// The hash of the first `length` bytes. `length` is at most that of the text and never less than the last one.
    #[inline]
    pub(crate) fn at(&mut self, length: usize) -> u64 {
        self.followed_by(length, 0)
    }

    /// The hash of the first `length` bytes and one more, which need not stand in the text.
    #[inline]
    pub(crate) fn followed_by(&mut self, length: usize, last: u8) -> u64 {
        let text = &self.bytes[..length];
        while let Some((block, after)) = text[self.done..].split_first_chunk::<16>()
            && !after.is_empty()
        {
            let (low, high) = halves(*block);
            self.state = fold(low ^ self.seed.step, high ^ self.state);
            self.done += 16;
        }
        let (low, high) = ends(text);
        let mixed = fold(low ^ self.seed.step, high ^ self.state);
        fold(mixed ^ (length as u64) << 8 ^ u64::from(last), 0x9e37_79b9_7f4a_7c15)
    }
}

fn halves(block: [u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(block);
    (((both << 64) >> 64) as u64, (both >> 64) as u64)
}

/// The last 16 bytes; of a shorter text two words that leave no byte out, and may hold some twice.
#[inline]
fn ends(text: &[u8]) -> (u64, u64) {
    if let Some(block) = text.last_chunk() {
        return halves(*block);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    }
    match *text {
        [] => (0, 0),
        [one] => (one.into(), 0),
        [first, .., last] => (u64::from(first) | u64::from(text[1]) << 8, last.into()),
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    a.wrapping_mul(b) ^ (product >> 64) as u64
}

/// An immutable hash index of entries numbered from 0; whoever owns them compares the keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// A power of two, at most half of them taken: linear probing stays short.
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    entry: u32,
}

const FREE: u32 = u32::MAX;

impl Index {
    /// Takes the hashes of the entries 0, 1, 2, ...
    pub(crate) fn new(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        if hashes.len() == 0 {
            return Self::default();
        }
        let mut slots = vec![Slot { tag: 0, entry: FREE }; (hashes.len() * 2).next_power_of_two()];
        for (entry, hash) in (0..FREE).zip(hashes) {
            insert(&mut slots, hash, entry);
        }
        Self { slots: slots.into() }
    }

    /// The same with more entries, which are numbered from `first`; none: it is full.
    pub(crate) fn with(&self, first: u32, hashes: impl ExactSizeIterator<Item = u64>) -> Option<Self> {
        if (first as usize + hashes.len()) * 2 > self.slots.len() {
            return None;
        }
        let mut slots = self.slots.clone();
        for (entry, hash) in (first..FREE).zip(hashes) {
            insert(&mut slots, hash, entry);
        }
        Some(Self { slots })
    }

    /// The entry with this hash that `is_it`; of several the one with the smallest number.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let (tag, mut at) = (tag(hash), start(hash, self.slots.len()));
        loop {
            let slot = self.slots[at];
            if slot.entry == FREE {
                return None;
            }
            if slot.tag == tag && is_it(slot.entry) {
                return Some(slot.entry);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// Takes the first free slot; there is one.
fn insert(slots: &mut [Slot], hash: u64, entry: u32) {
    let mut at = start(hash, slots.len());
    while slots[at].entry != FREE {
        at = (at + 1) & (slots.len() - 1);
    }
    slots[at] = Slot { tag: tag(hash), entry };
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The slot to begin with, by the hash's low bits.
fn start(hash: u64, slots: usize) -> usize {
    // The mask keeps what a usize of any width holds.
    usize::try_from(hash & (slots as u64 - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_hashes_as_the_same_text_alone() {
        let seed = Seed::random();
        let text: Vec<u8> = (0..100).collect();
        let mut hasher = PrefixHasher::new(seed, 7, &text);
        for length in 0..=100 {
            assert_eq!(hasher.at(length), seed.hash(7, &text[..length]), "{length}");
        }
    }

    #[test]
    fn lengths_scopes_and_seeds_differ() {
        let seed = Seed::random();
        assert_ne!(seed.hash(0, b"a"), seed.hash(0, b"a\0"));
        assert_ne!(seed.hash(0, b""), seed.hash(0, b"\0\0\0\0\0\0\0\0"));
        assert_ne!(seed.hash(0, b"a"), seed.hash(1, b"a"));
        assert_ne!(seed.hash(0, b"a"), Seed::random().hash(0, b"a"));
    }

    #[test]
    fn every_entry_is_found_and_no_other() {
        let seed = Seed::random();
        let keys: Vec<_> = (0..1000).map(|i| format!("/key/{i}")).collect();
        let index = Index::new(keys.iter().map(|k| seed.hash(0, k.as_bytes())));
        for (i, key) in (0u32..).zip(&keys) {
            let found = index.find(seed.hash(0, key.as_bytes()), |entry| keys[entry as usize] == *key);
            assert_eq!(found, Some(i));
        }
        assert_eq!(index.find(seed.hash(0, b"/key/1000"), |entry| keys[entry as usize] == "/key/1000"), None);
        assert_eq!(Index::default().find(1, |_| true), None);
    }

    #[test]
    fn an_index_grows_until_it_is_full() {
        let seed = Seed::random();
        let keys: Vec<_> = (0..16).map(|i| format!("/key/{i}")).collect();
        let hashes = |range: std::ops::Range<usize>| {
            keys[range].iter().map(|k| seed.hash(0, k.as_bytes())).collect::<Vec<_>>().into_iter()
        };
        // Five entries have sixteen slots, which are enough for eight.
        let five = Index::new(hashes(0..5));
        let eight = five.with(5, hashes(5..8)).unwrap();
        for (i, key) in (0u32..8).zip(&keys) {
            let find = |index: &Index| {
                index.find(seed.hash(0, key.as_bytes()), |entry| keys[entry as usize] == *key)
            };
            assert_eq!(find(&eight), Some(i));
            assert_eq!(find(&five), (i < 5).then_some(i));
        }
        assert!(eight.with(8, hashes(8..9)).is_none());
        assert!(Index::default().with(0, hashes(0..1)).is_none());
    }

    #[test]
    fn hashes_spread_over_tags_and_slots() {
        let seed = Seed::random();
        let hashes: Vec<_> =
            (0..4096).map(|i| seed.hash(0, format!("/api/v1/service-{i}").as_bytes())).collect();
        for shift in [0, 32, 52] {
            let mut seen: Vec<_> = hashes.iter().map(|h| (h >> shift) & 0xfff).collect();
            seen.sort_unstable();
            seen.dedup();
            // 4096 balls in 4096 bins fill 63 % of them, give or take one.
            assert!((2400..2800).contains(&seen.len()), "bits from {shift}: {} of 4096", seen.len());
        }
    }
}
