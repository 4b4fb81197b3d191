use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{HostPattern, WildcardLabels};
use wire::{HOST_MAX, HostKey, HostRecord, SCOPES_MAX};

/// The hosts that a record of `HOSTS` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class<'h> {
    /// This name.
    Exact(&'h str),
    /// Names with this suffix, which starts with a dot, and no longer one that has a record.
    Below {
        suffix: &'h str,
        /// More than one label is in front of it.
        several: bool,
    },
    /// Names without any such suffix.
    Other,
}

/// A host pattern as it is told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key<'h> {
    Any,
    Exact(&'h Arc<str>),
    /// Names with one label in front of this suffix.
    One(&'h Arc<str>),
    /// Names with any number of them.
    More(&'h Arc<str>),
}

impl<'h> Key<'h> {
    pub(crate) fn new(host: Option<&'h HostPattern>) -> Self {
        match host {
            None => Self::Any,
            Some(HostPattern::Exact(name)) => Self::Exact(name),
            Some(HostPattern::Wildcard { suffix, labels: WildcardLabels::One }) => Self::One(suffix),
            Some(HostPattern::Wildcard { suffix, labels: WildcardLabels::OneOrMore }) => Self::More(suffix),
        }
    }
}

/// Something by host: exact names, suffixes by the number of labels in front, and what takes every host.
#[derive(Clone, Debug)]
pub(crate) struct ByHost<T> {
    exact: BTreeMap<Arc<str>, T>,
    one: BTreeMap<Arc<str>, T>,
    more: BTreeMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for ByHost<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), one: BTreeMap::new(), more: BTreeMap::new(), any: None }
    }
}

impl<T> ByHost<T> {
    /// What stands for a key; put there if there is nothing yet.
    pub(crate) fn entry(&mut self, key: Key<'_>, new: impl FnOnce() -> T) -> &mut T {
        match key {
            Key::Any => self.any.get_or_insert_with(new),
            Key::Exact(name) => self.exact.entry(Arc::clone(name)).or_insert_with(new),
            Key::One(suffix) => self.one.entry(Arc::clone(suffix)).or_insert_with(new),
            Key::More(suffix) => self.more.entry(Arc::clone(suffix)).or_insert_with(new),
        }
    }

    /// What stands for a key.
    pub(crate) fn get_mut(&mut self, key: Key<'_>) -> Option<&mut T> {
        match key {
            Key::Any => self.any.as_mut(),
            Key::Exact(name) => self.exact.get_mut(name),
            Key::One(suffix) => self.one.get_mut(suffix),
            Key::More(suffix) => self.more.get_mut(suffix),
        }
    }

    /// Takes out what stands for a key.
    pub(crate) fn remove(&mut self, key: Key<'_>) {
        match key {
            Key::Any => drop(self.any.take()),
            Key::Exact(name) => drop(self.exact.remove(name)),
            Key::One(suffix) => drop(self.one.remove(suffix)),
            Key::More(suffix) => drop(self.more.remove(suffix)),
        }
    }

    /// Everything: exact names, suffixes with one label in front, with any number, and what takes every host.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.one.values()).chain(self.more.values()).chain(&self.any)
    }

    /// The same, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let suffixes = self.one.values_mut().chain(self.more.values_mut());
        self.exact.values_mut().chain(suffixes).chain(&mut self.any)
    }

    /// Whether some suffix stands for names with one label in front of it alone.
    pub(crate) fn has_one_label(&self) -> bool {
        !self.one.is_empty()
    }

    /// Whether the exact name has something.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.exact.contains_key(name)
    }

    /// The values for a class of hosts, the most specific first. One label is one or more as well: a value for one label
    /// comes in the place of that for any number.
    pub(crate) fn find(&self, class: Class<'_>) -> impl Iterator<Item = &T> {
        let (exact, longest) = match class {
            Class::Exact(name) => (self.exact.get(name), name),
            Class::Below { suffix, .. } => (None, suffix),
            Class::Other => (None, ""),
        };
        // Where suffixes may begin.
        let dots = longest.match_indices('.').map(|(at, _)| at);
        let dots = dots.take_while(|_| !self.one.is_empty() || !self.more.is_empty());
        let suffixes = dots.filter_map(move |at| {
            let (front, suffix) = longest.split_at_checked(at)?;
            let several = match class {
                Class::Below { several, .. } if front.is_empty() => several,
                Class::Below { .. } => true,
                _ if front.is_empty() => return None,
                _ => front.contains('.'),
            };
            let of_one = if several { None } else { self.one.get(suffix) };
            of_one.or_else(|| self.more.get(suffix))
        });
        let suffixes: Vec<_> = suffixes.collect();
        exact.into_iter().chain(suffixes).chain(&self.any)
    }

    /// The exact names and the suffixes.
    pub(crate) fn texts(&self) -> (impl Iterator<Item = &str>, impl Iterator<Item = &str>) {
        (
            self.exact.keys().map(|name| &**name),
            self.one.keys().chain(self.more.keys()).map(|suffix| &**suffix),
        )
    }
}

