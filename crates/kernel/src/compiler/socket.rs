//! From the listeners of a socket to the records of its hosts.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Listener, Protocol, Route};
use wire::{HOSTS_MAX, HostRecord, PREFIX_ROUTES_MAX, ROUTES_MAX, RouteAction, SCOPES_MAX, WeightedBackend};

use super::{ActionKey, Compiler, Found, Job, Socket};
use crate::Why;
use crate::actions::Plan;
use crate::candidates::{self, Compiled as CompiledMatch};
use crate::hosts::{ByHost, Class, Key, records};
use crate::lower::lower;
use crate::scope::{ScopeBuilder, ScopeSpec};

impl Compiler {
    /// Writes the hosts of a socket down; gives its number, 0 if the kernel has nothing to decide there.
    pub(super) fn socket(&mut self, socket: Socket, listeners: &[&Listener], job: &mut Job<'_>) -> u32 {
        if listeners.iter().any(|listener| listener.protocol != Protocol::Http) {
            for listener in listeners {
                let why = if listener.protocol == Protocol::Http { Why::SharedPort } else { Why::Tls };
                for at in job.attached.get(&listener.id).into_iter().flatten() {
                    note(&mut job.found, *at, Some(why));
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
            let built = self.listener(listener, job);
            let (of_names, of_suffixes) = built.texts();
            names.extend(of_names);
            suffixes.extend(of_suffixes);
            scopes.push(built.map(|building| self.scope(building, job, &mut decides)));
        }
        let (of_names, of_suffixes) = by_listener.texts();
        names.extend(of_names);
        suffixes.extend(of_suffixes);
        let hosts = names.len() + suffixes.len() + 1;
        let number = match self.sockets.get(&socket) {
            Some((number, _)) if decides && job.tables.hosts.len() + hosts <= HOSTS_MAX => number,
            _ => return 0,
        };
        let chain = |class: Class<'_>| {
            let listener = by_listener.find(class).next().and_then(|&place| scopes.get(place));
            listener.map_or([0; SCOPES_MAX], |scopes| chain(scopes.find(class)))
        };
        job.tables.hosts.extend(records(number, &names, &suffixes, chain));
        number
    }

    /// Sorts the matches of a listener's routes by host.
    fn listener<'s>(&mut self, listener: &Listener, job: &Job<'s>) -> ByHost<'s, Building> {
        let mut all: ByHost<'s, Building> = ByHost::default();
        let (routes, snapshot) = (job.attached.get(&listener.id), job.snapshot);
        let attached = || {
            let places = routes.into_iter().flatten();
            places.filter_map(|&at| Some((at, snapshot.routes.get(at)?, job.plans.get(at)?)))
        };
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
                    .map(|(index, one)| {
                        candidates::compile(one, (at, index), action, &mut self.names, job.now)
                    })
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
        let shares: Vec<_> = plan
            .shares
            .iter()
            .map(|share| WeightedBackend {
                up_to: share.weight,
                backend: index(&share.backend),
                affinity_s: share.affinity_s,
            })
            .collect();
        self.pool.keep(shares.iter().filter(|share| share.affinity_s != 0).map(|share| share.backend));
        let mut flags = if forwards { RouteAction::FORWARDED_HEADERS } else { 0 };
        if route.affinity.keeps_backend() {
            flags |= RouteAction::AFFINITY;
        }
        let key = ActionKey { route: route.id.clone(), flags, shares };
        let (index, is_new) = self.actions.get(&key).ok_or(Why::Full)?;
        if is_new {
            self.generations.insert(index, self.pool.next());
        }
        Ok(index)
    }

    /// Writes a scope down, unless there is one like it.
    fn scope(&mut self, building: Building, job: &mut Job<'_>, decides: &mut bool) -> Scope {
        let spec = Arc::new(building.scope.finish());
        let is_last = spec.is_last();
        let placed = if spec.is_empty() { Some(0) } else { self.lowered(&spec) };
        for (route, why) in building.matches {
            let why = if placed.is_none() { Some(Why::Full) } else { why };
            *decides |= why.is_none();
            note(&mut job.found, route, why);
        }
        match placed {
            Some(id) => Scope { id, is_last },
            None => Scope { id: HostRecord::TIER3, is_last: true },
        }
    }

    fn lowered(&mut self, spec: &Arc<ScopeSpec>) -> Option<u32> {
        let (id, _) = self.scopes.get(spec)?;
        if !self.entries.contains_key(&id) {
            let (routes, prefixes) = (self.room.0 + spec.exact.len(), self.room.1 + spec.prefixes.len());
            if routes <= ROUTES_MAX && prefixes <= PREFIX_ROUTES_MAX {
                self.entries.insert(id, lower(spec, id, &mut self.pools)?);
                self.room = (routes, prefixes);
            }
        }
        self.entries.contains_key(&id).then_some(id)
    }
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

fn note(found: &mut [Found], route: usize, why: Option<Why>) {
    if let Some(found) = found.get_mut(route) {
        found.in_kernel |= why.is_none();
        found.why = found.why.or(why);
    }
}
