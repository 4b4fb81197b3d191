use std::collections::{BTreeMap, BTreeSet};

use wire::{
    Candidate, HEADER_VALUE_MAX, HeaderCondition, HeaderConditions, PATH_MAX, PrefixKey, PrefixRecord,
    RouteKey, RouteRecord, fnv1a,
};

use crate::Tables;
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
        let candidate = lowering.list(list, below_exact(&nodes, path))?;
        lowering.exact(path, candidate);
    }
    Some(lowering.entries)
}

/// The entries of a scope among those that were found, if it is made of just what `spec` comes to; `sizes`: how many entries of `ROUTES` and of
/// `PREFIX_ROUTES` it has.
pub(crate) fn find(spec: &ScopeSpec, scope: u32, found: &Tables, sizes: (usize, usize)) -> Option<Entries> {
    if sizes != (spec.exact.len(), spec.prefixes.len()) {
        return None;
    }
    let mut finding = Finding { scope, found, entries: Entries::default() };
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for (text, node) in &spec.prefixes {
        let shorter = longest(&nodes, text);
        let below = shorter.and_then(|at| nodes.get(at)).map_or(0, |node| node.record.candidate);
        let key = prefix_key(scope, text);
        let record = *found.prefixes.get(&key)?;
        finding.list(&node.by_element, record.short, below)?;
        finding.list(&node.by_string, record.candidate, record.short)?;
        if (record.scope, record.len) != (scope, length(text)) {
            return None;
        }
        nodes.push(Node { text, record, shorter });
        finding.entries.prefixes.push((key, record));
    }
    for (path, list) in &spec.exact {
        let (key, record) = route_record(scope, path, 0);
        let known = *found.routes.get(&key)?;
        finding.list(list, known.candidate, below_exact(&nodes, path))?;
        // Not where paths collide either.
        if known != (RouteRecord { candidate: known.candidate, ..record }) {
            return None;
        }
        finding.entries.routes.insert(key, known);
    }
    let entries = finding.entries;
    let distinct = |all: &mut dyn Iterator<Item = u32>| all.collect::<BTreeSet<_>>().len();
    let counts = (
        distinct(&mut entries.candidates.iter().map(|(at, _)| *at)),
        distinct(&mut entries.conditions.iter().map(|(at, _)| *at)),
    );
    (counts == spec.sizes() && entries.routes.len() == sizes.0).then_some(entries)
}

/// Reads what [`Lowering`] writes.
struct Finding<'f> {
    scope: u32,
    found: &'f Tables,
    entries: Entries,
}

impl Finding<'_> {
    /// Follows candidates from the first on; none if they are others, or do not lead on to `below`.
    fn list(&mut self, list: &[Spec], first: u32, below: u32) -> Option<()> {
        let mut at = first;
        for spec in list {
            let known = *self.found.candidates.get(&at)?;
            if !spec.headers.is_empty() {
                let conditions = conditions(spec, self.scope)?;
                if *self.found.conditions.get(&known.conditions)? != conditions {
                    return None;
                }
                self.entries.conditions.push((known.conditions, conditions));
            } else if known.conditions != 0 {
                return None;
            }
            if known != candidate(spec, self.scope, known.next, known.conditions) {
                return None;
            }
            self.entries.candidates.push((at, known));
            if spec.is_last() {
                return Some(());
            }
            at = known.next;
        }
        (at == below).then_some(())
    }
}

fn candidate(spec: &Spec, scope: u32, next: u32, conditions: u32) -> Candidate {
    Candidate {
        scope,
        next: if spec.is_last() { 0 } else { next },
        action: spec.action,
        conditions,
        methods: spec.methods,
        flags: if spec.is_tier3 { Candidate::TIER3 } else { 0 },
    }
}

/// None: a value is longer than a record's.
fn conditions(spec: &Spec, scope: u32) -> Option<HeaderConditions> {
    let mut record = HeaderConditions { scope, ..HeaderConditions::default() };
    for (place, (number, value)) in record.all.iter_mut().zip(&spec.headers) {
        let mut padded = [0; HEADER_VALUE_MAX];
        padded.get_mut(..value.len())?.copy_from_slice(value);
        *place = HeaderCondition { number: *number, len: length(value), value: padded };
        record.used += 1;
    }
    Some(record)
}

fn route_record(scope: u32, path: &[u8], candidate: u32) -> (RouteKey, RouteRecord) {
    let key = RouteKey { hash: fnv1a(path), scope, len: length(path) };
    let mut padded = [0; PATH_MAX + 1];
    for (to, from) in padded.iter_mut().zip(path.iter().chain(b"/")) {
        *to = *from;
    }
    (key, RouteRecord { candidate, scope, path: padded, flags: 0, pad: 0 })
}

/// Where requests for an exact path go on that none of its own candidates takes.
fn below_exact(nodes: &[Node<'_>], path: &[u8]) -> u32 {
    let with_slash = [path, &b"/"[..]].concat();
    longest(nodes, &with_slash).and_then(|at| nodes.get(at)).map_or(0, |node| {
        if node.text.len() <= path.len() { node.record.candidate } else { node.record.short }
    })
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
            let candidate = candidate(spec, self.scope, next, conditions);
            self.entries.candidates.push((at, candidate));
            next = at;
        }
        Some(next)
    }

    fn conditions(&mut self, spec: &Spec) -> Option<u32> {
        if spec.headers.is_empty() {
            return Some(0);
        }
        let record = conditions(spec, self.scope)?;
        let at = self.pools.conditions.take()?;
        self.entries.conditions.push((at, record));
        Some(at)
    }

    fn exact(&mut self, path: &[u8], candidate: u32) {
        let (key, record) = route_record(self.scope, path, candidate);
        if let Some(other) = self.entries.routes.get_mut(&key) {
            other.flags = RouteRecord::COLLIDES;
            return;
        }
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
