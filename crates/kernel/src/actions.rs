use std::collections::HashMap;
use std::net::SocketAddr;

use balance::Copies;
use model::{
    Action, Affinity, AppProtocol, Backend, BackendId, BackendSecurity, BackendTarget, Balancing, Filters,
    ObjectKind, ProxyProtocol, Route, Snapshot, Tier,
};
use wire::{MAGLEV_SLOTS_MAX, ROUTE_BACKENDS_MAX};

use crate::{Facts, Reach, Why};

/// A backend as the kernel sees it: the Maglev table has the size that the route asks for.
pub(crate) type BackendKey = (BackendId, u32);

/// A backend of a route.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Above 0.
    pub(crate) weight: u32,
    /// None: userspace's.
    pub(crate) backend: Option<BackendKey>,
    /// For how many seconds a client keeps its endpoint; 0: it does not.
    pub(crate) affinity_s: u32,
}

/// What the kernel does with the requests of a route.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shares: Vec<Share>,
    /// Requests with a lot below are copied, which is userspace's work; 0: none.
    pub(crate) copied_below: u32,
    /// Why a part is userspace's.
    pub(crate) partly: Option<Why>,
    /// Whether the kernel reaches some backend now. (The tables follow the endpoints without a new route.)
    pub(crate) serves: bool,
}

/// What routes need to know of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    speaks_http1: bool,
    /// How its clients keep their endpoint, where the route does not say it.
    affinity: Option<Affinity>,
    /// How its endpoints are chosen, where it says it itself.
    balancing: Option<Balancing>,
    /// Whether that is by something of each request.
    hashes_requests: bool,
    /// Why its policy is userspace's, if it is.
    policed: Option<Why>,
    /// Why userspace serves it, if it does.
    unreachable: Option<Why>,
}

/// The status of each backend.
pub(crate) type Statuses<'s> = HashMap<&'s BackendId, Status>;

/// What routes need to know of each backend.
pub(crate) fn statuses<'s>(snapshot: &'s Snapshot, facts: &Facts) -> Statuses<'s> {
    let status = |backend: &Backend| Status {
        speaks_http1: speaks_plainly(backend),
        affinity: backend.affinity,
        balancing: backend.policy.as_ref().and_then(|policy| policy.balancing),
        hashes_requests: backend.policy.as_ref().is_some_and(|policy| policy.hash_by.is_some()),
        policed: policed(backend),
        unreachable: unreachable(backend, facts),
    };
    snapshot.backends.iter().map(|(id, backend)| (id, status(backend))).collect()
}

/// Says what the kernel does with a route, whatever its matches are.
pub(crate) fn plan(route: &Route, statuses: &Statuses<'_>, facts: &Facts) -> Result<Plan, Why> {
    if !facts.forwarding {
        return Err(Why::ForwardingOff);
    }
    if route.tier == Some(Tier::Userspace) {
        return Err(Why::Asked);
    }
    if let Some(why) = facts.userspace {
        return Err(why);
    }
    if route.id.object.kind == ObjectKind::GrpcRoute {
        return Err(Why::Protocol);
    }
    if !route.policies.is_empty() {
        return Err(Why::RoutePolicy);
    }
    let Action::Forward(backends) = &route.action else { return Err(Why::Respond) };
    if backends.iter().any(|one| !one.filters.is_empty()) {
        return Err(Why::Filters);
    }
    let copied_below = copied_below(&route.filters)?;
    if !route.timeouts.is_empty() {
        return Err(Why::Timeouts);
    }
    if route.retry.is_some() {
        return Err(Why::Retry);
    }
    // Who has no endpoint is userspace's in any case, and so are its requests that go to a default backend.
    if route.fallback.as_ref().is_some_and(|fallback| !fallback.statuses.is_empty()) {
        return Err(Why::Errors);
    }
    if route.session.is_some() {
        return Err(Why::Session);
    }
    let weighted: Vec<_> = backends.iter().filter(|one| one.weight > 0).collect();
    let total = weighted.iter().try_fold(0u32, |sum, one| sum.checked_add(one.weight));
    if weighted.len() > ROUTE_BACKENDS_MAX || total.is_none() {
        return Err(Why::ManyBackends);
    }
    let (mut shares, mut partly, mut serves) = (Vec::new(), None, false);
    for one in weighted {
        let mut affinity_s = 0;
        let target = match &one.target {
            BackendTarget::Invalid(_) => Err(Why::InvalidBackend),
            BackendTarget::Backend(id) => match statuses.get(id) {
                None => Err(Why::InvalidBackend),
                Some(status) if !status.speaks_http1 => Err(Why::Protocol),
                Some(status) => table_size(route, status).map(|table_size| {
                    // Endpoints come and go: that is for the backend's record to say, not for the route's.
                    let now = status.unreachable;
                    serves |= now.is_none();
                    partly = partly.or(now);
                    affinity_s = route.affinity.within(status.affinity).map_or(0, Affinity::seconds);
                    (id.clone(), table_size)
                }),
            },
        };
        partly = partly.or(target.as_ref().err().copied());
        shares.push(Share { weight: one.weight, backend: target.ok(), affinity_s });
    }
    if shares.iter().all(|share| share.backend.is_none()) {
        return Err(partly.unwrap_or(Why::NoBackend));
    }
    if copied_below != 0 {
        partly = partly.or(Some(Why::Copies));
    }
    Ok(Plan { shares, copied_below, partly, serves })
}

