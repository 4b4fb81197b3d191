//! The hosts of a socket: what its listeners' routes compile to.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{HostPattern, Listener, Protocol, Route, WildcardLabels};
use wire::{HostKey, HostRecord, RouteAction, SCOPES_MAX, WeightedBackend};

use super::inputs::attached;
use super::{ActionKey, Compiler, Job, Socket};
use crate::actions::{Plan, plan};
use crate::candidates::{self, Compiled as CompiledMatch};
use crate::hosts::{ByHost, Class, Key, records};
use crate::lower::lower;
use crate::scope::{ScopeBuilder, ScopeSpec};
use crate::{Map, Why};

/// An address and port, and what is decided there.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) socket: Socket,
    /// By id.
    pub(super) listeners: Vec<ListenerHosts>,
    /// Whether all of its listeners speak cleartext HTTP; otherwise userspace has it.
    pub(super) is_http: bool,
    /// In records; 0: the kernel has nothing to decide there.
    pub(super) number: u32,
}

/// A listener's routes by host.
#[derive(Debug)]
pub(super) struct ListenerHosts {
    pub(super) listener: Arc<Listener>,
    pub(super) hosts: ByHost<Host>,
}

/// What a host pattern of a listener leads to.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// In order of precedence.
    pub(super) members: Vec<Member>,
    /// Of each match its member, and why userspace decides, if it does.
    pub(super) whys: Vec<(usize, Option<Why>)>,
    /// 0: nothing in it.
    pub(super) scope: u32,
    is_last: bool,
    pub(super) is_stale: bool,
}

/// A route of a host, and what the kernel does with its requests.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) route: Arc<Route>,
    pub(super) action: Result<u32, Why>,
}

impl Site {
    /// How many records of `HOSTS` it takes at most.
    pub(super) fn size(&self) -> usize {
        let (names, suffixes) = self.texts();
        names.len() + suffixes.len() + 1
    }

    /// Whether the kernel decides some request.
    pub(super) fn decides(&self) -> bool {
        let hosts = self.listeners.iter().flat_map(|one| one.hosts.values());
        hosts.flat_map(|host| &host.whys).any(|(_, why)| why.is_none())
    }

    /// Leaves all of it to userspace.
    pub(super) fn leave(&mut self, why: Why) {
        self.number = 0;
        let hosts = self.listeners.iter_mut().flat_map(|one| one.hosts.values_mut());
        hosts.flat_map(|host| &mut host.whys).for_each(|(_, found)| *found = Some(why));
    }

    /// Its records.
    pub(super) fn records(&self) -> Vec<(HostKey, HostRecord)> {
        let (names, suffixes) = self.texts();
        let by_name = self.by_name();
        records(self.number, &names, &suffixes, |class| self.chain(&by_name, class))
    }

    /// The places of its listeners by host name.
    pub(super) fn by_name(&self) -> ByHost<usize> {
        let mut by_name = ByHost::default();
        for (place, one) in self.listeners.iter().enumerate() {
            by_name.entry(Key::new(one.listener.hostname.as_ref()), || place);
        }
        by_name
    }

    /// The scopes to try for a class of hosts, in order.
    pub(super) fn chain(&self, by_name: &ByHost<usize>, class: Class<'_>) -> [u32; SCOPES_MAX] {
        let (mut all, mut used) = ([0; SCOPES_MAX], 0);
        let listener = by_name.find(class).next().and_then(|&place| self.listeners.get(place));
        let hosts = listener.map(|one| one.hosts.find(class)).into_iter().flatten();
        for host in hosts.filter(|host| host.scope != 0) {
            match all.get_mut(used) {
                Some(place) => *place = host.scope,
                None => {
                    all[SCOPES_MAX - 1] = HostRecord::TIER3;
                    break;
                }
            }
            used += 1;
            if host.is_last {
                break;
            }
        }
        all
    }

    fn texts(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let (mut names, mut suffixes) = (BTreeSet::new(), BTreeSet::new());
        for one in &self.listeners {
            let (of_names, of_suffixes) = one.hosts.texts();
            // Sorted as they come, they are taken over as a whole.
            names.append(&mut of_names.collect());
            suffixes.append(&mut of_suffixes.collect());
            match &one.listener.hostname {
                Some(HostPattern::Exact(name)) => drop(names.insert(&**name)),
                Some(HostPattern::Wildcard { suffix, .. }) => drop(suffixes.insert(&**suffix)),
                None => {}
            }
        }
        (names, suffixes)
    }
}

/// The host patterns under which a route is filed. `one_label`: suffixes that some route of the listener takes with one
/// label only.
pub(super) fn keys<'r>(route: &'r Route, one_label: &BTreeSet<&Arc<str>>) -> BTreeSet<Key<'r>> {
    let mut keys: BTreeSet<Key<'r>> = route.hosts.iter().map(|host| Key::new(Some(host))).collect();
    // One label is one or more as well: where a suffix has routes of both kinds, they compete for such hosts.
    let both = |key: &Key<'r>| match *key {
        Key::More(suffix) if one_label.contains(suffix) => Some(Key::One(suffix)),
        _ => None,
    };
    let more: Vec<_> = keys.iter().filter_map(both).collect();
    keys.extend(more);
    if keys.is_empty() {
        keys.insert(Key::Any);
    }
    keys
}

/// The suffix of a host pattern for names with one label in front of it alone.
pub(super) fn one_label(host: &HostPattern) -> Option<&Arc<str>> {
    match host {
        HostPattern::Wildcard { suffix, labels: WildcardLabels::One } => Some(suffix),
        _ => None,
    }
}

