use std::cmp::Reverse;
use std::collections::BTreeMap;

use wire::{Candidate, PATH_MAX};

/// What a scope is made of: equal specifications share a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ScopeSpec {
    /// Exact paths.
    pub(crate) exact: BTreeMap<Vec<u8>, List>,
    /// What paths with a slash behind them begin with.
    pub(crate) prefixes: BTreeMap<Vec<u8>, Node>,
}

/// The candidates of one prefix, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// They want the bytes of the prefix themselves.
    pub(crate) by_string: List,
    /// They want the path's elements: the last slash may be missing.
    pub(crate) by_element: List,
}

/// Candidates in order of precedence, without those that can never be reached.
pub(crate) type List = Vec<Spec>;

/// A candidate before it has a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(crate) action: u32,
    pub(crate) methods: u32,
    pub(crate) is_tier3: bool,
    /// Number of the name, and value.
    pub(crate) headers: Vec<(u32, Vec<u8>)>,
}

impl Spec {
    /// Whether every request that gets here is decided.
    pub(crate) fn is_last(&self) -> bool {
        self.methods == Candidate::ANY_METHOD && self.headers.is_empty()
    }
}

/// The order of candidates of one path: with a method, more headers, more query parameters, then place of route and match.
///
/// Source: Gateway API v1.6.1, `HTTPRouteRule.matches`.
pub(crate) type Rank = (bool, Reverse<usize>, Reverse<usize>, usize, usize);

/// Where a match belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'m> {
    Exact(&'m str),
    ByElement(&'m str),
    ByString(&'m str),
    /// Regular expressions come after everything else; only userspace knows whether one fits.
    Regex,
}

/// Collects the matches of a scope.
#[derive(Debug, Default)]
pub(crate) struct ScopeBuilder {
    exact: BTreeMap<Vec<u8>, Ranked>,
    by_string: BTreeMap<Vec<u8>, Ranked>,
    by_element: BTreeMap<Vec<u8>, Ranked>,
    /// Longer paths than a key holds, by their beginning.
    too_long: BTreeMap<Vec<u8>, Ranked>,
    regexes: Ranked,
}

type Ranked = Vec<(Rank, Spec)>;

impl ScopeBuilder {
    pub(crate) fn add(&mut self, place: Place<'_>, rank: Rank, spec: Spec) {
        let (map, text) = match place {
            Place::Regex => return self.regexes.push((rank, spec)),
            Place::Exact(text) => (&mut self.exact, text.as_bytes().to_vec()),
            Place::ByString(text) => (&mut self.by_string, text.as_bytes().to_vec()),
            Place::ByElement("") => (&mut self.by_element, vec![]),
            Place::ByElement(text) => (&mut self.by_element, [text.as_bytes(), b"/"].concat()),
        };
        let slash = usize::from(matches!(place, Place::ByElement(_)));
        if text.len() <= PATH_MAX + slash {
            map.entry(text).or_default().push((rank, spec));
        } else {
            let front = text.into_iter().take(PATH_MAX).collect();
            self.too_long.entry(front).or_default().push((rank, Spec { is_tier3: true, action: 0, ..spec }));
        }
    }

    pub(crate) fn finish(self) -> ScopeSpec {
        let mut spec = ScopeSpec::default();
        spec.exact.extend(self.exact.into_iter().map(|(text, ranked)| (text, ordered(ranked))));
        for (text, ranked) in self.by_element {
            spec.prefixes.entry(text).or_default().by_element = ordered(ranked);
        }
        for (text, ranked) in self.by_string {
            spec.prefixes.entry(text).or_default().by_string = ordered(ranked);
        }
        // What is longer goes before what has just this length.
        for (text, ranked) in self.too_long {
            let list = &mut spec.prefixes.entry(text).or_default().by_string;
            list.splice(..0, ordered(ranked));
        }
        if let Some(every) = spec.prefixes.get_mut(&[][..]) {
            // Of prefixes of the same length, here none, that by element comes first.
            every.by_element.append(&mut every.by_string);
        }
        if !self.regexes.is_empty() {
            let every = spec.prefixes.entry(vec![]).or_default();
            every.by_element.extend(ordered(self.regexes));
        }
        spec.cut();
        spec
    }
}

impl ScopeSpec {
    /// Whether no request that gets here goes on to another scope.
    pub(crate) fn is_last(&self) -> bool {
        self.prefixes.get(&[][..]).is_some_and(|every| every.by_element.iter().any(Spec::is_last))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// How many candidates there are, and how many conditions on headers.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let of_nodes = self.prefixes.values().flat_map(|node| node.by_string.iter().chain(&node.by_element));
        let all = self.exact.values().flatten().chain(of_nodes);
        all.fold((0, 0), |(count, with), spec| (count + 1, with + usize::from(!spec.headers.is_empty())))
    }

    /// Drops what stands behind a candidate that takes every request.
    fn cut(&mut self) {
        self.exact.values_mut().for_each(cut);
        for node in self.prefixes.values_mut() {
            cut(&mut node.by_string);
            cut(&mut node.by_element);
        }
    }
}

fn cut(list: &mut List) {
    if let Some(last) = list.iter().position(Spec::is_last) {
        list.truncate(last + 1);
    }
}

fn ordered(mut ranked: Ranked) -> List {
    ranked.sort_by_key(|&(rank, _)| rank);
    ranked.into_iter().map(|(_, spec)| spec).collect()
}
