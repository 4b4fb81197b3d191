//! The compiler: what it keeps from one snapshot to the next.

mod adopt;
mod inputs;
mod kept;
mod placements;
mod rest;
mod site;
mod tracked;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::{BackendId, RouteId, Snapshot};
use wire::{
    Candidate, HeaderConditions, HostKey, HostRecord, LISTENERS_MAX, ListenerKey, PrefixKey, PrefixRecord,
    RouteAction, RouteKey, RouteRecord, Vip, WeightedBackend,
};

use crate::actions::{Statuses, statuses};
use crate::balancing::{Pool, mapped};
use crate::diff::{Map, Write, diff};
use crate::ids::{Ids, Numbers};
use crate::lower::{Entries, Pools};
use crate::names::Names;
use crate::scope::ScopeSpec;
use crate::{Facts, RoutePlacement, Sizes, Tables, Why};
use adopt::Before;
use inputs::concrete;
use kept::Kept;
use site::Site;
use tracked::Tracked;

/// Compiles one snapshot after the other. What stays the same keeps its indices, and is not compiled again.
#[derive(Debug)]
pub struct Compiler {
    sizes: Sizes,
    sockets: Ids<Socket>,
    listeners: Ids<Socket>,
    scopes: Ids<Arc<ScopeSpec>>,
    entries: HashMap<u32, Entries>,
    pools: Pools,
    actions: Ids<ActionKey>,
    generations: HashMap<u32, u32>,
    names: Names,
    pool: Pool,
    /// Entries of `ROUTES` and of `PREFIX_ROUTES` in use.
    room: (usize, usize),
    before: Option<Before>,
    /// The compilation before.
    kept: Option<Kept>,
    /// Whether it left something out that may fit the next time.
    is_unsettled: bool,
    /// How much of that was for want of room, by the map.
    lacking: BTreeMap<Map, u32>,
    /// Whether there are more sockets than any map has room for.
    lacks_sockets: bool,
    /// Came in this compilation.
    fresh_scopes: Vec<u32>,
    fresh_actions: Vec<u32>,
    hosts: Tracked<HostKey, HostRecord>,
    routes: Tracked<RouteKey, RouteRecord>,
    prefixes: Tracked<PrefixKey, PrefixRecord>,
    candidates: Tracked<u32, Candidate>,
    conditions: Tracked<u32, HeaderConditions>,
    route_actions: Tracked<u32, RouteAction>,
    /// The other maps, which are small.
    small: Tables,
}

/// What a compilation gives.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The wanted content of the maps.
    pub tables: Tables,
    /// By place in `snapshot.routes`.
    pub placements: Vec<RoutePlacement>,
    /// The route of each entry of `ROUTE_ACTIONS`.
    pub routes: BTreeMap<u32, RouteId>,
    /// The backend of each entry of `BACKENDS`.
    pub backends: BTreeMap<u32, BackendId>,
    /// The address (none: every one) and port of each [`Vip::listener`].
    pub listeners: BTreeMap<u32, (Option<IpAddr>, u16)>,
    /// When to compile again even if nothing changes: something has rested by then.
    pub again: Option<Duration>,
}

/// What a compilation changes.
#[derive(Clone, Debug)]
pub struct Update {
    /// From the content of the maps before to the wanted one, in the order of [`diff`].
    pub writes: Vec<Write>,
    /// When to compile again even if nothing changes: something has rested by then.
    pub again: Option<Duration>,
}

/// An address (none: every one that no other socket of the port names) and port.
type Socket = (Option<IpAddr>, u16);

/// Routes get indices of their own, so that they can be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ActionKey {
    route: RouteId,
    flags: u32,
    /// As in the record, with weights in place of their sums.
    shares: Vec<WeightedBackend>,
    /// [`crate::Tables::copies`]; 0: no entry.
    copied_below: u32,
}

