//! What a compilation takes over from the one before: all that follows from the same records.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Action, BackendId, BackendTarget, Listener, ListenerId, Route};
use wire::HOST_MAX;

use super::site::{Host, Member, Site, keys, one_label};
use super::{Compiler, Job};
use crate::Why;
use crate::actions::{Status, Statuses};
use crate::hosts::{Class, Key, of_name};

/// The compilation before.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) sites: Vec<Site>,
    listeners: BTreeMap<ListenerId, Arc<Listener>>,
    statuses: BTreeMap<BackendId, Status>,
    forwarding: bool,
    userspace: Option<Why>,
    addresses: Vec<IpAddr>,
}

impl Kept {
    pub(super) fn new(sites: Vec<Site>, job: &Job<'_>) -> Self {
        let owned = |(id, status): (&&BackendId, &Status)| ((*id).clone(), *status);
        Self {
            routes: job.snapshot.routes.clone(),
            sites,
            listeners: job.snapshot.listeners.clone(),
            statuses: job.statuses.iter().map(owned).collect(),
            forwarding: job.facts.forwarding,
            userspace: job.facts.userspace,
            addresses: job.facts.addresses.clone(),
        }
    }

    fn has_the_same_frame(&self, job: &Job<'_>) -> bool {
        self.listeners == job.snapshot.listeners
            && self.forwarding == job.facts.forwarding
            && self.userspace == job.facts.userspace
            && self.addresses == job.facts.addresses
    }

    /// Routes that are no more, and those that are new or to be planned anew. Both hold what has changed.
    fn changes(&self, job: &Job<'_>) -> (Vec<Arc<Route>>, Vec<Arc<Route>>) {
        let changed = changed(&self.statuses, job.statuses);
        let names_changed =
            |route: &Route| !changed.is_empty() && names(route).any(|id| changed.contains(id));
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let (mut old, mut now) = (self.routes.iter().peekable(), job.snapshot.routes.iter().peekable());
        loop {
            let order = match (old.peek(), now.peek()) {
                (None, None) => return (gone, new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) if Arc::ptr_eq(a, b) && !names_changed(a) => {
                    old.next();
                    now.next();
                    continue;
                }
                (Some(a), Some(b)) => a.precedence().cmp(&b.precedence()),
            };
            if order != Ordering::Greater {
                gone.extend(old.next().cloned());
            }
            if order != Ordering::Less {
                new.extend(now.next().cloned());
            }
        }
    }
}

/// The backends that a route names.
fn names(route: &Route) -> impl Iterator<Item = &BackendId> {
    let shares = match &route.action {
        Action::Forward(shares) => shares.as_slice(),
        Action::Respond { .. } | Action::Redirect(_) => &[],
    };
    shares.iter().filter_map(|share| match &share.target {
        BackendTarget::Backend(id) => Some(id),
        BackendTarget::Invalid(_) => None,
    })
}

fn changed<'s>(old: &'s BTreeMap<BackendId, Status>, new: &Statuses<'s>) -> BTreeSet<&'s BackendId> {
    let is_other = |(id, status): &(&BackendId, &Status)| old.get(*id) != Some(*status);
    let others = new.iter().map(|(id, status)| (*id, status)).filter(is_other).map(|(id, _)| id);
    others.chain(old.keys().filter(|id| !new.contains_key(*id))).collect()
}

fn matches_headers(route: &Route) -> bool {
    route.matches.iter().any(|one| !one.headers.is_empty())
}

