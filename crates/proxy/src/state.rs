//! A snapshot made ready to serve: the compiled matcher, and for each route its balancers and endpoints.
//!
//! What did not change is shared with the state before: endpoints by their addresses and how they are spoken to, balancers by endpoint
//! set. So a change costs what changed, and counters live on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use balance::WeightedChoice;
use model::{
    Action, AppProtocol, BackendId, BackendSecurity, BackendTarget, Balancing, CertificateId, CopyForm,
    EndpointCondition, ExtAuthProtocol, Filters, HostPattern, Listener, ObjectRef, OtherAddress, Protocol,
    Redirect, RouteMatch, Snapshot, Timeouts, UrlRewrite,
};
use policy::Cors;
use telemetry::{GatewayMetrics, L4Metrics};

use crate::addresses::Addresses;
use crate::affinity::Kept;
use crate::backend::{BackendState, Endpoints};
use crate::breaker::Breaker;
use crate::connector::{Connector, ConnectorId, Connectors, Way};
use crate::endpoint::{Endpoint, EndpointStats};
use crate::fallback::Fallback;
use crate::group::Group;
use crate::guard::Guards;
use crate::hash_by::Hashing;
use crate::health::{self, Board, Probed};
use crate::l4::L4Action;
use crate::mirror::{self, Mirror, Mirrors};
use crate::object_limits::ObjectLimits;
use crate::outliers::Outliers;
use crate::plan::Plan;
use crate::retry::Retry;
use crate::reuse;
use crate::secured::SecuredListeners;
use crate::session::Names;
use crate::session_key::SessionKey;

/// What the userspace tier serves at one moment. Immutable but for the endpoints' counters.
pub struct State {
    /// The snapshot it was made from.
    pub snapshot: Arc<Snapshot>,
    /// The compiled matcher.
    pub table: route::Table,
    /// Beside `snapshot.routes`.
    routes: Vec<CompiledRoute>,
    backends: BTreeMap<BackendId, BackendState>,
    endpoints: Endpoints,
    /// Of all endpoints, however they are spoken to: by endpoint, and each by itself.
    known: HashSet<Addresses>,
    addresses: HashSet<SocketAddr>,
    gateways: HashMap<model::ListenerId, Arc<GatewayMetrics>>,
    secured: SecuredListeners,
    connectors: Connectors,
    /// The compiled routes of connections and datagrams.
    pub l4: route::L4Table,
    /// Beside `snapshot.l4_routes`.
    l4_actions: Vec<L4Action>,
    l4_metrics: HashMap<model::ListenerId, Arc<L4Metrics>>,
    /// The endpoints whose health is looked after.
    pub(crate) probed: Vec<Probed>,
}

/// A listener that the name in TLS chose.
pub(crate) struct SecuredListener<'s> {
    pub(crate) listener: &'s Arc<model::Listener>,
    /// None: TLS passes through.
    pub(crate) config: Option<&'s tls::ServerConfig>,
}

/// What a TCP socket's connections begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Requests.
    Http,
    /// A ClientHello, by which the listener is chosen.
    Tls,
    /// Anything.
    Bytes,
}

/// One endpoint of one backend, for people to read.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Address and port.
    pub address: SocketAddr,
    /// Those in the other IP family, if it has both.
    pub other: Option<OtherAddress>,
    /// Share within the backend.
    pub weight: u16,
    /// Whether it takes new requests.
    pub condition: EndpointCondition,
    /// Its counters.
    pub stats: EndpointStats,
}

/// What becomes of the requests of a rule.
pub(crate) struct CompiledRoute {
    pub(crate) action: Arc<CompiledAction>,
    /// What all of its targets are spoken to by, where that is one: beside each other these are looked at faster than actions are.
    pub(crate) only: Option<ConnectorId>,
    /// What scripts of other origins may do.
    pub(crate) cors: Option<Box<Cors>>,
    /// Where routes are counted.
    pub(crate) metrics: Option<Arc<GatewayMetrics>>,
    /// What RoutePolicies ask.
    pub(crate) guards: Option<Box<Guards>>,
}

pub(crate) enum CompiledAction {
    Respond { status: u16, reason: Arc<str> },
    Redirect { redirect: Redirect, plan: Plan },
    Forward(ForwardAction),
}