/// The records of a socket: for each text of some listener or route, and one for all other hosts.
pub(crate) fn records<'h>(
    socket: u32,
    names: &BTreeSet<&'h str>,
    suffixes: &BTreeSet<&'h str>,
    scopes: impl Fn(Class<'_>) -> [u32; SCOPES_MAX],
) -> Vec<(HostKey, HostRecord)> {
    let name = |&name: &&'h str| of_name(socket, name, scopes(Class::Exact(name)));
    let suffix = |&suffix: &&'h str| {
        let list = |several| scopes(Class::Below { suffix, several });
        let text: Vec<u8> = suffix.bytes().rev().collect();
        record(socket, &text, list(false), list(true))
    };
    let other = scopes(Class::Other);
    // Longer ones are left to userspace before a look-up.
    let fits = |text: &&&str| text.len() <= HOST_MAX;
    let mut all: Vec<_> = names.iter().filter(fits).map(name).collect();
    all.extend(suffixes.iter().filter(fits).map(suffix));
    all.push(record(socket, &[], other, other));
    all
}

/// The record of an exact name.
pub(crate) fn of_name(socket: u32, name: &str, scopes: [u32; SCOPES_MAX]) -> (HostKey, HostRecord) {
    let text: Vec<u8> = name.bytes().rev().chain([0]).collect();
    record(socket, &text, scopes, scopes)
}

fn record(
    socket: u32,
    text: &[u8],
    one: [u32; SCOPES_MAX],
    more: [u32; SCOPES_MAX],
) -> (HostKey, HostRecord) {
    let mut padded = [0; HOST_MAX + 1];
    for (to, from) in padded.iter_mut().zip(text) {
        *to = *from;
    }
    // At most 64.
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let key = HostKey { bits: 32 + 8 * len, socket, text: padded, pad: 0 };
    (key, HostRecord { socket, len, text: padded, one, more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_host(entries: &[(Option<HostPattern>, u32)]) -> ByHost<u32> {
        let mut all = ByHost::default();
        for (host, value) in entries {
            all.entry(Key::new(host.as_ref()), || *value);
        }
        all
    }

    fn pattern(text: &str, labels: WildcardLabels) -> Option<HostPattern> {
        Some(HostPattern::parse(text, labels).unwrap())
    }

    #[test]
    fn a_class_finds_what_its_hosts_find() {
        use WildcardLabels::{One, OneOrMore};
        let entries = [
            (pattern("x.a.com", One), 1),
            (pattern("*.a.com", One), 2),
            (pattern("*.a.com", OneOrMore), 3),
            (pattern("*.com", OneOrMore), 4),
            (pattern("*.com", One), 5),
            (None, 6),
        ];
        let all = by_host(&entries);
        let find = |class| all.find(class).copied().collect::<Vec<_>>();
        assert_eq!(find(Class::Exact("x.a.com")), [1, 2, 4, 6]);
        assert_eq!(find(Class::Exact("y.x.a.com")), [3, 4, 6]);
        assert_eq!(find(Class::Exact("a.com")), [5, 6]);
        assert_eq!(find(Class::Below { suffix: ".a.com", several: false }), [2, 4, 6]);
        assert_eq!(find(Class::Below { suffix: ".a.com", several: true }), [3, 4, 6]);
        assert_eq!(find(Class::Below { suffix: ".com", several: false }), [5, 6]);
        assert_eq!(find(Class::Other), [6]);
    }
}
