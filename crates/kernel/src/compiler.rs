use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{BackendId, Listener, ListenerId, Protocol, Route, RouteId, Snapshot, Tier};
use wire::{
    CANDIDATES_MAX, HEADER_CONDITIONS_MAX, HOSTS_MAX, HostRecord, LISTENERS_MAX, ListenerKey,
    PREFIX_ROUTES_MAX, ROUTE_ACTIONS_MAX, ROUTE_BACKENDS_MAX, ROUTES_MAX, RouteAction, SCOPES_MAX, Vip,
    WeightedBackend,
};

use crate::actions::{Plan, plan};
use crate::balancing::{Pool, mapped};
use crate::candidates::{self, Compiled as CompiledMatch};
use crate::hosts::{ByHost, Class, Key, records};
use crate::ids::{Ids, Numbers};
use crate::lower::{Entries, Pools, lower};
use crate::names::Names;
use crate::scope::{ScopeBuilder, ScopeSpec};
use crate::{Facts, REST, RoutePlacement, Tables, Why};

/// Compiles one snapshot after the other, and keeps the indices of what stays the same.
#[derive(Debug)]
pub struct Compiler {
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

/// An address (none: every one that no other socket of the port names) and port.
type Socket = (Option<IpAddr>, u16);

/// Routes get indices of their own, so that they can be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ActionKey {
    route: RouteId,
    flags: u32,
    /// Weight and index in `BACKENDS`.
    shares: Vec<(u32, u32)>,
}

/// What the maps held when the agent started.
#[derive(Debug)]
struct Before {
    tables: Tables,
    until: Option<Duration>,
}

/// The scopes of one host of a listener while they are built.
#[derive(Debug, Default)]
struct Building {
    scope: ScopeBuilder,
    matches: Vec<(usize, Option<Why>)>,
}

/// What a host pattern of a listener leads to.
#[derive(Clone, Copy, Debug)]
struct Scope {
    /// 0: nothing in it.
    id: u32,
    is_last: bool,
}