/// Requests with a lot below are copied by these filters. If they do anything else, or copy every request, the route is userspace's.
fn copied_below(filters: &Filters) -> Result<u32, Why> {
    if !filters.only_copy() {
        return Err(Why::Filters);
    }
    let shares = filters.mirrors.iter().map(|mirror| (mirror.numerator, mirror.denominator));
    u32::try_from(Copies::new(shares).below()).map_err(|_| Why::Filters)
}

/// The size of the table that chooses among the backend's endpoints, if one does that the kernel may have.
fn table_size(route: &Route, status: &Status) -> Result<u32, Why> {
    if let Some(why) = status.policed {
        return Err(why);
    }
    let Balancing::Maglev { table_size } = status.balancing.unwrap_or(route.balancing) else {
        return Err(Why::Balancing);
    };
    let is_large = usize::try_from(table_size).is_ok_and(|size| size > MAGLEV_SLOTS_MAX);
    match (status.hashes_requests, is_large) {
        (true, _) => Err(Why::Balancing),
        (_, true) => Err(Why::TableSize),
        _ => Ok(table_size),
    }
}

/// What a backend asks for that takes somebody who writes text first, sees whole answers, counts what is under way, or looks at the time.
fn policed(backend: &Backend) -> Option<Why> {
    if backend.proxy_protocol == Some(ProxyProtocol::V1) {
        return Some(Why::ToldInText);
    }
    let policy = backend.policy.as_deref()?;
    match (&policy.limits, &policy.outliers, &policy.slow_start) {
        (Some(_), _, _) => Some(Why::CircuitBreaker),
        (None, Some(_), _) => Some(Why::OutlierDetection),
        (None, None, Some(_)) => Some(Why::SlowStart),
        (None, None, None) => None,
    }
}

/// Whether the endpoints take what the kernel has: HTTP/1.1 in cleartext.
fn speaks_plainly(backend: &Backend) -> bool {
    let versions = matches!(backend.protocol, AppProtocol::Http1 | AppProtocol::Negotiated);
    versions && backend.security == BackendSecurity::Cleartext
}

/// Why userspace serves a backend. All of its endpoints must be within the kernel's reach, or those that are would carry
/// the load of the others.
pub(crate) fn unreachable(backend: &Backend, facts: &Facts) -> Option<Why> {
    let mut takes = false;
    for endpoint in &backend.endpoints {
        if !endpoint.condition.takes_requests() || endpoint.weight == 0 {
            continue;
        }
        takes = true;
        let reach = |address: SocketAddr| facts.endpoints.get(&address.ip().to_canonical());
        // One of two addresses is enough.
        if endpoint.addresses().any(|address| matches!(reach(address), Some(Reach::From { .. }))) {
            continue;
        }
        match reach(endpoint.address) {
            Some(Reach::From { .. }) => {}
            Some(Reach::HostLocal) => return Some(Why::HostLocal),
            Some(Reach::NoHook) => return Some(Why::NoHook),
            Some(Reach::Policy) => return Some(Why::Policy),
            Some(Reach::NoRoute) | None => return Some(Why::NoRoute),
        }
    }
    (!takes).then_some(Why::NoEndpoint)
}
