use std::collections::BTreeMap;

use wire::{
    Candidate, HEADER_VALUE_MAX, HeaderCondition, HeaderConditions, PATH_MAX, PrefixKey, PrefixRecord,
    RouteKey, RouteRecord, fnv1a,
};

use crate::ids::Numbers;
use crate::scope::{ScopeSpec, Spec};

/// The entries of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    pub(crate) routes: BTreeMap<RouteKey, RouteRecord>,
    pub(crate) prefixes: Vec<(PrefixKey, PrefixRecord)>,
    pub(crate) candidates: Vec<(u32, Candidate)>,
    pub(crate) conditions: Vec<(u32, HeaderConditions)>,
}

/// Where entries of arrays are taken from.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) candidates: Numbers,
    pub(crate) conditions: Numbers,
}

impl Pools {
    /// Gives the places of a scope's entries back.
    pub(crate) fn give_back(&mut self, entries: &Entries) {
        entries.candidates.iter().for_each(|&(at, _)| self.candidates.give_back(at));
        entries.conditions.iter().for_each(|&(at, _)| self.conditions.give_back(at));
    }
}

/// Writes a scope down; none if an array has no room for it.
pub(crate) fn lower(spec: &ScopeSpec, scope: u32, pools: &mut Pools) -> Option<Entries> {
    let (candidates, conditions) = spec.sizes();
    if candidates > pools.candidates.left() || conditions > pools.conditions.left() {
        return None;
    }
    let mut lowering = Lowering { scope, pools, entries: Entries::default() };
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for (text, node) in &spec.prefixes {
        let shorter = longest(&nodes, text);
        let below = shorter.and_then(|at| nodes.get(at)).map_or(0, |node| node.record.candidate);
        let short = lowering.list(&node.by_element, below)?;
        let candidate = lowering.list(&node.by_string, short)?;
        let record = PrefixRecord { scope, len: length(text), candidate, short };
        nodes.push(Node { text, record, shorter });
        lowering.entries.prefixes.push((prefix_key(scope, text), record));
    }
    for (path, list) in &spec.exact {
        let with_slash = [path, &b"/"[..]].concat();
        let below = longest(&nodes, &with_slash).and_then(|at| nodes.get(at)).map_or(0, |node| {
            if node.text.len() <= path.len() { node.record.candidate } else { node.record.short }
        });
        let candidate = lowering.list(list, below)?;
        lowering.exact(path, candidate);
    }
    Some(lowering.entries)
}

struct Lowering<'p> {
    scope: u32,
    pools: &'p mut Pools,
    entries: Entries,
}

impl Lowering<'_> {
    /// Writes candidates down that lead on to `below`; gives the first.
    fn list(&mut self, list: &[Spec], below: u32) -> Option<u32> {
        let mut next = below;
        for spec in list.iter().rev() {
            let conditions = self.conditions(spec)?;
            let at = self.pools.candidates.take()?;
            let flags = if spec.is_tier3 { Candidate::TIER3 } else { 0 };
            let candidate = Candidate {
                scope: self.scope,
                next: if spec.is_last() { 0 } else { next },
                action: spec.action,
                conditions,
                methods: spec.methods,
                flags,
            };
            self.entries.candidates.push((at, candidate));
            next = at;
        }
        Some(next)
    }

    fn conditions(&mut self, spec: &Spec) -> Option<u32> {
        if spec.headers.is_empty() {
            return Some(0);
        }
        let mut record = HeaderConditions { scope: self.scope, ..HeaderConditions::default() };
        for (place, (number, value)) in record.all.iter_mut().zip(&spec.headers) {
            let mut padded = [0; HEADER_VALUE_MAX];
            padded.get_mut(..value.len())?.copy_from_slice(value);
            *place = HeaderCondition { number: *number, len: length(value), value: padded };
            record.used += 1;
        }
        let at = self.pools.conditions.take()?;
        self.entries.conditions.push((at, record));
        Some(at)
    }

    fn exact(&mut self, path: &[u8], candidate: u32) {
        let key = RouteKey { hash: fnv1a(path), scope: self.scope, len: length(path) };
        if let Some(other) = self.entries.routes.get_mut(&key) {
            other.flags = RouteRecord::COLLIDES;
            return;
        }
        let mut padded = [0; PATH_MAX + 1];
        for (to, from) in padded.iter_mut().zip(path.iter().chain(b"/")) {
            *to = *from;
        }
        let record = RouteRecord { candidate, scope: self.scope, path: padded, flags: 0, pad: 0 };
        self.entries.routes.insert(key, record);
    }
}

/// A prefix that is written down.
struct Node<'s> {
    text: &'s [u8],
    record: PrefixRecord,
    /// The place of the longest other one that it begins with.
    shorter: Option<usize>,
}

/// The place of the longest of these, sorted by text, that `text` begins with.
fn longest(nodes: &[Node<'_>], text: &[u8]) -> Option<usize> {
    // What it begins with sorts before it, and whatever is between begins with the same.
    let mut at = nodes.partition_point(|node| node.text <= text).checked_sub(1);
    while let Some(node) = at.and_then(|at| nodes.get(at))
        && !text.starts_with(node.text)
    {
        at = node.shorter;
    }
    at
}

pub(crate) fn prefix_key(scope: u32, text: &[u8]) -> PrefixKey {
    let mut path = [0; PATH_MAX + 1];
    for (to, from) in path.iter_mut().zip(text) {
        *to = *from;
    }
    PrefixKey { bits: 32 + 8 * length(text), scope, path }
}

/// Texts of keys are short.
fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