/// What is known of a route's tier.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    in_kernel: bool,
    why: Option<Why>,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// For empty maps.
    pub fn new() -> Self {
        Self {
            sockets: Ids::new(1, u32::MAX),
            listeners: Ids::new(0, end(LISTENERS_MAX)),
            scopes: Ids::new(1, HostRecord::TIER3),
            entries: HashMap::new(),
            // 0 stands for none.
            pools: Pools {
                candidates: Numbers::new(1, end(CANDIDATES_MAX)),
                conditions: Numbers::new(1, end(HEADER_CONDITIONS_MAX)),
            },
            actions: Ids::new(1, end(ROUTE_ACTIONS_MAX)),
            generations: HashMap::new(),
            names: Names::new(),
            pool: Pool::new(),
            room: (0, 0),
            before: None,
        }
    }

    /// For maps that hold the work of an agent before this one: endpoints keep their indices, so that flows live on, and
    /// all else stays until what is compiled now has taken over.
    pub fn resume(found: Tables) -> Self {
        let mut compiler = Self::new();
        for (index, record) in found.endpoints.iter().filter(|(_, record)| record.generation != 0) {
            compiler.pool.adopt(*index, record);
        }
        for (name, number) in &found.names {
            compiler.names.adopt(*name, *number);
        }
        compiler.taken(&found, Numbers::reserve);
        let serials = found.maglev.values().map(|table| table.serial);
        let generations = found.actions.values().map(|action| action.generation);
        compiler.pool.serial = serials.chain(generations).fold(compiler.pool.serial, u32::max);
        compiler.before = Some(Before { tables: found, until: None });
        compiler
    }

    /// Compiles a snapshot. `now` is a time that only grows.
    pub fn compile(&mut self, snapshot: &Snapshot, facts: &Facts, now: Duration) -> Compiled {
        self.begin(now);
        let mut tables = Tables::default();
        let plans: Vec<_> = snapshot.routes.iter().map(|route| plan(route, snapshot, facts)).collect();
        let mut found = vec![Found::default(); plans.len()];
        let attached = attached(snapshot);
        let sockets = sockets(snapshot);
        for (&socket, listeners) in &sockets {
            let number =
                self.socket(socket, listeners, &attached, snapshot, &plans, &mut found, &mut tables, now);
            let Some((listener, _)) = self.listeners.get(&socket) else { continue };
            let inserts = listeners.iter().any(|listener| listener.forwarded_headers);
            let vip =
                Vip { socket: number, listener, flags: if inserts { Vip::FORWARDED_HEADERS } else { 0 } };
            for address in concrete(socket, &sockets, facts) {
                tables.vips.insert(ListenerKey::tcp(mapped(address), socket.1.to_be_bytes()), vip);
            }
        }
        self.pool.compile(snapshot, facts, &mut tables);
        let again = self.finish(now, &mut tables);
        let placements = snapshot.routes.iter().zip(&plans).zip(found);
        Compiled {
            tables,
            placements: placements.map(|((route, plan), found)| placement(route, plan, found)).collect(),
            routes: self.actions.iter().map(|(key, index, _)| (index, key.route.clone())).collect(),
            backends: self.pool.backends.iter().map(|((id, _), index, _)| (index, id.clone())).collect(),
            listeners: self.listeners.iter().map(|(socket, index, _)| (index, *socket)).collect(),
            again,
        }
    }

    fn begin(&mut self, now: Duration) {
        self.sockets.begin();
        self.listeners.begin();
        self.scopes.begin();
        self.actions.begin();
        self.names.begin();
        self.pool.begin();
        if let Some(before) = &mut self.before {
            before.until.get_or_insert(now + REST);
        }
        if let Some(before) = self.before.take_if(|before| before.until.is_some_and(|until| until <= now)) {
            self.taken(&before.tables, Numbers::give_back);
        }
        let before =
            self.before.as_ref().map_or((0, 0), |b| (b.tables.routes.len(), b.tables.prefixes.len()));
        self.room = self.entries.values().fold(before, |(routes, prefixes), entries| {
            (routes + entries.routes.len(), prefixes + entries.prefixes.len())
        });
    }

    /// Writes the hosts of a socket down; gives its number, 0 if the kernel has nothing to decide there.
    #[expect(clippy::too_many_arguments, reason = "one caller; a struct would only rename them")]
    fn socket(
        &mut self,
        socket: Socket,
        listeners: &[&Listener],
        attached: &HashMap<&ListenerId, Vec<usize>>,
        snapshot: &Snapshot,
        plans: &[Result<Plan, Why>],
        found: &mut [Found],
        tables: &mut Tables,
        now: Duration,
    ) -> u32 {
        let routes_of = |listener: &Listener| attached.get(&listener.id).map_or(&[][..], |routes| routes);
        if listeners.iter().any(|listener| listener.protocol != Protocol::Http) {
            for listener in listeners {
                let why = if listener.protocol == Protocol::Http { Why::SharedPort } else { Why::Tls };
                for &at in routes_of(listener) {
                    note(found, at, Some(why));
                }
            }
            return 0;
        }
        let (mut names, mut suffixes) = (BTreeSet::new(), BTreeSet::new());
        let mut by_listener: ByHost<'_, usize> = ByHost::default();
        let mut scopes: Vec<ByHost<'_, Scope>> = Vec::new();
        let mut decides = false;
        for (place, listener) in listeners.iter().enumerate() {
            by_listener.entry(Key::new(listener.hostname.as_ref()), || place);
            let built = self.listener(listener, routes_of(listener), snapshot, plans, now);
            let (of_names, of_suffixes) = built.texts();
            names.extend(of_names);
            suffixes.extend(of_suffixes);
            scopes.push(built.map(|building| self.scope(building, found, &mut decides, tables)));
        }
        let (of_names, of_suffixes) = by_listener.texts();
        names.extend(of_names);
        suffixes.extend(of_suffixes);
        let hosts = names.len() + suffixes.len() + 1;
        let number = match self.sockets.get(&socket) {
            Some((number, _)) if decides && tables.hosts.len() + hosts <= HOSTS_MAX => number,
            _ => return 0,
        };
        let chain = |class: Class<'_>| {
            let listener = by_listener.find(class).next().and_then(|&place| scopes.get(place));
            listener.map_or([0; SCOPES_MAX], |scopes| chain(scopes.find(class)))
        };
        tables.hosts.extend(records(number, &names, &suffixes, chain));
        number
    }

    /// Sorts the matches of a listener's routes by host.
    fn listener<'s>(
        &mut self,
        listener: &Listener,
        routes: &[usize],
        snapshot: &'s Snapshot,
        plans: &[Result<Plan, Why>],
        now: Duration,
    ) -> ByHost<'s, Building> {
        let mut all: ByHost<'s, Building> = ByHost::default();
        let attached =
            || routes.iter().filter_map(|&at| Some((at, snapshot.routes.get(at)?, plans.get(at)?)));
        let one_label: BTreeSet<_> =
            attached().flat_map(|(_, route, _)| &route.hosts).map(|host| Key::new(Some(host))).collect();
        for (at, route, plan) in attached() {
            let mut keys: BTreeSet<Key<'s>> = route.hosts.iter().map(|host| Key::new(Some(host))).collect();
            // One label is one or more as well: where a suffix has routes of both kinds, they compete for such hosts.
            let both = |key: &Key<'s>| match *key {
                Key::More(suffix) if one_label.contains(&Key::One(suffix)) => Some(Key::One(suffix)),
                _ => None,
            };
            let more: Vec<_> = keys.iter().filter_map(both).collect();
            keys.extend(more);
            if keys.is_empty() {
                keys.insert(Key::Any);
            }
            let forwards = route.forwarded_headers && listener.forwarded_headers;
            let action =
                plan.as_ref().map_err(|&why| why).and_then(|plan| self.action(route, plan, forwards));
            let matches: Vec<CompiledMatch<'_>> = match route.matches.as_slice() {
                [] => vec![candidates::every(at, action)],
                matches => matches
                    .iter()
                    .enumerate()
                    .map(|(index, one)| candidates::compile(one, (at, index), action, &mut self.names, now))
                    .collect(),
            };
            for key in keys {
                let building = all.entry(key, Building::default);
                for one in &matches {
                    building.matches.push((at, one.why));
                    if let Some(spec) = &one.spec {
                        building.scope.add(one.place, one.rank, spec.clone());
                    }
                }
            }
        }
        all
    }

    /// The index of what the kernel does with a route's requests.
    fn action(&mut self, route: &Route, plan: &Plan, forwards: bool) -> Result<u32, Why> {
        let mut index = |backend: &Option<_>| {
            backend.as_ref().and_then(|key| self.pool.backend(key)).unwrap_or(WeightedBackend::TIER3)
        };
        let shares = plan.shares.iter().map(|(weight, backend)| (*weight, index(backend))).collect();
        let flags = if forwards { RouteAction::FORWARDED_HEADERS } else { 0 };
        let key = ActionKey { route: route.id.clone(), flags, shares };
        let (index, is_new) = self.actions.get(&key).ok_or(Why::Full)?;
        if is_new {
            self.generations.insert(index, self.pool.next());
        }
        Ok(index)
    }

    /// Writes a scope down, unless there is one like it.
    fn scope(
        &mut self,
        building: Building,
        found: &mut [Found],
        decides: &mut bool,
        tables: &mut Tables,
    ) -> Scope {
        let spec = Arc::new(building.scope.finish());
        let is_last = spec.is_last();
        let placed = if spec.is_empty() { Some(0) } else { self.lowered(&spec, tables) };
        for (route, why) in building.matches {
            let why = if placed.is_none() { Some(Why::Full) } else { why };
            *decides |= why.is_none();
            note(found, route, why);
        }
        match placed {
            Some(id) => Scope { id, is_last },
            None => Scope { id: HostRecord::TIER3, is_last: true },
        }
    }

    fn lowered(&mut self, spec: &Arc<ScopeSpec>, tables: &mut Tables) -> Option<u32> {
        let (id, _) = self.scopes.get(spec)?;
        if !self.entries.contains_key(&id) {
            let (routes, prefixes) = (self.room.0 + spec.exact.len(), self.room.1 + spec.prefixes.len());
            if routes <= ROUTES_MAX && prefixes <= PREFIX_ROUTES_MAX {
                self.entries.insert(id, lower(spec, id, &mut self.pools)?);
                self.room = (routes, prefixes);
            }
        }
        add(tables, self.entries.get(&id)?);
        Some(id)
    }

    /// Writes down what only rests, and lets go of what has rested.
    fn finish(&mut self, now: Duration, tables: &mut Tables) -> Option<Duration> {
        let mut again =
            vec![self.sockets.finish(now).1, self.listeners.finish(now).1, self.names.finish(now)];
        again.push(self.pool.finish(now, tables));
        tables.names.extend(self.names.iter());
        for (key, index, _) in self.actions.iter() {
            let generation = self.generations.get(&index).copied().unwrap_or(0);
            tables.actions.insert(index, record(key, generation));
        }
        let (left, next) = self.actions.finish(now);
        for (_, index) in &left {
            self.generations.remove(index);
        }
        again.push(next);
        let (left, next) = self.scopes.finish(now);
        again.push(next);
        for (_, id) in left {
            if let Some(entries) = self.entries.remove(&id) {
                self.pools.give_back(&entries);
            }
        }
        self.entries.values().for_each(|entries| add(tables, entries));
        if let Some(before) = &self.before {
            tables.add_missing(&before.tables);
            again.push(before.until);
        }
        again.into_iter().flatten().min()
    }

    /// Does something with every index that these tables take.
    fn taken(&mut self, tables: &Tables, each: impl Fn(&mut Numbers, u32)) {
        let scopes = tables.candidates.values().map(|candidate| candidate.scope);
        let scopes: BTreeSet<u32> =
            scopes.chain(tables.prefixes.keys().map(|key| key.scope)).filter(|&s| s != 0).collect();
        scopes.into_iter().for_each(|scope| each(self.scopes.numbers(), scope));
        let used = tables.candidates.iter().filter(|(_, candidate)| candidate.scope != 0);
        used.for_each(|(&at, _)| each(&mut self.pools.candidates, at));
        let used = tables.conditions.iter().filter(|(_, conditions)| conditions.scope != 0);
        used.for_each(|(&at, _)| each(&mut self.pools.conditions, at));
        let used = tables.actions.iter().filter(|(_, action)| action.generation != 0);
        used.for_each(|(&at, _)| each(self.actions.numbers(), at));
        let used = tables.backends.iter().filter(|(_, backend)| backend.serial != 0);
        used.for_each(|(&at, _)| each(self.pool.backends.numbers(), at));
        let used = tables.maglev.iter().filter(|(_, table)| table.serial != 0);
        used.for_each(|(&at, _)| each(self.pool.maglev.numbers(), at));
        let sockets: BTreeSet<u32> = tables.hosts.keys().map(|key| key.socket).collect();
        sockets.into_iter().for_each(|socket| each(self.sockets.numbers(), socket));
    }
}

