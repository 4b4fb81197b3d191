//! What an agent before this one has left in the maps, taken over where it is what would be written anyway: records get the indices that equal
//! ones have there. None of it is believed: all is compared with what is wanted, and written where it differs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use wire::{Candidate, LISTENERS_MAX, ListenerKey, RouteAction, Vip, fnv1a};
use zerocopy::IntoBytes;

use super::inputs::concrete;
use super::rest::record;
use super::site::Site;
use super::{ActionKey, Compiler, Socket, end};
use crate::balancing::mapped;
use crate::lower::{find, prefix_key};
use crate::scope::{ScopeSpec, Spec};
use crate::{Facts, Tables};

/// Numbers of scopes and sockets that were found are below it, or are nobody's.
pub(super) const NUMBERS_MAX: u32 = 1 << 20;

/// What the maps held when the agent started.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) tables: Tables,
    pub(super) until: Option<Duration>,
    /// By record without its generation.
    actions: HashMap<Vec<u8>, BTreeSet<u32>>,
    /// By [`Before::sum`].
    scopes: HashMap<u64, BTreeSet<u32>>,
    /// How many entries of `ROUTES` and of `PREFIX_ROUTES` each scope has.
    sizes: BTreeMap<u32, (usize, usize)>,
}

impl Before {
    pub(super) fn new(tables: Tables) -> Self {
        let mut actions: HashMap<_, BTreeSet<u32>> = HashMap::new();
        for (at, action) in tables.actions.iter().filter(|(_, action)| action.generation != 0) {
            actions.entry(plain(action)).or_default().insert(*at);
        }
        let mut sums: BTreeMap<u32, u64> = BTreeMap::new();
        let mut sizes: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        let mut add = |scope: u32, part: u64| {
            let sum = sums.entry(scope).or_default();
            *sum = sum.wrapping_add(part);
        };
        for key in tables.routes.keys() {
            add(key.scope, hash(&(key.hash, key.len)));
            sizes.entry(key.scope).or_default().0 += 1;
        }
        for key in tables.prefixes.keys() {
            add(key.scope, hash(&(key.bits, key.path)));
            sizes.entry(key.scope).or_default().1 += 1;
        }
        // Arrays keep what nobody points at any more, under numbers that others have by now.
        let of_routes = tables.routes.iter().map(|(key, one)| (key.scope, one.candidate));
        let of_prefixes = tables
            .prefixes
            .iter()
            .flat_map(|(key, one)| [one.candidate, one.short].map(|candidate| (key.scope, candidate)));
        let mut seen = BTreeSet::new();
        for (scope, mut at) in of_routes.chain(of_prefixes) {
            while let Some(one) = tables.candidates.get(&at).filter(|one| one.scope == scope)
                && seen.insert(at)
            {
                add(scope, hash(&(one.action, one.methods, one.flags)));
                at = one.next;
            }
        }
        let mut scopes: HashMap<_, BTreeSet<u32>> = HashMap::new();
        for (scope, sum) in sums.into_iter().filter(|(scope, _)| (1..NUMBERS_MAX).contains(scope)) {
            scopes.entry(sum).or_default().insert(scope);
        }
        Self { tables, until: None, actions, scopes, sizes }
    }
}

