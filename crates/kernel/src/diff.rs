use std::cmp::Reverse;
use std::collections::BTreeMap;

use wire::{EndpointRecord, HostKey};
use zerocopy::{Immutable, IntoBytes};

use crate::Tables;

/// The maps that the compiler fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// Hash.
    Vips,
    /// Trie.
    Hosts,
    /// Hash.
    Routes,
    /// Trie.
    PrefixRoutes,
    /// Array.
    Candidates,
    /// Array.
    HeaderConditions,
    /// Hash.
    HeaderNames,
    /// Array.
    RouteActions,
    /// Array.
    Copies,
    /// Array.
    Backends,
    /// Array.
    MaglevTables,
    /// Array.
    Endpoints,
    /// Hash.
    BackendMembers,
}

impl Map {
    /// The map's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vips => "VIPS",
            Self::Hosts => "HOSTS",
            Self::Routes => "ROUTES",
            Self::PrefixRoutes => "PREFIX_ROUTES",
            Self::Candidates => "CANDIDATES",
            Self::HeaderConditions => "HEADER_CONDITIONS",
            Self::HeaderNames => "HEADER_NAMES",
            Self::RouteActions => "ROUTE_ACTIONS",
            Self::Copies => "COPIES",
            Self::Backends => "BACKENDS",
            Self::MaglevTables => "MAGLEV_TABLES",
            Self::Endpoints => "ENDPOINTS",
            Self::BackendMembers => "BACKEND_MEMBERS",
        }
    }
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub map: Map,
    /// As it lies in the map; a trie's with its length in front.
    pub key: Vec<u8>,
    /// What is put there; none: the entry is removed, which is fine if there is none.
    pub value: Option<Vec<u8>>,
}

/// The writes that lead from `old` to `new`, in the order in which they are to be made: a reader between any two of them
/// finds the route that `old` has for a request, or the one that `new` has.
///
/// What is read last is written first. A host is exchanged before those it would fall back on, and removed after them.
/// Entries of arrays are not removed: what points at them is.
pub fn diff(old: &Tables, new: &Tables) -> Vec<Write> {
    let mut writes = Vec::new();
    let weaker = |at: &u32, record: &EndpointRecord| {
        let before = old.endpoints.get(at).filter(|before| before.generation == record.generation);
        before.is_some_and(|before| is_weaker(before, record))
    };
    put(&mut writes, Map::Endpoints, &old.endpoints, new.endpoints.iter().filter(|(at, r)| !weaker(at, r)));
    let changed = |at: &u32| old.maglev.get(at) != new.maglev.get(at);
    put(&mut writes, Map::BackendMembers, &old.members, &new.members);
    writes.extend(new.maglev.iter().filter(|(at, _)| changed(at)).map(|(at, table)| Write {
        map: Map::MaglevTables,
        key: at.as_bytes().to_vec(),
        value: Some(table.as_bytes().to_vec()),
    }));
    put(&mut writes, Map::Backends, &old.backends, &new.backends);
    put(&mut writes, Map::Copies, &old.copies, &new.copies);
    put(&mut writes, Map::RouteActions, &old.actions, &new.actions);
    put(&mut writes, Map::HeaderNames, &old.names, &new.names);
    put(&mut writes, Map::HeaderConditions, &old.conditions, &new.conditions);
    put(&mut writes, Map::Candidates, &old.candidates, &new.candidates);
    put(&mut writes, Map::Routes, &old.routes, &new.routes);
    put(&mut writes, Map::PrefixRoutes, &old.prefixes, &new.prefixes);
    let mut hosts: Vec<_> = new.hosts.iter().collect();
    hosts.sort_by_key(|(key, _)| Reverse(key.bits));
    put(&mut writes, Map::Hosts, &old.hosts, hosts);
    put(&mut writes, Map::Vips, &old.vips, &new.vips);
    remove(&mut writes, Map::Vips, old.vips.keys().filter(|key| !new.vips.contains_key(key)));
    let mut hosts: Vec<&HostKey> = old.hosts.keys().filter(|key| !new.hosts.contains_key(key)).collect();
    hosts.sort_by_key(|key| key.bits);
    remove(&mut writes, Map::Hosts, hosts);
    // One that leaves its backend is no choice of the backend's any more, and now no client's.
    remove(&mut writes, Map::BackendMembers, old.members.keys().filter(|key| !new.members.contains_key(key)));
    put(&mut writes, Map::Endpoints, &old.endpoints, new.endpoints.iter().filter(|(at, r)| weaker(at, r)));
    remove(&mut writes, Map::PrefixRoutes, old.prefixes.keys().filter(|key| !new.prefixes.contains_key(key)));
    remove(&mut writes, Map::Routes, old.routes.keys().filter(|key| !new.routes.contains_key(key)));
    remove(&mut writes, Map::HeaderNames, old.names.keys().filter(|key| !new.names.contains_key(*key)));
    writes
}

/// How many of the writes of a [`diff`] lead up to its last new name of a header; 0: there is none.
///
/// With [`crate::Facts::names_at_once`] the writer waits behind them until no reader is left that began before: a request that was
/// scanned without the name would pass conditions on it by.
pub fn behind_names(writes: &[Write]) -> usize {
    let is_new_name = |write: &Write| write.map == Map::HeaderNames && write.value.is_some();
    writes.iter().rposition(is_new_name).map_or(0, |last| last + 1)
}

/// Whether the endpoint takes less than before: written last, when nobody is sent there any more.
fn is_weaker(before: &EndpointRecord, now: &EndpointRecord) -> bool {
    let usable = |record: &EndpointRecord| record.flags & EndpointRecord::USABLE != 0;
    let draining = |record: &EndpointRecord| record.flags & EndpointRecord::DRAINING != 0;
    (usable(before) && !usable(now)) || (!draining(before) && draining(now))
}

fn put<'t, K, V>(
    writes: &mut Vec<Write>,
    map: Map,
    old: &BTreeMap<K, V>,
    new: impl IntoIterator<Item = (&'t K, &'t V)>,
) where
    K: Ord + IntoBytes + Immutable + 't,
    V: PartialEq + IntoBytes + Immutable + 't,
{
    writes.extend(new.into_iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(key, value)| {
        Write { map, key: key.as_bytes().to_vec(), value: Some(value.as_bytes().to_vec()) }
    }));
}

fn remove<'t, K: IntoBytes + Immutable + 't>(
    writes: &mut Vec<Write>,
    map: Map,
    keys: impl IntoIterator<Item = &'t K>,
) {
    writes.extend(keys.into_iter().map(|key| Write { map, key: key.as_bytes().to_vec(), value: None }));
}
