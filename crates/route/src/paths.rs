use std::ops::Range;

use crate::group::{Group, number};
use crate::hash::{Index, PrefixHasher, Seed};

/// No shorter prefix.
const NONE: u32 = u32::MAX;

/// The exact paths and prefixes of all scopes (a scope is a host of a listener), by hash and length.
///
/// A prefix is looked up once for each length that its scope has and where the path could end an element; the prefix found
/// last is the longest, and names the next shorter one. The cost depends on the path and on how many lengths there
/// are, not on how many routes.
#[derive(Debug)]
pub(crate) struct Paths {
    seed: Seed,
    /// The bytes of all paths.
    text: Box<[u8]>,
    exact_index: Index,
    /// In the order of `exact_index`.
    exact: Box<[Exact]>,
    prefix_index: Index,
    /// In the order of `prefix_index`.
    prefixes: Box<[Prefix]>,
    /// By scope: its lengths of prefixes, ascending.
    lengths: Box<[Length]>,
    scopes: Box<[Scope]>,
}

#[derive(Debug)]
struct Exact {
    scope: u32,
    text: Range<u32>,
    group: Group,
}

#[derive(Debug)]
struct Prefix {
    scope: u32,
    text: Range<u32>,
    /// Those that take the prefix by element.
    by_element: Group,
    /// Those that take it as a string.
    by_string: Group,
    /// The longest shorter prefix of the scope that this one begins with.
    shorter: u32,
}

#[derive(Clone, Copy, Debug)]
struct Length {
    bytes: u32,
    /// Whether string prefixes have it; prefixes by element need to be looked up only where an element ends.
    has_string: bool,
}

#[derive(Clone, Debug, Default)]
struct Scope {
    has_exact: bool,
    lengths: Range<u32>,
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
    /// Takes entries sorted by scope and text, each scope, kind and text once; and how many scopes there are.
    pub(crate) fn new(entries: &[Entry<'_>], scopes: usize) -> Self {
        let seed = Seed::random();
        let mut text: Vec<u8> = Vec::new();
        let mut spans = vec![Scope::default(); scopes];
        let (mut exact, mut prefixes) = (Vec::new(), Vec::<Prefix>::new());
        for entry in entries {
            let start = number(text.len());
            match (entry.kind, prefixes.last_mut()) {
                (Kind::Exact, _) => {
                    text.extend_from_slice(entry.text.as_bytes());
                    let text = start..number(text.len());
                    exact.push(Exact { scope: entry.scope, text, group: entry.group });
                    if let Some(scope) = spans.get_mut(entry.scope as usize) {
                        scope.has_exact = true;
                    }
                    continue;
                }
                (_, Some(last))
                    if last.scope == entry.scope && bytes(&text, &last.text) == entry.text.as_bytes() => {}
                _ => {
                    text.extend_from_slice(entry.text.as_bytes());
                    prefixes.push(Prefix {
                        scope: entry.scope,
                        text: start..number(text.len()),
                        by_element: Group::EMPTY,
                        by_string: Group::EMPTY,
                        shorter: NONE,
                    });
                }
            }
            if let Some(last) = prefixes.last_mut() {
                match entry.kind {
                    Kind::ByString => last.by_string = entry.group,
                    _ => last.by_element = entry.group,
                }
            }
        }
        link(&mut prefixes, &text);
        let lengths = lengths(&prefixes, &mut spans);
        let hash = |scope, range: &Range<u32>| seed.hash(scope, bytes(&text, range));
        Self {
            seed,
            exact_index: Index::new(exact.iter().map(|e| hash(e.scope, &e.text))),
            prefix_index: Index::new(prefixes.iter().map(|p| hash(p.scope, &p.text))),
            exact: exact.into(),
            prefixes: prefixes.into(),
            lengths: lengths.into(),
            scopes: spans.into(),
            text: text.into(),
        }
    }

    /// The candidates for exactly this path.
    #[inline]
    pub(crate) fn exact(&self, scope: u32, path: &[u8]) -> Option<Group> {
        if !self.scopes[scope as usize].has_exact {
            return None;
        }
        let entry = self.exact_index.find(self.seed.hash(scope, path), |entry| {
            let exact = &self.exact[entry as usize];
            exact.scope == scope && bytes(&self.text, &exact.text) == path
        })?;
        Some(self.exact[entry as usize].group)
    }

    /// The candidates for prefixes of this path, the longest first.
    #[inline]
    pub(crate) fn prefixes<'t>(&'t self, scope: u32, path: &'t [u8]) -> impl Iterator<Item = Group> + 't {
        let mut next = self.longest(scope, path);
        std::iter::from_fn(move || {
            let prefix = self.prefixes.get(next as usize)?;
            next = prefix.shorter;
            let by_element =
                if ends_element(path, prefix.text.len()) { prefix.by_element } else { Group::EMPTY };
            Some([by_element, prefix.by_string])
        })
        .flatten()
    }

    /// The longest prefix of this path, or one that is not matched by element and has all others behind it.
    fn longest(&self, scope: u32, path: &[u8]) -> u32 {
        let lengths = &self.scopes[scope as usize].lengths;
        let mut hasher = PrefixHasher::new(self.seed, scope, path);
        let mut longest = NONE;
        for length in &self.lengths[lengths.start as usize..lengths.end as usize] {
            let end = length.bytes as usize;
            if end > path.len() {
                break;
            }
            if !length.has_string && !ends_element(path, end) {
                continue;
            }
            let found = self.prefix_index.find(hasher.at(end), |entry| {
                let prefix = &self.prefixes[entry as usize];
                prefix.scope == scope && bytes(&self.text, &prefix.text) == &path[..end]
            });
            longest = found.unwrap_or(longest);
        }
        longest
    }
}

/// Whether a prefix of this length ends where an element of the path does. The empty prefix stands for `/`, every path.
fn ends_element(path: &[u8], length: usize) -> bool {
    length == 0 || path.get(length).is_none_or(|&next| next == b'/')
}

fn bytes<'t>(text: &'t [u8], range: &Range<u32>) -> &'t [u8] {
    &text[range.start as usize..range.end as usize]
}

/// Links each prefix to the longest shorter one. In sorted order those that it begins with are the last ones before it
/// that are still open.
fn link(prefixes: &mut [Prefix], text: &[u8]) {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..prefixes.len() {
        let this = bytes(text, &prefixes[at].text);
        while let Some(&last) = open.last() {
            let is_prefix = prefixes[last].scope == prefixes[at].scope
                && this.starts_with(bytes(text, &prefixes[last].text));
            if is_prefix {
                prefixes[at].shorter = number(last);
                break;
            }
            open.pop();
        }
        open.push(at);
    }
}

/// Collects the lengths of each scope's prefixes.
fn lengths(prefixes: &[Prefix], scopes: &mut [Scope]) -> Vec<Length> {
    let mut all: Vec<Length> = Vec::new();
    for of_scope in prefixes.chunk_by(|a, b| a.scope == b.scope) {
        let start = all.len();
        let mut own: Vec<_> = of_scope
            .iter()
            .map(|p| Length { bytes: number(p.text.len()), has_string: !p.by_string.is_empty() })
            .collect();
        // Of equal lengths the one with string prefixes stays.
        own.sort_unstable_by_key(|l| (l.bytes, !l.has_string));
        own.dedup_by_key(|l| l.bytes);
        all.append(&mut own);
        if let Some(scope) = of_scope.first().and_then(|p| scopes.get_mut(p.scope as usize)) {
            scope.lengths = number(start)..number(all.len());
        }
    }
    all
}