impl Compiler {
    /// All sites, from nothing.
    pub(super) fn sites(&mut self, job: &Job<'_>) -> Vec<Site> {
        let attached = attached(job.snapshot);
        let mut sites = Vec::new();
        for (socket, listeners) in super::inputs::sockets(job.snapshot) {
            let is_plain =
                |listener: &Listener| listener.protocol == Protocol::Http && !listener.proxy_protocol;
            let is_http = listeners.iter().all(|listener| is_plain(listener));
            let places =
                |listener: &Listener| attached.get(&listener.id).map(Vec::as_slice).unwrap_or_default();
            let listeners = listeners.into_iter().map(|listener| ListenerHosts {
                listener: Arc::clone(listener),
                hosts: if is_http { self.hosts(listener, places(listener), job) } else { ByHost::default() },
            });
            sites.push(Site { socket, listeners: listeners.collect(), is_http, number: 0 });
        }
        sites
    }

    fn hosts(&mut self, listener: &Listener, places: &[usize], job: &Job<'_>) -> ByHost<Host> {
        let mut all: ByHost<Host> = ByHost::default();
        let routes = || places.iter().filter_map(|&at| job.snapshot.routes.get(at));
        let one_label: BTreeSet<_> = routes().flat_map(|route| &route.hosts).filter_map(one_label).collect();
        for route in routes() {
            let member = self.member(route, listener, job);
            for key in keys(route, &one_label) {
                all.entry(key, Host::default).members.push(member.clone());
            }
        }
        all.values_mut().for_each(|host| self.rebuild(host, job));
        all
    }

    /// What the kernel does with a listener's requests of a route.
    pub(super) fn member(&mut self, route: &Arc<Route>, listener: &Listener, job: &Job<'_>) -> Member {
        let forwards = route.forwarded_headers && listener.forwarded_headers;
        let plan = plan(route, job.statuses, job.facts);
        let action = plan.and_then(|plan| self.action(route, &plan, forwards));
        Member { route: Arc::clone(route), action }
    }

    /// Compiles a host's routes to a scope, unless there is one like it.
    pub(super) fn rebuild(&mut self, host: &mut Host, job: &Job<'_>) {
        let (mut builder, mut whys, mut waits) = (ScopeBuilder::default(), Vec::new(), false);
        for (at, member) in host.members.iter().enumerate() {
            let mut add = |one: CompiledMatch<'_>| {
                whys.push((at, one.why));
                waits |= one.waits;
                if let Some(spec) = one.spec {
                    builder.add(one.place, one.rank, spec);
                }
            };
            match member.route.matches.as_slice() {
                [] => add(candidates::every(at, member.action)),
                matches => matches.iter().enumerate().for_each(|(index, one)| {
                    add(candidates::compile(one, (at, index), member.action, &mut self.names, job.now));
                }),
            }
        }
        let spec = Arc::new(builder.finish());
        let is_last = spec.is_last();
        let placed = if spec.is_empty() { Some(0) } else { self.lowered(&spec) };
        self.is_unsettled |= waits;
        (host.whys, host.is_stale) = (whys, false);
        (host.scope, host.is_last) = match placed {
            Some(scope) => (scope, is_last),
            None => {
                self.is_unsettled = true;
                host.whys.iter_mut().for_each(|(_, why)| *why = Some(Why::Full));
                (HostRecord::TIER3, true)
            }
        };
    }

    /// The index of what the kernel does with a route's requests.
    fn action(&mut self, route: &Route, plan: &Plan, forwards: bool) -> Result<u32, Why> {
        let mut is_full = false;
        let mut index = |backend: &Option<_>| {
            let found = backend.as_ref().map(|key| self.pool.backend(key));
            is_full |= found == Some(None);
            found.flatten().unwrap_or(WeightedBackend::TIER3)
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
        let mut flags = if forwards { RouteAction::FORWARDED_HEADERS } else { 0 };
        if route.affinity.keeps_backend() {
            flags |= RouteAction::AFFINITY;
        }
        if plan.copied_below != 0 {
            flags |= RouteAction::COPIED;
        }
        let key = ActionKey { route: route.id.clone(), flags, shares, copied_below: plan.copied_below };
        self.adopt_action(&key);
        let found = self.actions.get(&key);
        self.is_unsettled |= is_full;
        if found.is_none() {
            self.lacks(Map::RouteActions);
        }
        let (index, is_new) = found.ok_or(Why::Full)?;
        if is_new {
            self.generations.insert(index, self.pool.next());
            self.fresh_actions.push(index);
        }
        Ok(index)
    }

    fn lowered(&mut self, spec: &Arc<ScopeSpec>) -> Option<u32> {
        self.adopt_scope(spec);
        let (id, _) = self.scopes.get(spec)?;
        if !self.entries.contains_key(&id) {
            let (routes, prefixes) = (self.room.0 + spec.exact.len(), self.room.1 + spec.prefixes.len());
            let (candidates, conditions) = spec.sizes();
            let full = [
                (Map::Routes, routes > self.sizes.routes as usize),
                (Map::PrefixRoutes, prefixes > self.sizes.prefixes as usize),
                (Map::Candidates, candidates > self.pools.candidates.left()),
                (Map::HeaderConditions, conditions > self.pools.conditions.left()),
            ];
            full.iter().filter(|(_, is_full)| *is_full).for_each(|(map, _)| self.lacks(*map));
            if full.iter().all(|(_, is_full)| !is_full) {
                self.entries.insert(id, lower(spec, id, &mut self.pools)?);
                self.room = (routes, prefixes);
                self.fresh_scopes.push(id);
            }
        }
        self.entries.contains_key(&id).then_some(id)
    }
}