/// One compilation.
struct Job<'s> {
    snapshot: &'s Snapshot,
    facts: &'s Facts,
    statuses: &'s Statuses<'s>,
    now: Duration,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// For empty maps of the sizes that the object gives them.
    pub fn new() -> Self {
        Self::with_sizes(Sizes::default())
    }

    /// For empty maps of these sizes.
    pub fn with_sizes(sizes: Sizes) -> Self {
        Self {
            sizes,
            sockets: Ids::new(1, u32::MAX),
            listeners: Ids::new(0, end(LISTENERS_MAX)),
            scopes: Ids::new(1, HostRecord::TIER3),
            entries: HashMap::new(),
            // 0 stands for none.
            pools: Pools {
                candidates: Numbers::new(1, sizes.candidates),
                conditions: Numbers::new(1, sizes.conditions),
            },
            actions: Ids::new(1, sizes.actions),
            generations: HashMap::new(),
            names: Names::new(),
            pool: Pool::new(&sizes),
            room: (0, 0),
            before: None,
            kept: None,
            is_unsettled: false,
            lacking: BTreeMap::new(),
            lacks_sockets: false,
            fresh_scopes: Vec::new(),
            fresh_actions: Vec::new(),
            hosts: Tracked::default(),
            routes: Tracked::default(),
            prefixes: Tracked::default(),
            candidates: Tracked::default(),
            conditions: Tracked::default(),
            route_actions: Tracked::default(),
            small: Tables::default(),
        }
    }

    /// Compiles a snapshot, and gives all that came of it. `now` is a time that only grows.
    pub fn compile(&mut self, snapshot: &Snapshot, facts: &Facts, now: Duration) -> Compiled {
        let Update { again, .. } = self.update(snapshot, facts, now);
        Compiled {
            tables: self.tables(),
            placements: self.placements(snapshot, facts),
            routes: self.actions.iter().map(|(key, index, _)| (index, key.route.clone())).collect(),
            backends: self.pool.backends.iter().map(|((id, _), index, _)| (index, id.clone())).collect(),
            listeners: self.listeners(),
            again,
        }
    }

    /// Compiles a snapshot, and gives what is to be written. `now` is a time that only grows.
    ///
    /// The cost follows from what changed since the compilation before, and a little from how much there is.
    pub fn update(&mut self, snapshot: &Snapshot, facts: &Facts, now: Duration) -> Update {
        self.update_alive(snapshot, facts, now, &mut || ())
    }

    /// The same; `alive` is called with each Maglev table that is made. A thousand of them take their time.
    pub fn update_alive(
        &mut self,
        snapshot: &Snapshot,
        facts: &Facts,
        now: Duration,
        alive: &mut dyn FnMut(),
    ) -> Update {
        let statuses = statuses(snapshot, facts);
        let job = Job { snapshot, facts, statuses: &statuses, now };
        self.names.may_be_used_at_once(facts.names_at_once);
        self.begin(now);
        let kept = self.kept.take();
        let went_on = kept.and_then(|kept| self.go_on(kept, &job));
        let is_whole = went_on.is_none();
        let mut kept = went_on.unwrap_or_else(|| self.start_over(&job));
        let mut small = Tables { vips: self.vips(&mut kept.sites, facts), ..Tables::default() };
        self.kept = Some(kept);
        let in_use = self.actions.iter().filter(|(_, _, is_used)| *is_used);
        let kept = in_use.flat_map(|(key, _, _)| &key.shares).filter(|share| share.affinity_s != 0);
        self.pool.keep(kept.map(|share| share.backend));
        self.pool.compile(snapshot, facts, &mut small, alive);
        let again = self.finish(now, is_whole, &mut small);
        Update { writes: self.writes(small), again }
    }

    /// The wanted content of the maps.
    pub fn tables(&self) -> Tables {
        Tables {
            hosts: self.hosts.now().clone(),
            routes: self.routes.now().clone(),
            prefixes: self.prefixes.now().clone(),
            candidates: self.candidates.now().clone(),
            conditions: self.conditions.now().clone(),
            actions: self.route_actions.now().clone(),
            ..self.small.clone()
        }
    }

    /// The route of an entry of `ROUTE_ACTIONS`.
    pub fn route(&self, action: u32) -> Option<&RouteId> {
        self.actions.key(action).map(|key| &key.route)
    }

    /// The address of an entry of `ENDPOINTS` as it stands there.
    pub fn endpoint(&self, index: u32) -> Option<&wire::EndpointRecord> {
        self.small.endpoints.get(&index)
    }

    /// What userspace calls an entry of `ENDPOINTS`, where that is not the address that stands there: it is another address of the same
    /// endpoint.
    pub fn endpoint_name(&self, index: u32) -> Option<SocketAddr> {
        self.pool.name(index)
    }

    /// The address (none: every one) and port of each [`Vip::listener`].
    pub fn listeners(&self) -> BTreeMap<u32, (Option<IpAddr>, u16)> {
        self.listeners.iter().map(|(socket, index, _)| (index, *socket)).collect()
    }

    /// The maps are as large as this from now on; not smaller than before.
    pub fn resize(&mut self, sizes: Sizes) {
        self.sizes = sizes;
        self.pools.candidates.end_at(sizes.candidates);
        self.pools.conditions.end_at(sizes.conditions);
        self.actions.numbers().end_at(sizes.actions);
        self.pool.resize(&sizes);
        // What was left out is tried again.
        self.is_unsettled = true;
    }

    /// How large it takes the maps to be.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Whether the latest compilation left something to userspace for want of room.
    pub fn lacks_room(&self) -> bool {
        !self.lacking.is_empty() || !self.pool.lacking().is_empty()
    }

    /// What that was, by the map that had none: how many sockets (`HOSTS`), hosts of a listener (`ROUTES`, `PREFIX_ROUTES`, `CANDIDATES`
    /// and `HEADER_CONDITIONS`), rules of a listener (`ROUTE_ACTIONS`) and backends.
    pub fn lacking(&self) -> BTreeMap<Map, u32> {
        // Not the same maps.
        self.lacking.iter().chain(self.pool.lacking()).map(|(map, count)| (*map, *count)).collect()
    }

    /// Whether it left sockets to the host, since there are more than [`LISTENERS_MAX`] addresses and ports.
    pub fn lacks_sockets(&self) -> bool {
        self.lacks_sockets
    }

    /// How many entries of the tables are in use or rest.
    pub fn in_use(&self) -> Sizes {
        Sizes {
            hosts: end(self.hosts.now().len()),
            routes: end(self.routes.now().len()),
            prefixes: end(self.prefixes.now().len()),
            candidates: end(self.candidates.now().len()),
            conditions: end(self.conditions.now().len()),
            actions: end(self.route_actions.now().len()),
            backends: end(self.small.backends.len()),
            maglev: end(self.small.maglev.len()),
            endpoints: end(self.small.endpoints.len()),
            members: end(self.small.members.len()),
        }
    }

    /// Whether some route matches on headers, so that programs look field names up.
    pub fn captures_headers(&self) -> bool {
        self.small.captures_headers()
    }

    /// Compiles everything.
    fn start_over(&mut self, job: &Job<'_>) -> Kept {
        self.begin(job.now);
        self.is_unsettled = false;
        self.lacking.clear();
        let mut sites = self.sites(job);
        self.adopt_sockets(&sites, job.facts);
        let mut hosts = BTreeMap::new();
        for site in sites.iter_mut().filter(|site| site.is_http) {
            site.number = match self.sockets.get(&site.socket) {
                Some((number, _)) if site.decides() => number,
                _ => 0,
            };
            if site.number != 0 && hosts.len() + site.size() > self.sizes.hosts as usize {
                site.leave(Why::Full);
                self.lacks(Map::Hosts);
            }
            if site.number != 0 {
                hosts.extend(site.records());
            }
        }
        self.hosts.replace(hosts);
        Kept::new(sites, job)
    }

    /// Notes that something finds no room in a map, and is to be tried again.
    fn lacks(&mut self, map: Map) {
        *self.lacking.entry(map).or_default() += 1;
        self.is_unsettled = true;
    }

    fn vips(&mut self, sites: &mut [Site], facts: &Facts) -> BTreeMap<ListenerKey, Vip> {
        let all: BTreeSet<Socket> = sites.iter().map(|site| site.socket).collect();
        self.lacks_sockets = false;
        let mut vips = BTreeMap::new();
        for site in sites {
            // What is not HTTP is none of the programs' business: they do not even count it.
            let is_http = site.listeners.iter().any(|one| one.listener.protocol.is_http());
            if !is_http || facts.closed.contains(&site.socket) {
                continue;
            }
            let addresses = concrete(site.socket, &all, facts);
            let listener = self.listeners.get(&site.socket);
            let Some((listener, _)) = listener.filter(|_| vips.len() + addresses.len() <= LISTENERS_MAX)
            else {
                // The host's stack gets what comes there, and userspace.
                site.leave(Why::Full);
                (self.is_unsettled, self.lacks_sockets) = (true, true);
                continue;
            };
            let inserts = site.listeners.iter().any(|one| one.listener.forwarded_headers);
            let flags = if inserts { Vip::FORWARDED_HEADERS } else { 0 };
            for address in addresses {
                let key = ListenerKey::tcp(mapped(address), site.socket.1.to_be_bytes());
                vips.insert(key, Vip { socket: site.number, listener, flags });
            }
        }
        vips
    }

    /// What is to be written; `small` becomes the content of the small maps.
    fn writes(&mut self, small: Tables) -> Vec<Write> {
        let mut old = std::mem::replace(&mut self.small, small);
        let mut new = self.small.clone();
        (old.hosts, new.hosts) = self.hosts.take();
        (old.routes, new.routes) = self.routes.take();
        (old.prefixes, new.prefixes) = self.prefixes.take();
        (old.candidates, new.candidates) = self.candidates.take();
        (old.conditions, new.conditions) = self.conditions.take();
        (old.actions, new.actions) = self.route_actions.take();
        diff(&old, &new)
    }
}

/// The sizes that maps need for a snapshot, whatever sizes they have: without what rests from snapshots before.
pub fn needed(snapshot: &Snapshot, facts: &Facts) -> Sizes {
    let mut compiler = Compiler::with_sizes(Sizes::UNBOUNDED);
    compiler.pool.only_count();
    // Names are numbered in any case: those that cannot be used at once take no less room later.
    let facts = Facts { names_at_once: true, ..facts.clone() };
    compiler.update(snapshot, &facts, Duration::ZERO);
    Sizes::taken(&compiler.tables())
}

/// Sizes of maps are small.
fn end(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}