pub(crate) struct ForwardAction {
    /// Draws among `targets`.
    pub(crate) choice: WeightedChoice,
    /// What a client's draw is made from, if it keeps its backend.
    pub(crate) draw_subject: Option<u64>,
    /// None: the reference cannot be resolved, or its endpoints cannot be spoken to.
    pub(crate) targets: Vec<Option<Target>>,
    pub(crate) timeouts: model::Timeouts,
    pub(crate) retry: Option<Box<Retry>>,
    pub(crate) session: Option<Box<model::Session>>,
    /// Who answers where the targets do not.
    pub(crate) fallback: Option<Box<Fallback>>,
}

impl ForwardAction {
    /// What is sent to one target, without retries.
    pub(crate) fn only(target: Target, timeouts: Timeouts) -> Self {
        Self {
            choice: WeightedChoice::new(&[1]),
            draw_subject: None,
            targets: vec![Some(target)],
            timeouts,
            retry: None,
            session: None,
            fallback: None,
        }
    }
}

/// A backend of a route.
pub(crate) struct Target {
    pub(crate) group: Arc<Group>,
    /// What an endpoint is chosen by; none: the flow.
    pub(crate) hashing: Option<Hashing>,
    /// Who is told of answers.
    pub(crate) outliers: Option<Arc<Outliers>>,
    /// How much may be under way.
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// By what the client's Gateway shows to endpoints; one for all if it is never asked.
    connectors: Vec<(Option<CertificateId>, Arc<Connector>)>,
    /// Whether clients keep their endpoint.
    pub(crate) kept: Option<Kept>,
    /// What sessions call its endpoints; none: the route has no sessions.
    pub(crate) names: Option<Arc<Names>>,
    pub(crate) plan: Plan,
    /// Who gets copies of what goes there.
    pub(crate) mirrors: Mirrors,
}

impl Target {
    /// One whose requests are the gateway's own.
    fn plain(
        group: Arc<Group>,
        backend: &BackendState,
        connectors: Vec<(Option<CertificateId>, Arc<Connector>)>,
    ) -> Self {
        let (outliers, breaker) = (backend.outliers.clone(), backend.breaker.clone());
        let (plan, mirrors) = (Plan::default(), Mirrors::default());
        Self { group, hashing: None, outliers, breaker, connectors, kept: None, names: None, plan, mirrors }
    }

    /// How its endpoints are spoken to, for clients of any listener.
    pub(crate) fn connectors(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.connectors.iter().map(|(_, connector)| connector)
    }

    /// How its endpoints are spoken to for clients of `listener`.
    pub(crate) fn connector(&self, listener: &Listener) -> Option<&Arc<Connector>> {
        match &self.connectors[..] {
            [(_, only)] => Some(only),
            several => {
                several.iter().find(|(shown, _)| *shown == listener.backend_certificate).map(|(_, c)| c)
            }
        }
    }
}

impl State {
    /// A state that serves nothing.
    pub(crate) fn empty() -> Self {
        let snapshot = Arc::new(Snapshot::default());
        Self {
            table: route::Table::build(&snapshot),
            snapshot,
            routes: Vec::new(),
            backends: BTreeMap::new(),
            endpoints: Endpoints::new(),
            known: HashSet::new(),
            addresses: HashSet::new(),
            gateways: HashMap::new(),
            secured: SecuredListeners::default(),
            connectors: Connectors::default(),
            l4: route::L4Table::build(&Snapshot::default()),
            l4_actions: Vec::new(),
            l4_metrics: HashMap::new(),
            probed: Vec::new(),
        }
    }

