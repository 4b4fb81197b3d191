use model::{HostPattern, WildcardLabels};

use crate::group::number;
use crate::hash::{Index, Seed};
use crate::text::Span;

/// Finds what stands for a host: exact name, then wildcards by length, longest first, then what takes every host.
#[derive(Clone, Debug)]
pub(crate) struct HostMap {
    seed: Seed,
    /// The bytes of all names and suffixes.
    text: Box<[u8]>,
    names: Index,
    /// In the order of `names`.
    exact: Box<[Exact]>,
    suffixes: Index,
    /// In the order of `suffixes`.
    wildcards: Box<[Wildcard]>,
    /// Bit `n` is set if there is a suffix of `n` bytes: a request's host is only looked up where that can help.
    lengths: [u64; 4],
    any: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Exact {
    name: Span,
    value: u32,
}

#[derive(Clone, Copy, Debug)]
struct Wildcard {
    suffix: Span,
    /// For hosts with one label before the suffix.
    one: Option<u32>,
    /// For hosts with several.
    many: Option<u32>,
}

/// Hosts as a [`HostMap`] tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostKey<'m> {
    /// This name.
    Exact(&'m str),
    /// Names with this suffix, which starts with a dot.
    Suffix(&'m str, WildcardLabels),
    /// Every name, and none.
    Any,
}

impl<'m> HostKey<'m> {
    pub(crate) fn new(pattern: Option<&'m HostPattern>) -> Self {
        match pattern {
            None => Self::Any,
            Some(HostPattern::Exact(name)) => Self::Exact(name),
            Some(HostPattern::Wildcard { suffix, labels }) => Self::Suffix(suffix, *labels),
        }
    }
}

impl HostMap {
    /// Maps keys to values. Of equal keys the first stays.
    ///
    /// A host with one label before a suffix gets the value for [`WildcardLabels::One`], if there is one.
    pub(crate) fn new<'m>(entries: impl IntoIterator<Item = (HostKey<'m>, u32)>) -> Self {
        let seed = Seed::random();
        let mut text: Vec<u8> = Vec::new();
        let mut exact: Vec<Exact> = Vec::new();
        let mut wildcards: Vec<Wildcard> = Vec::new();
        let (mut any, mut lengths) = (None, [0u64; 4]);
        let mut entries: Vec<_> = entries.into_iter().collect();
        // Stable; and `One` comes before `OneOrMore`.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, value) in entries {
            match key {
                HostKey::Any => any = any.or(Some(value)),
                HostKey::Exact(name) => {
                    if exact.last().is_none_or(|last| last.name.of(&text) != name.as_bytes()) {
                        exact.push(Exact { name: Span::append(&mut text, name.as_bytes()), value });
                    }
                }
                HostKey::Suffix(suffix, labels) => {
                    if wildcards.last().is_none_or(|last| last.suffix.of(&text) != suffix.as_bytes()) {
                        let suffix = Span::append(&mut text, suffix.as_bytes());
                        wildcards.push(Wildcard { suffix, one: None, many: None });
                    }
                    if let Some(bits) = lengths.get_mut(suffix.len() / 64) {
                        *bits |= 1 << (suffix.len() % 64);
                    }
                    if let Some(wildcard) = wildcards.last_mut() {
                        wildcard.one = wildcard.one.or(Some(value));
                        if labels == WildcardLabels::OneOrMore {
                            wildcard.many = wildcard.many.or(Some(value));
                        }
                    }
                }
            }
        }
        Self {
            seed,
            names: Index::new(exact.iter().map(|e| seed.hash(0, e.name.of(&text)))),
            suffixes: Index::new(wildcards.iter().map(|w| seed.hash(0, w.suffix.of(&text)))),
            exact: exact.into(),
            wildcards: wildcards.into(),
            lengths,
            any,
            text: text.into(),
        }
    }

    /// The same with the values of more names, which are not in it.
    pub(crate) fn with(&self, new: &[(&str, u32)]) -> Self {
        let (mut text, mut exact) = (self.text.to_vec(), self.exact.to_vec());
        let append =
            |&(name, value): &(&str, u32)| Exact { name: Span::append(&mut text, name.as_bytes()), value };
        exact.extend(new.iter().map(append));
        let hash = |one: &Exact| self.seed.hash(0, one.name.of(&text));
        let first = number(self.exact.len());
        let grown = self.names.with(first, exact[self.exact.len()..].iter().map(hash));
        let names = grown.unwrap_or_else(|| Index::new(exact.iter().map(hash)));
        Self {
            names,
            exact: exact.into(),
            text: text.into(),
            suffixes: self.suffixes.clone(),
            wildcards: self.wildcards.clone(),
            ..*self
        }
    }

    /// The value of a key, not of the hosts that it stands for.
    pub(crate) fn value(&self, key: &HostKey<'_>) -> Option<u32> {
        match key {
            HostKey::Any => self.any,
            HostKey::Exact(name) => self.exact(name.as_bytes()),
            HostKey::Suffix(suffix, labels) => {
                let wildcard = self.suffix(suffix.as_bytes())?;
                match labels {
                    WildcardLabels::OneOrMore => wildcard.many,
                    // Without a value of its own one label has that of several.
                    WildcardLabels::One => wildcard.one.filter(|_| wildcard.one != wildcard.many),
                }
            }
        }
    }

    /// What `visit` makes of the values for `host`, the most specific first, until it makes something.
    #[inline]
    pub(crate) fn find_map<T>(&self, host: &str, mut visit: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let host = host.as_bytes();
        // What there is none of is not looked for: the host is not even hashed.
        if !self.exact.is_empty()
            && let Some(found) = self.exact(host).and_then(&mut visit)
        {
            return Some(found);
        }
        if !self.wildcards.is_empty()
            && let Some(found) = self.find_wildcard(host, &mut visit)
        {
            return Some(found);
        }
        self.any.and_then(visit)
    }

    #[inline]
    fn exact(&self, host: &[u8]) -> Option<u32> {
        let exact = |entry: u32| &self.exact[entry as usize];
        let found =
            self.names.find(self.seed.hash(0, host), |entry| exact(entry).name.of(&self.text) == host)?;
        Some(exact(found).value)
    }

    fn find_wildcard<T>(&self, host: &[u8], visit: &mut impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut than = host.len();
        while let Some(length) = self.length_below(than) {
            than = length;
            let value = self.wildcard(host, host.len() - length);
            if let Some(found) = value.and_then(&mut *visit) {
                return Some(found);
            }
        }
        None
    }

    fn wildcard(&self, host: &[u8], at: usize) -> Option<u32> {
        let (front, suffix) = host.split_at_checked(at)?;
        if front.is_empty() || suffix.first() != Some(&b'.') {
            return None;
        }
        let found = self.suffix(suffix)?;
        if front.contains(&b'.') { found.many } else { found.one }
    }

    fn suffix(&self, suffix: &[u8]) -> Option<&Wildcard> {
        let wildcard = |entry: u32| &self.wildcards[entry as usize];
        let is_it = |entry| wildcard(entry).suffix.of(&self.text) == suffix;
        Some(wildcard(self.suffixes.find(self.seed.hash(0, suffix), is_it)?))
    }

    /// The largest length of a suffix that is less than `than`.
    #[inline]
    fn length_below(&self, than: usize) -> Option<usize> {
        let than = than.min(64 * self.lengths.len());
        (0..than.div_ceil(64)).rev().find_map(|word| {
            let kept = (than - 64 * word).min(64);
            let bits = self.lengths[word] << (64 - kept);
            (bits != 0).then(|| 64 * word + kept - 1 - bits.leading_zeros() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WildcardLabels::{One, OneOrMore};

    fn map(entries: &[(HostKey<'static>, u32)]) -> HostMap {
        HostMap::new(entries.iter().cloned())
    }

    fn values(map: &HostMap, host: &str) -> Vec<u32> {
        let mut all = Vec::new();
        let found: Option<()> = map.find_map(host, |value| {
            all.push(value);
            None
        });
        assert_eq!(found, None);
        all
    }

    #[test]
    fn the_most_specific_comes_first() {
        let map = map(&[
            (HostKey::Any, 0),
            (HostKey::Suffix(".com", OneOrMore), 1),
            (HostKey::Suffix(".a.com", OneOrMore), 2),
            (HostKey::Exact("x.a.com"), 3),
        ]);
        assert_eq!(values(&map, "x.a.com"), [3, 2, 1, 0]);
        assert_eq!(values(&map, "y.a.com"), [2, 1, 0]);
        assert_eq!(values(&map, "a.com"), [1, 0]);
        assert_eq!(values(&map, ".a.com"), [1, 0], "the label before .a.com is empty");
        assert_eq!(values(&map, "org"), [0]);
        assert_eq!(values(&map, ""), [0]);
    }

    #[test]
    fn one_label_and_several_may_differ() {
        let map = map(&[(HostKey::Suffix(".a", OneOrMore), 1), (HostKey::Suffix(".a", One), 2)]);
        assert_eq!(values(&map, "x.a"), [2]);
        assert_eq!(values(&map, "y.x.a"), [1]);
        let ingress = HostMap::new([(HostKey::Suffix(".a", One), 2)]);
        assert_eq!(values(&ingress, "x.a"), [2]);
        assert_eq!(values(&ingress, "y.x.a"), []);
    }

    #[test]
    fn names_can_be_added() {
        let mut map =
            map(&[(HostKey::Exact("a"), 1), (HostKey::Suffix(".b", OneOrMore), 2), (HostKey::Any, 3)]);
        let before = map.clone();
        for i in 0..100 {
            map = map.with(&[(&format!("{i}.b"), 2 * i + 4), (&format!("{i}.c"), 2 * i + 5)]);
        }
        assert_eq!(values(&map, "a"), [1, 3]);
        assert_eq!(values(&map, "100.b"), [2, 3]);
        for i in 0..100 {
            assert_eq!(values(&map, &format!("{i}.b")), [2 * i + 4, 2, 3]);
            assert_eq!(values(&map, &format!("{i}.c")), [2 * i + 5, 3]);
        }
        assert_eq!(values(&before, "1.b"), [2, 3]);
    }

    #[test]
    fn of_equal_keys_the_first_stays() {
        let map = map(&[
            (HostKey::Exact("a"), 1),
            (HostKey::Exact("a"), 2),
            (HostKey::Any, 3),
            (HostKey::Any, 4),
            (HostKey::Suffix(".a", OneOrMore), 5),
            (HostKey::Suffix(".a", OneOrMore), 6),
        ]);
        assert_eq!(values(&map, "a"), [1, 3]);
        assert_eq!(values(&map, "b.a"), [5, 3]);
    }

    #[test]
    fn the_longest_names_and_longer_hosts_are_no_trouble() {
        let suffix =
            format!(".{}", ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join("."));
        assert_eq!(suffix.len(), 254);
        let map = HostMap::new([(HostKey::Suffix(&suffix, OneOrMore), 1)]);
        assert_eq!(values(&map, &format!("x{suffix}")), [1]);
        assert_eq!(values(&map, &format!("{}x{suffix}", "x.".repeat(4000))), [1]);
    }
}
