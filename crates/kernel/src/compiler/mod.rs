//! The compiler: what it keeps from one snapshot to the next.

mod inputs;
mod rest;
mod socket;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{BackendId, ListenerId, Route, RouteId, Snapshot, Tier};
use wire::{
    CANDIDATES_MAX, HEADER_CONDITIONS_MAX, HostRecord, LISTENERS_MAX, ListenerKey, ROUTE_ACTIONS_MAX, Vip,
    WeightedBackend,
};

use crate::actions::{Plan, plan};
use crate::balancing::{Pool, mapped};
use crate::ids::{Ids, Numbers};
use crate::lower::{Entries, Pools};
use crate::names::Names;
use crate::scope::ScopeSpec;
use crate::{Facts, RoutePlacement, Tables, Why};
use inputs::{attached, concrete, sockets};

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
    /// As in the record, with weights in place of their sums.
    shares: Vec<WeightedBackend>,
}

/// What the maps held when the agent started.
#[derive(Debug)]
struct Before {
    tables: Tables,
    until: Option<Duration>,
}

/// One compilation.
struct Job<'s> {
    snapshot: &'s Snapshot,
    /// By place in `snapshot.routes`.
    plans: Vec<Result<Plan, Why>>,
    attached: HashMap<&'s ListenerId, Vec<usize>>,
    now: Duration,
    /// By place in `snapshot.routes`.
    found: Vec<Found>,
    tables: Tables,
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

    /// Compiles a snapshot. `now` is a time that only grows.
    pub fn compile(&mut self, snapshot: &Snapshot, facts: &Facts, now: Duration) -> Compiled {
        self.begin(now);
        let plans: Vec<_> = snapshot.routes.iter().map(|route| plan(route, snapshot, facts)).collect();
        let found = vec![Found::default(); plans.len()];
        let attached = attached(snapshot);
        let mut job = Job { snapshot, plans, attached, now, found, tables: Tables::default() };
        let sockets = sockets(snapshot);
        for (&socket, listeners) in &sockets {
            let number = self.socket(socket, listeners, &mut job);
            let Some((listener, _)) = self.listeners.get(&socket) else { continue };
            let inserts = listeners.iter().any(|listener| listener.forwarded_headers);
            let flags = if inserts { Vip::FORWARDED_HEADERS } else { 0 };
            for address in concrete(socket, &sockets, facts) {
                let key = ListenerKey::tcp(mapped(address), socket.1.to_be_bytes());
                job.tables.vips.insert(key, Vip { socket: number, listener, flags });
            }
        }
        self.pool.compile(snapshot, facts, &mut job.tables);
        let again = self.finish(now, &mut job.tables);
        let placements = snapshot.routes.iter().zip(&job.plans).zip(&job.found);
        Compiled {
            placements: placements.map(|((route, plan), found)| placement(route, plan, *found)).collect(),
            tables: job.tables,
            routes: self.actions.iter().map(|(key, index, _)| (index, key.route.clone())).collect(),
            backends: self.pool.backends.iter().map(|((id, _), index, _)| (index, id.clone())).collect(),
            listeners: self.listeners.iter().map(|(socket, index, _)| (index, *socket)).collect(),
            again,
        }
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

/// Sizes of maps are small.
fn end(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}