    /// Makes `snapshot` ready, taking over from `before` what is the same.
    pub(crate) fn build(
        snapshot: Arc<Snapshot>,
        before: &Self,
        threads: usize,
        metrics: &telemetry::Metrics,
        key: &SessionKey,
        board: &Arc<Board>,
    ) -> Self {
        let mut endpoints = Endpoints::new();
        let mut backends: BTreeMap<BackendId, BackendState> = BTreeMap::new();
        for (id, backend) in &snapshot.backends {
            let new = |addresses| Arc::new(Endpoint::new(addresses, threads, board.favour(addresses)));
            let shared = |addresses: Addresses| {
                let key = (addresses, id.speaks.clone());
                let known = before.endpoints.get(&key);
                let made = || known.cloned().unwrap_or_else(|| new(addresses));
                endpoints.entry(key).or_insert_with(made).clone()
            };
            let state = BackendState::new(backend, before.backends.get(id), threads, board, shared);
            backends.insert(id.clone(), state);
        }
        let known: HashSet<Addresses> = endpoints.keys().map(|(addresses, _)| *addresses).collect();
        let addresses = known.iter().flat_map(|addresses| addresses.all()).collect();
        let mut connectors = Connectors::default();
        let guards_before: Vec<_> = before.guards().collect();
        let mut limits =
            ObjectLimits::of(guards_before.iter().map(|((object, ..), guards)| (*object, *guards)));
        let guards_before: HashMap<_, _> = guards_before.into_iter().collect();
        let mut counted =
            metrics.routes(snapshot.routes.iter().map(|route| route.id.to_string())).into_iter();
        let changed = reuse::changed(&before.backends, &backends);
        let places = reuse::places(&before.snapshot.routes, &snapshot.routes);
        let routes = snapshot.routes.iter().zip(places).map(|(route, place)| {
            let metrics = counted.next();
            let known = place.and_then(|at| before.routes.get(at));
            let known = known.filter(|known| reuse::holds(known, route, &changed, &mut connectors));
            // Of most routes there is no more to know, and their records are not even looked at.
            if let Some(CompiledRoute { action, only: Some(only), cors: None, guards: None, .. }) = known {
                let (action, only) = (Arc::clone(action), Some(*only));
                return CompiledRoute { action, only, cors: None, metrics, guards: None };
            }
            if route.session.is_some() {
                key.warn_of_own();
            }
            let action = known.map(|known| Arc::clone(&known.action)).unwrap_or_else(|| {
                let state = (&mut backends, &mut connectors);
                Arc::new(compile(route, &snapshot, state, before, (threads, key)))
            });
            CompiledRoute {
                only: reuse::only(&action),
                action,
                cors: route.filters.cors.as_ref().map(|said| Box::new(Cors::new(said))),
                metrics,
                guards: Guards::new(
                    &route.policies,
                    guards_before.get(&rule(route)).copied(),
                    (&route.id.object, &mut limits),
                    |said| {
                        let backend = backends.get_mut(&said.backend)?;
                        let protocol = match said.protocol {
                            ExtAuthProtocol::Http { .. } | ExtAuthProtocol::Subrequest(_) => {
                                backend.source.protocol
                            }
                            ExtAuthProtocol::Grpc => AppProtocol::Http2,
                        };
                        let connectors =
                            connectors_of(route, (backend, protocol), &snapshot, &mut connectors, before)?;
                        let before = before.backends.get(&said.backend);
                        let group = backend.group(Balancing::default(), before, threads);
                        Some(Target::plain(group, backend, connectors))
                    },
                ),
            }
        });
        let routes = routes.collect();
        let l4_actions = snapshot
            .l4_routes
            .iter()
            .map(|route| L4Action::new(route, &mut backends, &before.backends, threads))
            .collect();
        let l4_metrics = snapshot
            .listeners
            .values()
            .filter_map(|l| Some((l.id.clone(), metrics.l4(&gateway_label(&l.id), l4_label(l.protocol)?))))
            .collect();
        let gateways =
            snapshot.listeners.keys().map(|id| (id.clone(), metrics.gateway(&gateway_label(id)))).collect();
        let probed = health::probed(&snapshot, &mut connectors, &before.connectors);
        let secured = SecuredListeners::build(&snapshot, &before.secured);
        let table = route::Table::build_after(&snapshot, Some(&before.table));
        let l4 = route::L4Table::build(&snapshot);
        Self {
            table,
            snapshot,
            routes,
            backends,
            endpoints,
            known,
            addresses,
            gateways,
            secured,
            connectors,
            l4,
            l4_actions,
            l4_metrics,
            probed,
        }
    }

    /// What routes ask, where they do. Of equal ones the first, which takes their requests, comes last.
    fn guards(&self) -> impl Iterator<Item = (Rule<'_>, &Guards)> {
        let all = self.snapshot.routes.iter().zip(&self.routes).rev();
        // Most routes ask nothing, and their records are not even looked at.
        all.filter_map(|(route, compiled)| compiled.guards.as_deref().map(|guards| (rule(route), guards)))
    }

    pub(crate) fn l4_action(&self, route_index: usize) -> Option<&L4Action> {
        self.l4_actions.get(route_index)
    }

    pub(crate) fn l4_metrics(&self, listener: &model::ListenerId) -> Option<&Arc<L4Metrics>> {
        self.l4_metrics.get(listener)
    }