impl Compiler {
    /// Compiles what has changed since `kept`. None if all is to be compiled: where listeners or the host changed, names of
    /// headers come or go, something is full, or a suffix stands for one label, which moves routes of others.
    pub(super) fn go_on(&mut self, mut kept: Kept, job: &Job<'_>) -> Option<Kept> {
        if self.before.is_some() || self.is_unsettled || !kept.has_the_same_frame(job) {
            return None;
        }
        let (gone, new) = kept.changes(job);
        let is_special = |route: &Arc<Route>| {
            matches_headers(route) || route.hosts.iter().any(|host| one_label(host).is_some())
        };
        let mut listeners = kept.sites.iter().flat_map(|site| &site.listeners);
        if gone.iter().chain(&new).any(is_special) || listeners.any(|one| one.hosts.has_one_label()) {
            return None;
        }
        let mut names = vec![BTreeSet::new(); kept.sites.len()];
        let mut wide = vec![false; kept.sites.len()];
        for (site, (names, wide)) in kept.sites.iter_mut().zip(names.iter_mut().zip(&mut wide)) {
            each(site, &gone, |hosts, route, _| {
                for key in keys(route, &BTreeSet::new()) {
                    if let Some(host) = hosts.get_mut(key) {
                        host.members.retain(|member| !Arc::ptr_eq(&member.route, route));
                        host.is_stale = true;
                        if host.members.is_empty() {
                            hosts.remove(key);
                        }
                    }
                    note(key, names, wide);
                }
            });
        }
        // Before anything new asks: what stays keeps its place.
        kept.sites.iter().for_each(|site| self.touch(site));
        self.names.touch_all();
        for (site, (names, wide)) in kept.sites.iter_mut().zip(names.iter_mut().zip(&mut wide)) {
            each(site, &new, |hosts, route, listener| {
                let member = self.member(route, listener, job);
                for key in keys(route, &BTreeSet::new()) {
                    let host: &mut Host = hosts.entry(key, Host::default);
                    let earlier = |other: &Member| other.route.precedence() < route.precedence();
                    let at = host.members.partition_point(earlier);
                    host.members.insert(at, member.clone());
                    host.is_stale = true;
                    note(key, names, wide);
                }
            });
            for one in &mut site.listeners {
                if *wide {
                    one.hosts
                        .values_mut()
                        .filter(|host| host.is_stale)
                        .for_each(|host| self.rebuild(host, job));
                    continue;
                }
                for name in names.iter() {
                    if let Some(host) = one.hosts.get_mut(Key::Exact(name)).filter(|host| host.is_stale) {
                        self.rebuild(host, job);
                    }
                }
            }
        }
        for (site, (names, wide)) in kept.sites.iter().zip(names.iter().zip(wide)) {
            if site.is_http && site.decides() != (site.number != 0) {
                return None;
            }
            if site.number != 0 {
                self.exchange(site, names, wide)?;
            }
        }
        Some(Kept::new(kept.sites, job))
    }

    /// Asks again for all that a site has.
    fn touch(&mut self, site: &Site) {
        if site.is_http {
            self.sockets.get(&site.socket);
        }
        for host in site.listeners.iter().flat_map(|one| one.hosts.values()) {
            if !host.is_stale {
                self.scopes.touch(host.scope);
            }
            for action in host.members.iter().filter_map(|member| member.action.ok()) {
                self.actions.touch(action);
                for share in self.actions.key(action).map(|key| key.shares.as_slice()).unwrap_or_default() {
                    self.pool.backends.touch(share.backend);
                }
            }
        }
    }

    /// Writes the records of these names down; `wide`: all records of the site. None if there may be too many.
    fn exchange(&mut self, site: &Site, names: &BTreeSet<Arc<str>>, wide: bool) -> Option<()> {
        let by_name = site.by_name();
        if wide {
            let first = wire::HostKey { bits: 0, socket: site.number, text: [0; HOST_MAX + 1], pad: 0 };
            let old: Vec<_> =
                self.hosts.now().keys().filter(|key| key.socket == first.socket).copied().collect();
            let new: BTreeMap<_, _> = site.records().into_iter().collect();
            old.iter().filter(|key| !new.contains_key(*key)).for_each(|key| self.hosts.remove(key));
            new.into_iter().for_each(|(key, record)| self.hosts.put(key, record));
        } else {
            for name in names.iter().filter(|name| name.len() <= HOST_MAX) {
                let (key, record) = of_name(site.number, name, site.chain(&by_name, Class::Exact(name)));
                let is_named =
                    site.listeners.iter().any(|one| one.hosts.has_name(name)) || by_name.has_name(name);
                if is_named {
                    self.hosts.put(key, record);
                } else {
                    self.hosts.remove(&key);
                }
            }
        }
        (self.hosts.now().len() <= self.sizes.hosts as usize).then_some(())
    }
}

/// Shows each of these routes with each listener of the site that has it.
fn each(
    site: &mut Site,
    routes: &[Arc<Route>],
    mut see: impl FnMut(&mut crate::hosts::ByHost<Host>, &Arc<Route>, &Listener),
) {
    if !site.is_http {
        return;
    }
    for one in &mut site.listeners {
        for route in routes.iter().filter(|route| route.listeners.contains(&one.listener.id)) {
            see(&mut one.hosts, route, &one.listener);
        }
    }
}

fn note(key: Key<'_>, names: &mut BTreeSet<Arc<str>>, wide: &mut bool) {
    match key {
        Key::Exact(name) => drop(names.insert(Arc::clone(name))),
        Key::Any | Key::One(_) | Key::More(_) => *wide = true,
    }
}