/// The scopes to try, in order.
fn chain<'s>(scopes: impl Iterator<Item = &'s Scope>) -> [u32; SCOPES_MAX] {
    let (mut all, mut used) = ([0; SCOPES_MAX], 0);
    for scope in scopes.filter(|scope| scope.id != 0) {
        match all.get_mut(used) {
            Some(place) => *place = scope.id,
            None => {
                all[SCOPES_MAX - 1] = HostRecord::TIER3;
                break;
            }
        }
        used += 1;
        if scope.is_last {
            break;
        }
    }
    all
}

/// The places of the routes of each listener, ascending.
fn attached(snapshot: &Snapshot) -> HashMap<&ListenerId, Vec<usize>> {
    let mut attached: HashMap<&ListenerId, Vec<usize>> = HashMap::new();
    for (at, route) in snapshot.routes.iter().enumerate() {
        for id in &route.listeners {
            let places = attached.entry(id).or_default();
            if places.last() != Some(&at) {
                places.push(at);
            }
        }
    }
    attached
}

/// The listeners of each socket, by id.
fn sockets(snapshot: &Snapshot) -> BTreeMap<Socket, Vec<&Listener>> {
    let mut sockets: BTreeMap<Socket, Vec<&Listener>> = BTreeMap::new();
    for listener in snapshot.listeners.values() {
        let addresses: BTreeSet<_> =
            listener.addresses.iter().map(|address| Some(address.to_canonical())).collect();
        let addresses = if addresses.is_empty() { BTreeSet::from([None]) } else { addresses };
        for address in addresses {
            sockets.entry((address, listener.port)).or_default().push(listener);
        }
    }
    sockets
}