    pub(crate) fn route(&self, route_index: usize) -> &CompiledRoute {
        &self.routes[route_index]
    }

    pub(crate) fn gateway(&self, listener: &model::ListenerId) -> Option<&Arc<GatewayMetrics>> {
        self.gateways.get(listener)
    }

    /// What connections to `local` begin with, and whether those of trusted proxies say before it who the client is. The
    /// listeners of a socket agree on the first.
    pub(crate) fn begin(&self, local: SocketAddr) -> (Begin, bool) {
        let listeners =
            || self.table.socket(local.ip(), local.port()).into_iter().flat_map(|s| s.listeners());
        let begin = match listeners().next().map(|listener| listener.protocol) {
            Some(Protocol::Https | Protocol::Tls) => Begin::Tls,
            Some(Protocol::Tcp) => Begin::Bytes,
            Some(Protocol::Http | Protocol::Udp) | None => Begin::Http,
        };
        (begin, listeners().any(|listener| listener.proxy_protocol))
    }

    /// The listener of bytes at `local`.
    pub(crate) fn tcp_listener(&self, local: SocketAddr) -> Option<&Arc<model::Listener>> {
        self.table.socket(local.ip(), local.port())?.listeners().next()
    }

    /// Whether some listener at `local` speaks HTTP.
    pub(crate) fn serves_http(&self, local: SocketAddr) -> bool {
        let socket = self.table.socket(local.ip(), local.port());
        socket.is_some_and(|socket| socket.listeners().any(|listener| listener.protocol.is_http()))
    }

    /// The listener at `local` for clients that ask for `name` in TLS; empty: they name none.
    pub(crate) fn secured(&self, local: SocketAddr, name: &str) -> Option<SecuredListener<'_>> {
        let listener = self.table.socket(local.ip(), local.port())?.listener_of(name)?;
        let passes_through = listener.protocol == Protocol::Tls && listener.tls.is_none();
        let config = self.secured.get(&listener.id).filter(|config| config.serves(name));
        (passes_through || config.is_some()).then_some(SecuredListener { listener, config })
    }

    /// Whether any backend still holds the endpoint, and some is spoken to in that way.
    pub(crate) fn has_way(&self, way: &Way) -> bool {
        self.known.contains(&way.addresses) && self.connectors.has(way.connector)
    }

    /// Whether any backend still holds the address.
    pub(crate) fn has_endpoint(&self, address: &SocketAddr) -> bool {
        self.addresses.contains(address)
    }

    /// Every backend with its endpoints and their counters.
    pub fn backends(&self) -> impl Iterator<Item = (&BackendId, Vec<EndpointView>)> {
        self.backends.values().map(|state| {
            let views = state.source.endpoints.iter().filter_map(|endpoint| {
                Some(EndpointView {
                    address: endpoint.address,
                    other: endpoint.other,
                    weight: endpoint.weight,
                    condition: endpoint.condition,
                    stats: self.endpoints.get(&(endpoint.into(), state.source.id.speaks.clone()))?.stats(),
                })
            });
            (&state.source.id, views.collect())
        })
    }
}

/// `namespace/name` of the listener's Gateway, as metrics show it.
pub(crate) fn gateway_label(id: &model::ListenerId) -> String {
    if id.namespace.is_empty() { id.gateway.to_string() } else { format!("{}/{}", id.namespace, id.gateway) }
}

/// A rule across changes of its object: by what it matches, since its number is another where one before it comes or goes.
type Rule<'s> = (&'s ObjectRef, &'s [HostPattern], &'s [RouteMatch]);

fn rule(route: &model::Route) -> Rule<'_> {
    (&route.id.object, &route.hosts, &route.matches)
}