/// The same for scopes that are made of the same entries, wherever those stand, and hardly for others.
fn sum(spec: &ScopeSpec) -> u64 {
    let of = |one: &Spec| hash(&(one.action, one.methods, if one.is_tier3 { Candidate::TIER3 } else { 0 }));
    let lists = spec.prefixes.values().flat_map(|node| node.by_string.iter().chain(&node.by_element));
    let prefix = |text: &Vec<u8>| {
        let key = prefix_key(0, text);
        hash(&(key.bits, key.path))
    };
    let exact = spec.exact.keys().map(|path| hash(&(fnv1a(path), u32::try_from(path.len()).unwrap_or(0))));
    let all = exact.chain(spec.prefixes.keys().map(prefix)).chain(lists.map(of));
    all.chain(spec.exact.values().flatten().map(of)).fold(0, u64::wrapping_add)
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn plain(action: &RouteAction) -> Vec<u8> {
    RouteAction { generation: 0, ..*action }.as_bytes().to_vec()
}

impl Compiler {
    /// Lets sockets have the numbers that were found for their addresses.
    pub(super) fn adopt_sockets(&mut self, sites: &[Site], facts: &Facts) {
        let Some(before) = &mut self.before else { return };
        let all: BTreeSet<Socket> = sites.iter().map(|site| site.socket).collect();
        for site in sites {
            let port = site.socket.1.to_be_bytes();
            let keys = concrete(site.socket, &all, facts).into_iter();
            let mut keys = keys.map(|address| ListenerKey::tcp(mapped(address), port));
            let Some(Vip { socket, listener, .. }) = keys.find_map(|key| before.tables.vips.get(&key)) else {
                continue;
            };
            let is_number = (1..NUMBERS_MAX).contains(socket) && self.sockets.key(*socket).is_none();
            if is_number && !self.sockets.knows(&site.socket) {
                self.sockets.adopt(site.socket, *socket);
                // These are its hosts from now on: what is not wanted of them goes.
                before.tables.hosts.retain(|key, _| key.socket != *socket);
            }
            let is_number = *listener < end(LISTENERS_MAX) && self.listeners.key(*listener).is_none();
            if is_number && !self.listeners.knows(&site.socket) {
                self.listeners.adopt(site.socket, *listener);
            }
        }
    }

    /// Lets an action have the index of an equal record.
    pub(super) fn adopt_action(&mut self, key: &ActionKey) {
        let Some(before) = self.before.as_mut().filter(|_| !self.actions.knows(key)) else { return };
        let Some(equal) = before.actions.get_mut(&plain(&record(key, 0))) else { return };
        // The record says whether it has a share of copies, not which.
        let has_share = |at: &u32| {
            key.copied_below == 0
                || before.tables.copies.get(at).is_some_and(|below| *below == key.copied_below)
        };
        let Some(index) = equal.iter().copied().find(has_share) else { return };
        equal.remove(&index);
        if let (Some(found), None) = (before.tables.actions.get(&index), self.actions.key(index)) {
            self.actions.adopt(key.clone(), index);
            self.generations.insert(index, found.generation);
        }
    }

    /// Lets a scope have the number and entries of one that is made of the same.
    pub(super) fn adopt_scope(&mut self, spec: &Arc<ScopeSpec>) {
        let Some(before) = self.before.as_mut().filter(|_| !self.scopes.knows(spec)) else { return };
        let Some(like) = before.scopes.get_mut(&sum(spec)) else { return };
        let found = like.iter().find_map(|&scope| {
            let sizes = before.sizes.get(&scope).copied().unwrap_or_default();
            Some((scope, find(spec, scope, &before.tables, sizes)?))
        });
        let Some((scope, entries)) = found.filter(|(scope, _)| self.scopes.key(*scope).is_none()) else {
            return;
        };
        like.remove(&scope);
        // They are counted as this one's.
        for key in entries.routes.keys() {
            before.tables.routes.remove(key);
        }
        for (key, _) in &entries.prefixes {
            before.tables.prefixes.remove(key);
        }
        self.scopes.adopt(Arc::clone(spec), scope);
        self.entries.insert(scope, entries);
    }

    /// Gives back what was found and nobody took over.
    pub(super) fn give_back(&mut self, tables: &Tables) {
        let entries = || self.entries.values();
        let candidates: BTreeSet<u32> =
            entries().flat_map(|one| one.candidates.iter().map(|(at, _)| *at)).collect();
        let conditions: BTreeSet<u32> =
            entries().flat_map(|one| one.conditions.iter().map(|(at, _)| *at)).collect();
        self.taken(tables, |compiler, of, at| match of {
            Of::Scopes if compiler.scopes.key(at).is_none() => compiler.scopes.numbers().give_back(at),
            Of::Candidates if !candidates.contains(&at) => compiler.pools.candidates.give_back(at),
            Of::Conditions if !conditions.contains(&at) => compiler.pools.conditions.give_back(at),
            Of::Actions if compiler.actions.key(at).is_none() => compiler.actions.numbers().give_back(at),
            Of::Backends if compiler.pool.backends.key(at).is_none() => {
                compiler.pool.backends.numbers().give_back(at);
            }
            Of::Maglev if compiler.pool.maglev.key(at).is_none() => {
                compiler.pool.maglev.numbers().give_back(at);
            }
            Of::Sockets if compiler.sockets.key(at).is_none() => compiler.sockets.numbers().give_back(at),
            _ => {}
        });
        self.pool.found = Default::default();
    }

    /// Keeps what was found from being given away.
    pub(super) fn reserve(&mut self, tables: &Tables) {
        self.taken(tables, |compiler, of, at| match of {
            Of::Scopes => compiler.scopes.numbers().reserve(at),
            Of::Candidates => compiler.pools.candidates.reserve(at),
            Of::Conditions => compiler.pools.conditions.reserve(at),
            Of::Actions => compiler.actions.numbers().reserve(at),
            Of::Backends => compiler.pool.backends.numbers().reserve(at),
            Of::Maglev => compiler.pool.maglev.numbers().reserve(at),
            Of::Sockets => compiler.sockets.numbers().reserve(at),
        });
    }

    /// Does something with every index that these tables take.
    fn taken(&mut self, tables: &Tables, each: impl Fn(&mut Self, Of, u32)) {
        let scopes = tables.candidates.values().map(|candidate| candidate.scope);
        let scopes: BTreeSet<u32> = scopes.chain(tables.prefixes.keys().map(|key| key.scope)).collect();
        let sockets: BTreeSet<u32> = tables.hosts.keys().map(|key| key.socket).collect();
        let is_number = |at: &u32| (1..NUMBERS_MAX).contains(at);
        scopes.into_iter().filter(is_number).for_each(|at| each(self, Of::Scopes, at));
        sockets.into_iter().filter(is_number).for_each(|at| each(self, Of::Sockets, at));
        let used = tables.candidates.iter().filter(|(_, candidate)| candidate.scope != 0);
        used.for_each(|(&at, _)| each(self, Of::Candidates, at));
        let used = tables.conditions.iter().filter(|(_, conditions)| conditions.scope != 0);
        used.for_each(|(&at, _)| each(self, Of::Conditions, at));
        let used = tables.actions.iter().filter(|(_, action)| action.generation != 0);
        used.for_each(|(&at, _)| each(self, Of::Actions, at));
        let used = tables.backends.iter().filter(|(_, backend)| backend.serial != 0);
        used.for_each(|(&at, _)| each(self, Of::Backends, at));
        let used = tables.maglev.iter().filter(|(_, table)| table.serial != 0);
        used.for_each(|(&at, _)| each(self, Of::Maglev, at));
    }
}

/// What an index is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Scopes,
    Candidates,
    Conditions,
    Actions,
    Backends,
    Maglev,
    Sockets,
}
