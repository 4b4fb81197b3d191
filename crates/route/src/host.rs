use model::{HostPattern, WildcardLabels};

use crate::hash::{Index, Seed};

/// Finds what stands for a host: exact name, then wildcards by length, longest first, then what takes every host.
#[derive(Debug)]
pub(crate) struct HostMap {
    seed: Seed,
    names: Index,
    /// In the order of `names`.
    exact: Box<[(Box<str>, u32)]>,
    suffixes: Index,
    /// In the order of `suffixes`.
    wildcards: Box<[Wildcard]>,
    /// Bit `n` is set if there is a suffix of `n` bytes: a request's host is only looked up where that can help.
    lengths: [u64; 4],
    any: Option<u32>,
}

#[derive(Debug)]
struct Wildcard {
    suffix: Box<str>,
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
        let mut exact: Vec<(Box<str>, u32)> = Vec::new();
        let mut wildcards: Vec<Wildcard> = Vec::new();
        let (mut any, mut lengths) = (None, [0u64; 4]);
        let mut entries: Vec<_> = entries.into_iter().collect();
        // Stable; and `One` comes before `OneOrMore`.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, value) in entries {
            match key {
                HostKey::Any => any = any.or(Some(value)),
                HostKey::Exact(name) => {
                    if exact.last().is_none_or(|(last, _)| **last != *name) {
                        exact.push((name.into(), value));
                    }
                }
                HostKey::Suffix(suffix, labels) => {
                    if wildcards.last().is_none_or(|last| *last.suffix != *suffix) {
                        wildcards.push(Wildcard { suffix: suffix.into(), one: None, many: None });
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
            names: Index::new(exact.iter().map(|(name, _)| seed.hash(0, name.as_bytes()))),
            exact: exact.into(),
            suffixes: Index::new(wildcards.iter().map(|w| seed.hash(0, w.suffix.as_bytes()))),
            wildcards: wildcards.into(),
            lengths,
            any,
        }
    }

    /// The values for `host`, the most specific first.
    pub(crate) fn values(&self, host: &str) -> impl Iterator<Item = u32> {
        // Without wildcards the host is not read again.
        let labels = if self.wildcards.is_empty() { "" } else { host };
        let mut dots = 0;
        let wildcards = labels.bytes().enumerate().filter_map(move |(at, byte)| {
            if byte != b'.' {
                return None;
            }
            dots += 1;
            let has_suffix = at > 0 && self.has_length(host.len() - at);
            if has_suffix { self.wildcard(&host[at..], dots == 1) } else { None }
        });
        self.exact(host).into_iter().chain(wildcards).chain(self.any)
    }

    fn exact(&self, host: &str) -> Option<u32> {
        let hash = self.seed.hash(0, host.as_bytes());
        let entry = self.names.find(hash, |entry| *self.exact[entry as usize].0 == *host)?;
        Some(self.exact[entry as usize].1)
    }

    fn wildcard(&self, suffix: &str, is_one_label: bool) -> Option<u32> {
        let hash = self.seed.hash(0, suffix.as_bytes());
        let entry = self.suffixes.find(hash, |entry| *self.wildcards[entry as usize].suffix == *suffix)?;
        let wildcard = &self.wildcards[entry as usize];
        if is_one_label { wildcard.one } else { wildcard.many }
    }

    fn has_length(&self, length: usize) -> bool {
        self.lengths.get(length / 64).is_some_and(|bits| bits >> (length % 64) & 1 == 1)
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
        map.values(host).collect()
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