/// The addresses that clients reach a socket at through a device.
fn concrete(socket: Socket, all: &BTreeMap<Socket, Vec<&Listener>>, facts: &Facts) -> Vec<IpAddr> {
    let (address, port) = socket;
    let ours = facts.addresses.iter().map(|address| address.to_canonical());
    let addresses: Vec<IpAddr> = match address {
        Some(address) => vec![address],
        None => ours.filter(|address| !all.contains_key(&(Some(*address), port))).collect(),
    };
    addresses.into_iter().filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
}

fn note(found: &mut [Found], route: usize, why: Option<Why>) {
    if let Some(found) = found.get_mut(route) {
        found.in_kernel |= why.is_none();
        found.why = found.why.or(why);
    }
}

fn placement(route: &Route, plan: &Result<Plan, Why>, found: Found) -> RoutePlacement {
    let (tier, reason) = match plan {
        Err(why) => (Tier::Userspace, Some(*why)),
        Ok(plan) if !plan.serves => (Tier::Userspace, plan.partly),
        Ok(_) if !found.in_kernel => (Tier::Userspace, Some(found.why.unwrap_or(Why::NoListener))),
        Ok(plan) => {
            let instead = (route.tier == Some(Tier::Xdp)).then_some(Why::TcInstead);
            (Tier::Tc, found.why.or(plan.partly).or(instead))
        }
    };
    RoutePlacement { route: route.id.clone(), tier, asked: route.tier, reason }
}

fn record(key: &ActionKey, generation: u32) -> RouteAction {
    let unused = WeightedBackend { up_to: u32::MAX, backend: WeightedBackend::TIER3 };
    let mut record = RouteAction {
        flags: key.flags,
        generation,
        backends: [unused; ROUTE_BACKENDS_MAX],
        ..RouteAction::default()
    };
    for (place, (weight, backend)) in record.backends.iter_mut().zip(&key.shares) {
        record.total += weight;
        record.backends_used += 1;
        *place = WeightedBackend { up_to: record.total, backend: *backend };
    }
    record
}

fn add(tables: &mut Tables, entries: &Entries) {
    tables.routes.extend(entries.routes.iter().map(|(key, record)| (*key, *record)));
    tables.prefixes.extend(entries.prefixes.iter().copied());
    tables.candidates.extend(entries.candidates.iter().copied());
    tables.conditions.extend(entries.conditions.iter().copied());
}

/// Sizes of maps are small.
fn end(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}
