use std::ops::Range;

use crate::group::{Group, number};
use crate::hash::{Index, PrefixHasher, Seed};
use crate::lengths::middle;
use crate::prefixes;
use crate::text::Span;

/// No prefix.
pub(crate) const NONE: u32 = u32::MAX;

/// The exact paths and prefixes of all scopes (a scope is a host of a listener), by hash and length.
///
/// The cost of a lookup depends on the path and, by its logarithm, on how many lengths of prefixes its scope has; not on
/// how many routes there are, nor on how many prefixes fit.
#[derive(Debug)]
pub(crate) struct Paths {
    seed: Seed,
    /// The bytes of all paths.
    text: Box<[u8]>,
    exact_index: Index,
    /// In the order of `exact_index`; those of a scope stand together.
    exact: Box<[Exact]>,
    prefix_index: Index,
    /// In the order of `prefix_index`; those of a scope stand together.
    prefixes: Box<[Prefix]>,
    lengths: Box<[Length]>,
    scopes: Box<[Scope]>,
}

/// Half a cache line, and never in two.
#[derive(Debug)]
#[repr(align(32))]
struct Exact {
    text: Span,
    group: Group,
}

/// What the paths of some requests begin with, each request's path being followed by a `/`.
///
/// So the prefix by element `/api` is `/api/` here, and fits `/api` and `/api/v1` but not `/apix`.
#[derive(Debug)]
#[repr(align(32))]
pub(crate) struct Prefix {
    pub(crate) text: Span,
    /// The next one to consider if no candidate takes the request: the same text as the other kind, or else the longest
    /// shorter one of the scope that this one begins with.
    pub(crate) shorter: u32,
    pub(crate) kind: Kind,
    /// Empty for markers.
    pub(crate) group: Group,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) bytes: u32,
    /// Whether all prefixes of this length end with `/`: only where an element ends they need to be looked up.
    pub(crate) ends_element: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Bit `n` is set if there is an exact path of `n` bytes, bit 63 if there is one of 63 or more.
    exact_lengths: u64,
    exact: Range<u32>,
    pub(crate) prefixes: Range<u32>,
    /// The lengths of its prefixes but 0, ascending.
    pub(crate) lengths: Range<u32>,
    /// Its prefix of length 0.
    pub(crate) every: u32,
}

/// One path with its candidates, for building.
pub(crate) struct Entry<'m> {
    pub(crate) scope: u32,
    pub(crate) kind: Kind,
    pub(crate) text: &'m str,
    pub(crate) group: Group,
}

/// How a path is matched. In order of precedence among equal texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Exact,
    ByElement,
    ByString,
}

impl Paths {
    /// Takes entries sorted by scope, each scope, kind and text once; and how many scopes there are.
    pub(crate) fn new(entries: &[Entry<'_>], scopes: usize) -> Self {
        let seed = Seed::random();
        let mut text: Vec<u8> = Vec::new();
        let none = Scope { exact_lengths: 0, exact: 0..0, prefixes: 0..0, lengths: 0..0, every: NONE };
        let mut spans = vec![none; scopes];
        let (mut exact, mut exact_hashes) = (Vec::new(), Vec::new());
        let (mut prefixes, mut lengths) = (Vec::new(), Vec::new());
        let mut prefix_hashes = Vec::new();
        for of_scope in entries.chunk_by(|a, b| a.scope == b.scope) {
            let Some(number_of_scope) = of_scope.first().map(|entry| entry.scope) else { continue };
            let Some(scope) = spans.get_mut(number_of_scope as usize) else { continue };
            scope.exact.start = number(exact.len());
            for entry in of_scope.iter().filter(|entry| entry.kind == Kind::Exact) {
                let bytes = entry.text.as_bytes();
                scope.exact_lengths |= bit(bytes.len());
                exact_hashes.push(seed.hash(number_of_scope, bytes));
                exact.push(Exact { text: Span::append(&mut text, bytes), group: entry.group });
            }
            scope.exact.end = number(exact.len());
            prefixes::add(of_scope, scope, &mut text, &mut prefixes, &mut lengths);
            let added = &prefixes[scope.prefixes.start as usize..];
            prefix_hashes.extend(added.iter().map(|prefix: &Prefix| match prefix.text.of(&text) {
                [] => 0,
                [rest @ .., last] => {
                    PrefixHasher::new(seed, number_of_scope, rest).followed_by(rest.len(), *last)
                }
            }));
        }
        Self {
            seed,
            text: text.into(),
            exact_index: Index::new(exact_hashes.into_iter()),
            exact: exact.into(),
            prefix_index: Index::new(prefix_hashes.into_iter()),
            prefixes: prefixes.into(),
            lengths: lengths.into(),
            scopes: spans.into(),
        }
    }

    /// The candidates for exactly this path. A scope that nothing is of has none.
    #[inline]
    pub(crate) fn exact(&self, scope: u32, path: &[u8]) -> Option<Group> {
        let of_scope = self.scopes.get(scope as usize)?;
        if of_scope.exact_lengths & bit(path.len()) == 0 {
            return None;
        }
        let entry = self.exact_index.find(self.seed.hash(scope, path), |entry| {
            of_scope.exact.contains(&entry) && self.exact[entry as usize].text.of(&self.text) == path
        })?;
        Some(self.exact[entry as usize].group)
    }

    /// What `pick` makes of the candidates for prefixes of this path, the longest first.
    #[inline]
    pub(crate) fn prefixes<T>(
        &self,
        scope: u32,
        path: &[u8],
        pick: impl Fn(Group) -> Option<T>,
    ) -> Option<T> {
        let mut next = self.longest(scope, path);
        while let Some(prefix) = self.prefixes.get(next as usize) {
            // The `/` after the path is not part of it.
            let fits = prefix.kind == Kind::ByElement || prefix.text.length() <= path.len();
            if fits && let Some(picked) = pick(prefix.group) {
                return Some(picked);
            }
            next = prefix.shorter;
        }
        None
    }

    /// The longest prefix of this path and a `/`, or a marker which has it behind itself.
    #[inline]
    fn longest(&self, scope: u32, path: &[u8]) -> u32 {
        let Some(of_scope) = self.scopes.get(scope as usize) else { return NONE };
        let lengths = &self.lengths[of_scope.lengths.start as usize..of_scope.lengths.end as usize];
        let mut hasher = PrefixHasher::new(self.seed, scope, path);
        let mut longest = of_scope.every;
        let mut range = 0..lengths.len();
        while !range.is_empty() {
            let at = middle(&range);
            let mut longer = hasher;
            match self.prefix(of_scope, lengths[at], &mut longer, path) {
                Some(found) => {
                    (longest, hasher) = (found, longer);
                    range.start = at + 1;
                }
                None => range.end = at,
            }
        }
        longest
    }

    /// The prefix or marker of this length, at least 1.
    #[inline]
    fn prefix(
        &self,
        scope: &Scope,
        length: Length,
        hasher: &mut PrefixHasher<'_>,
        path: &[u8],
    ) -> Option<u32> {
        let rest = path.get(..(length.bytes as usize).wrapping_sub(1))?;
        let last = path.get(rest.len()).copied().unwrap_or(b'/');
        if length.ends_element && last != b'/' {
            return None;
        }
        self.prefix_index.find(hasher.followed_by(rest.len(), last), |entry| {
            scope.prefixes.contains(&entry)
                && self.prefixes[entry as usize].text.of(&self.text).split_last() == Some((&last, rest))
        })
    }
}

fn bit(length: usize) -> u64 {
    1 << length.min(63)
}
