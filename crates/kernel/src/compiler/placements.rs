//! Which tier each route got.

use std::collections::HashMap;

use model::{Protocol, Route, Snapshot, Tier};

use super::Compiler;
use super::inputs::attached;
use super::site::Site;
use crate::actions::{BackendKey, Plan, plan, statuses};
use crate::{Facts, RoutePlacement, Why};

/// What is known of a route's tier.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    in_kernel: bool,
    why: Option<Why>,
}

impl Compiler {
    /// The tier of each route of the snapshot that was compiled last, by place in `snapshot.routes`; `facts` as then.
    pub fn placements(&self, snapshot: &Snapshot, facts: &Facts) -> Vec<RoutePlacement> {
        let found = self.found(snapshot);
        let statuses = statuses(snapshot, facts);
        let routes = snapshot.routes.iter().zip(found);
        let is_full = |key: &BackendKey| self.pool.is_full(key);
        routes
            .map(|(route, found)| placement(route, &plan(route, &statuses, facts), found, is_full))
            .collect()
    }

    fn found(&self, snapshot: &Snapshot) -> Vec<Found> {
        let mut found = vec![Found::default(); snapshot.routes.len()];
        let sites = self.kept.iter().flat_map(|kept| &kept.sites);
        let attached = attached(snapshot);
        let places: HashMap<*const Route, usize> = snapshot
            .routes
            .iter()
            .enumerate()
            .map(|(at, route)| (std::ptr::from_ref(&**route), at))
            .collect();
        for site in sites {
            for one in site.listeners.iter().filter(|_| !site.is_http) {
                let why = match one.listener.protocol {
                    _ if one.listener.proxy_protocol => Why::ProxyProtocol,
                    Protocol::Http => Why::SharedPort,
                    _ => Why::Tls,
                };
                for at in attached.get(&one.listener.id).into_iter().flatten() {
                    note(&mut found, *at, Some(why));
                }
            }
            each_match(site, |route, why| {
                if let Some(at) = places.get(&std::ptr::from_ref(route)) {
                    note(&mut found, *at, why);
                }
            });
        }
        found
    }
}

fn each_match(site: &Site, mut see: impl FnMut(&Route, Option<Why>)) {
    for host in site.listeners.iter().flat_map(|one| one.hosts.values()) {
        for (at, why) in &host.whys {
            if let Some(member) = host.members.get(*at) {
                see(&member.route, *why);
            }
        }
    }
}

fn note(found: &mut [Found], route: usize, why: Option<Why>) {
    if let Some(found) = found.get_mut(route) {
        found.in_kernel |= why.is_none();
        found.why = found.why.or(why);
    }
}

fn placement(
    route: &Route,
    plan: &Result<Plan, Why>,
    found: Found,
    is_full: impl Fn(&BackendKey) -> bool,
) -> RoutePlacement {
    let shares = || plan.iter().flat_map(|plan| &plan.shares).filter_map(|share| share.backend.as_ref());
    let full = shares().any(&is_full).then_some(Why::Full);
    let (tier, reason) = match plan {
        Err(why) => (Tier::Userspace, Some(*why)),
        Ok(plan) if !plan.serves => (Tier::Userspace, plan.partly),
        Ok(_) if !found.in_kernel => (Tier::Userspace, Some(found.why.unwrap_or(Why::NoListener))),
        Ok(_) if shares().all(&is_full) => (Tier::Userspace, full),
        Ok(plan) => {
            let instead = (route.tier == Some(Tier::Xdp)).then_some(Why::TcInstead);
            (Tier::Tc, found.why.or(plan.partly).or(full).or(instead))
        }
    };
    RoutePlacement { route: route.id.clone(), tier, asked: route.tier, reason }
}