fn compile(
    route: &model::Route,
    snapshot: &Snapshot,
    (backends, connectors): (&mut BTreeMap<BackendId, BackendState>, &mut Connectors),
    before: &State,
    (threads, key): (usize, &SessionKey),
) -> CompiledAction {
    match &route.action {
        Action::Respond { status, reason } => {
            CompiledAction::Respond { status: *status, reason: reason.clone() }
        }
        Action::Redirect(redirect) => {
            let plan = Plan::new(&route.filters, &Filters::default());
            CompiledAction::Redirect { redirect: redirect.clone(), plan }
        }
        Action::Forward(references) => {
            let weights: Vec<u32> = references.iter().map(|r| r.weight).collect();
            let mut target = |id: &BackendId, rule: &Filters, filters: &Filters| {
                let backend = backends.get_mut(id)?;
                let protocol = route.protocol(&backend.source);
                let connectors = connectors_of(route, (backend, protocol), snapshot, connectors, before)?;
                let kept = route.affinity.of(&backend.source).map(|asked| Kept::new(id, asked));
                let before = before.backends.get(id);
                let group = backend.group(backend.source.balancing(route.balancing), before, threads);
                let hash_by = backend.source.policy.as_ref().and_then(|policy| policy.hash_by.clone());
                let hashing = hash_by.map(|by| Hashing::new(by, id));
                let names = route.session.as_ref().map(|_| backend.names(before, key));
                let plan = Plan::new(rule, filters);
                let (outliers, breaker) = (backend.outliers.clone(), backend.breaker.clone());
                Some(Target {
                    group,
                    hashing,
                    outliers,
                    breaker,
                    connectors,
                    kept,
                    names,
                    plan,
                    mirrors: Mirrors::default(),
                })
            };
            let targets = references.iter().map(|reference| {
                let BackendTarget::Backend(id) = &reference.target else { return None };
                let all = route.filters.mirrors.iter().chain(&reference.filters.mirrors);
                let mirrors = all.filter_map(|said| {
                    // It is sent to no other backend.
                    let copy = match &said.form {
                        // The request as its endpoint gets it, changed by the same filters.
                        None => target(&said.backend, &route.filters, &reference.filters)?,
                        Some(form) => target(&said.backend, &as_it_came(form), &Filters::default())?,
                    };
                    let timeouts = Timeouts { request: Some(mirror::TIME_MAX), ..Timeouts::default() };
                    let action = ForwardAction::only(Target { kept: None, ..copy }, timeouts);
                    let has_body = said.form.as_ref().is_none_or(|form| form.has_body);
                    let mirror = Mirror { action: Arc::new(action), has_body };
                    Some((mirror, (said.numerator, said.denominator)))
                });
                let mirrors = Mirrors::new(mirrors);
                Some(Target { mirrors, ..target(id, &route.filters, &reference.filters)? })
            });
            let targets = targets.collect();
            let fallback = route.fallback.as_deref().and_then(|said| {
                let (none, id) = (Filters::default(), &said.backend);
                let mut of = |rule| Some(Target { kept: None, names: None, ..target(id, rule, &none)? });
                Some(Box::new(Fallback::new(said, route.timeouts, of(&route.filters)?, of(&none)?)))
            });
            let object = || balance::subject(&route.id.object.to_string());
            CompiledAction::Forward(ForwardAction {
                targets,
                draw_subject: route.affinity.keeps_backend().then(object),
                choice: WeightedChoice::new(&weights),
                timeouts: route.timeouts,
                retry: route.retry.as_ref().map(|said| Box::new(Retry::new(said, threads))),
                session: route.session.clone().map(Box::new),
                fallback,
            })
        }
    }
}

/// What makes a copy of the request that came.
fn as_it_came(form: &CopyForm) -> Filters {
    let rewrite = UrlRewrite { hostname: Some(Arc::clone(&form.host)), path: form.path.clone() };
    Filters { url_rewrite: Some(rewrite), ..Filters::default() }
}

/// One for each certificate that a Gateway of the route shows to endpoints; none: nothing can be sent.
fn connectors_of(
    route: &model::Route,
    (backend, protocol): (&BackendState, AppProtocol),
    snapshot: &Snapshot,
    connectors: &mut Connectors,
    before: &State,
) -> Option<Vec<(Option<CertificateId>, Arc<Connector>)>> {
    let listeners = route.listeners.iter().filter_map(|id| snapshot.listeners.get(id));
    let mut shown: Vec<_> = listeners.map(|listener| listener.backend_certificate.as_ref()).collect();
    shown.sort();
    shown.dedup();
    if shown.is_empty() || backend.source.security == BackendSecurity::Cleartext {
        shown = vec![None];
    }
    let of = |shown: Option<&CertificateId>| {
        let connector = connectors.get(&backend.source, protocol, shown, snapshot, &before.connectors)?;
        Some((shown.cloned(), connector))
    };
    shown.into_iter().map(of).collect()
}

/// What metrics call the protocol of connections that are not HTTP.
fn l4_label(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::Http | Protocol::Https => None,
        Protocol::Tls => Some("tls"),
        Protocol::Tcp => Some("tcp"),
        Protocol::Udp => Some("udp"),
    }
}
