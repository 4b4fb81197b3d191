//! Which tier a route gets, and why.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Compiler, Facts, REST, Reach, Why};
use model::{
    Action, AppProtocol, Backend, BackendId, BackendRef, BackendTarget, Balancing, HeaderMatch,
    InvalidBackend, Listener, ListenerId, Mirror, PathMatch, Protocol, ProxyProtocol, QueryMatch,
    RegexAnchor, Route, RouteMatch, Snapshot, Tier, Timeouts, ValueMatch,
};
use support::{backend, facts, listener, on, pattern, route, socket};

/// What may be varied.
struct Case {
    listener: Listener,
    route: Route,
    backend: Backend,
    facts: Facts,
}

fn placed(change: impl FnOnce(&mut Case)) -> (Tier, Option<Why>) {
    let listener = listener("l", None);
    let route = route("r", &[&listener], vec![], vec![on(PathMatch::Prefix("/a".into()))]);
    let mut case = Case { listener, route, backend: backend("r", &[1, 2]), facts: facts() };
    change(&mut case);
    let snapshot =
        Snapshot::new(1, [Arc::new(case.listener)], [Arc::new(case.route)], [Arc::new(case.backend)], []);
    let mut compiler = Compiler::new();
    compiler.compile(&snapshot, &case.facts, Duration::ZERO);
    let compiled = compiler.compile(&snapshot, &case.facts, REST);
    let [placement] = &compiled.placements[..] else { panic!("one route, one placement") };
    assert_eq!((&placement.route, placement.asked), (&snapshot.routes[0].id, snapshot.routes[0].tier));
    let number = socket(&compiled.tables, [10, 0, 0, 1].into(), 80);
    assert_eq!(number != 0, placement.tier == Tier::Tc || placement.reason.is_some_and(is_of_endpoints));
    (placement.tier, placement.reason)
}

/// They come and go without a new route.
fn is_of_endpoints(why: Why) -> bool {
    matches!(why, Why::NoEndpoint | Why::HostLocal | Why::NoHook | Why::Policy | Why::NoRoute)
}

fn with(matches: Vec<RouteMatch>) -> impl FnOnce(&mut Case) {
    move |case| case.route.matches = matches
}

fn header(name: &str, value: ValueMatch) -> HeaderMatch {
    HeaderMatch { name: name.into(), value }
}

fn with_headers(headers: Vec<HeaderMatch>) -> impl FnOnce(&mut Case) {
    with(vec![RouteMatch { headers, ..on(PathMatch::Prefix("".into())) }])
}

fn regex() -> ValueMatch {
    ValueMatch::Regex(pattern("a", RegexAnchor::Full, false))
}

fn value(text: &str) -> ValueMatch {
    ValueMatch::Exact(text.into())
}

#[test]
fn an_ordinary_route_is_the_kernels() {
    assert_eq!(placed(|_| {}), (Tier::Tc, None));
    assert_eq!(placed(|case| case.route.tier = Some(Tier::Tc)), (Tier::Tc, None));
    assert_eq!(placed(|case| case.route.tier = Some(Tier::Xdp)), (Tier::Tc, Some(Why::TcInstead)));
    assert_eq!(placed(with_headers(vec![header("x-v", value("2"))])), (Tier::Tc, None));
}

#[test]
fn what_the_kernel_cannot_do_is_userspaces_and_says_why() {
    let reach = |reach: Option<Reach>| {
        move |case: &mut Case| {
            case.facts.endpoints.clear();
            case.facts.endpoints.extend(reach.map(|reach| ([10, 1, 0, 1].into(), reach)));
        }
    };
    type Change = Box<dyn FnOnce(&mut Case)>;
    let cases: Vec<(Why, Change)> = vec![
        (Why::Asked, Box::new(|c| c.route.tier = Some(Tier::Userspace))),
        (Why::ForwardingOff, Box::new(|c| c.facts.forwarding = false)),
        (Why::RequestId, Box::new(|c| c.facts.userspace = Some(Why::RequestId))),
        (Why::Tracing, Box::new(|c| c.facts.userspace = Some(Why::Tracing))),
        (Why::AccessLog, Box::new(|c| c.facts.userspace = Some(Why::AccessLog))),
        (Why::NoListener, Box::new(|c| c.route.listeners = vec![ListenerId::new("a", "b", "c")])),
        (Why::Tls, Box::new(|c| c.listener.protocol = Protocol::Https)),
        (Why::ProxyProtocol, Box::new(|c| c.listener.proxy_protocol = true)),
        (Why::ToldInText, Box::new(|c| c.backend.proxy_protocol = Some(ProxyProtocol::V1))),
        (Why::Respond, Box::new(|c| c.route.action = Action::Respond { status: 404, reason: "".into() })),
        (Why::Filters, Box::new(|c| c.route.filters.request_headers.remove.push("x".into()))),
        (
            Why::Filters,
            Box::new(|c| {
                let mut share = share("r");
                share.filters.response_headers.remove.push("x".into());
                c.route.action = Action::Forward(vec![share]);
            }),
        ),
        (
            Why::Timeouts,
            Box::new(|c| {
                c.route.timeouts = Timeouts { read: Some(Duration::from_secs(1)), ..Timeouts::default() }
            }),
        ),
        (
            Why::Retry,
            Box::new(|c| {
                c.route.retry =
                    Some(model::Retry { codes: vec![503], attempts: 1, backoff: Duration::from_millis(1) })
            }),
        ),
        (
            Why::Session,
            Box::new(|c| {
                c.route.session = Some(model::Session {
                    name: "s".into(),
                    scope: "r".into(),
                    carrier: model::SessionCarrier::Header,
                    absolute: None,
                    idle: None,
                })
            }),
        ),
        (
            Why::RoutePolicy,
            Box::new(|c| {
                let listeners = c.route.listeners.clone();
                c.route.policies = vec![model::AttachedPolicies { listeners, policies: Default::default() }];
            }),
        ),
        (Why::Balancing, Box::new(|c| c.route.balancing = Balancing::RoundRobin)),
        (Why::Balancing, Box::new(|c| c.route.balancing = Balancing::Random)),
        (Why::Balancing, Box::new(|c| c.backend.policy = balanced(Some(Balancing::LeastRequest), None))),
        (Why::Balancing, Box::new(|c| c.backend.policy = balanced(Some(Balancing::PeakEwma), None))),
        (Why::Balancing, Box::new(|c| c.backend.policy = balanced(None, Some(model::HashBy::SourceAddress)))),
        (
            Why::CircuitBreaker,
            Box::new(|c| {
                let limits = Some(model::CircuitLimits::default());
                let policy = model::BackendPolicy { limits, ..Default::default() };
                c.backend.policy = Some(Arc::new(policy));
            }),
        ),
        (
            Why::OutlierDetection,
            Box::new(|c| {
                let outliers = model::OutlierDetection {
                    consecutive_5xx: Some(5),
                    consecutive_gateway_errors: None,
                    base_ejection: Duration::from_secs(30),
                    max_ejection: Duration::from_secs(300),
                    max_percent: 10,
                };
                let policy = model::BackendPolicy { outliers: Some(outliers), ..Default::default() };
                c.backend.policy = Some(Arc::new(policy));
            }),
        ),
        (
            Why::SlowStart,
            Box::new(|c| {
                let slow_start = Some(Duration::from_secs(30));
                let policy = model::BackendPolicy { slow_start, ..Default::default() };
                c.backend.policy = Some(Arc::new(policy));
            }),
        ),
        (Why::TableSize, Box::new(|c| c.route.balancing = Balancing::Maglev { table_size: 65_537 })),
        (Why::ManyBackends, Box::new(|c| c.route.action = Action::Forward(vec![share("r"); 17]))),
        (Why::NoBackend, Box::new(|c| c.route.action = Action::Forward(vec![]))),
        (
            Why::InvalidBackend,
            Box::new(|c| {
                let target = BackendTarget::Invalid(InvalidBackend::NotFound);
                c.route.action = Action::Forward(vec![BackendRef::new(1, target)]);
            }),
        ),
        (Why::Protocol, Box::new(|c| c.backend.protocol = AppProtocol::Http2)),
        (Why::Protocol, Box::new(|c| c.route.id.object.kind = model::ObjectKind::GrpcRoute)),
        (Why::NoEndpoint, Box::new(|c| c.backend.endpoints.clear())),
        (Why::HostLocal, Box::new(reach(Some(Reach::HostLocal)))),
        (Why::NoHook, Box::new(reach(Some(Reach::NoHook)))),
        (Why::Policy, Box::new(reach(Some(Reach::Policy)))),
        (Why::NoRoute, Box::new(reach(None))),
        (Why::PathRegex, Box::new(with(vec![on(PathMatch::Regex(pattern("/a", RegexAnchor::Full, false)))]))),
        (Why::PathLength, Box::new(with(vec![on(PathMatch::Exact(format!("/{}", "a".repeat(247)).into()))]))),
        (
            Why::Query,
            Box::new(with(vec![RouteMatch {
                queries: vec![QueryMatch { name: "q".into(), value: value("1") }],
                ..on(PathMatch::Prefix("".into()))
            }])),
        ),
        (
            Why::Method,
            Box::new(with(vec![RouteMatch {
                method: Some("BREW".into()),
                ..on(PathMatch::Prefix("".into()))
            }])),
        ),
        (Why::HeaderRegex, Box::new(with_headers(vec![header("x", regex())]))),
        (Why::HeaderName, Box::new(with_headers(vec![header("host", value("a"))]))),
        (Why::HeaderSize, Box::new(with_headers(vec![header("x", value(&"v".repeat(49)))]))),
        (
            Why::HeaderSize,
            Box::new(with_headers((0..5).map(|n| header(&format!("x-{n}"), value("1"))).collect())),
        ),
    ];
    for (why, change) in cases {
        assert_eq!(placed(change), (Tier::Userspace, Some(why)));
    }
}

fn balanced(
    balancing: Option<Balancing>,
    hash_by: Option<model::HashBy>,
) -> Option<Arc<model::BackendPolicy>> {
    Some(Arc::new(model::BackendPolicy { balancing, hash_by, ..Default::default() }))
}

fn share(name: &str) -> BackendRef {
    BackendRef::new(1, BackendTarget::Backend(BackendId::service("test", name, 80)))
}

#[test]
fn a_part_of_a_route_may_be_the_kernels() {
    let regex = on(PathMatch::Regex(pattern("/a", RegexAnchor::Full, false)));
    let both = with(vec![regex, on(PathMatch::Exact("/b".into()))]);
    assert_eq!(placed(both), (Tier::Tc, Some(Why::PathRegex)));
    let invalid = BackendTarget::Invalid(InvalidBackend::NotFound);
    let shares = vec![share("r"), BackendRef::new(1, invalid)];
    let partly = placed(|case| case.route.action = Action::Forward(shares));
    assert_eq!(partly, (Tier::Tc, Some(Why::InvalidBackend)));
}

/// Of mirrors of a share the kernel has what is not copied; with anything else that filters ask for, the route is userspace's.
#[test]
fn a_route_with_mirrors_is_the_kernels_but_for_what_is_copied() {
    let mirrors = |shares: &'static [(u32, u32)]| {
        move |case: &mut Case| {
            let backend = BackendId::service("test", "r", 80);
            let mirror = |&(numerator, denominator): &(u32, u32)| Mirror {
                backend: backend.clone(),
                numerator,
                denominator,
                form: None,
            };
            case.route.filters.mirrors = shares.iter().map(mirror).collect();
        }
    };
    assert_eq!(placed(mirrors(&[(1, 5)])), (Tier::Tc, Some(Why::Copies)));
    assert_eq!(placed(mirrors(&[(1, 5), (99, 100)])), (Tier::Tc, Some(Why::Copies)));
    assert_eq!(placed(mirrors(&[(0, 5)])), (Tier::Tc, None));
    assert_eq!(placed(mirrors(&[(1, 5), (7, 7)])), (Tier::Userspace, Some(Why::Filters)));
    let with_header = |case: &mut Case| {
        mirrors(&[(1, 5)])(case);
        case.route.filters.request_headers.remove.push("x".into());
    };
    assert_eq!(placed(with_header), (Tier::Userspace, Some(Why::Filters)));
    let unreachable = |case: &mut Case| {
        mirrors(&[(1, 5)])(case);
        case.facts.endpoints.clear();
    };
    assert_eq!(placed(unreachable), (Tier::Userspace, Some(Why::NoRoute)));
}

/// Whoever has no endpoint is userspace's in any case: only where answers are looked at is the whole route.
#[test]
fn a_route_whose_errors_have_another_answer_is_userspaces() {
    let with = |statuses: &'static [u16]| {
        move |case: &mut Case| {
            case.route.fallback = Some(Box::new(model::Fallback {
                backend: BackendId::service("test", "r", 80),
                statuses: statuses.to_vec(),
                keeps_answers: false,
                lines: [].into(),
            }));
        }
    };
    assert_eq!(placed(with(&[404])), (Tier::Userspace, Some(Why::Errors)));
    assert_eq!(placed(with(&[])), (Tier::Tc, None));
}

#[test]
fn the_seventeenth_header_name_is_userspaces() {
    let listener = listener("l", None);
    let one = |n: u32| {
        let headers = vec![header(&format!("x-{n}"), value("1"))];
        let matches = vec![RouteMatch { headers, ..on(PathMatch::Prefix("".into())) }];
        Arc::new(route(&format!("r{n:02}"), &[&listener], vec![], matches))
    };
    let backends = (0..17).map(|n| Arc::new(backend(&format!("r{n:02}"), &[1])));
    let snapshot = Snapshot::new(1, [Arc::new(listener.clone())], (0..17).map(one), backends, []);
    let mut compiler = Compiler::new();
    let reason = |compiler: &mut Compiler, now| {
        let compiled = compiler.compile(&snapshot, &facts(), now);
        [0, 16].map(|at: usize| compiled.placements[at].reason)
    };
    let first = reason(&mut compiler, Duration::ZERO);
    assert_eq!(first, [Some(Why::NewHeaderName), Some(Why::ManyHeaderNames)]);
    assert_eq!(reason(&mut compiler, REST), [None, Some(Why::ManyHeaderNames)]);
}

/// A listener that ends TLS keeps its whole port, and others of the same snapshot are left alone.
#[test]
fn a_port_is_userspaces_with_all_its_listeners() {
    let plain = listener("plain", None);
    let mut tls = listener("tls", model::HostPattern::parse("a.com", model::WildcardLabels::One).ok());
    tls.protocol = Protocol::Https;
    let mut other = listener("other", None);
    other.port = 81;
    let on_both = route("both", &[&plain, &other], vec![], vec![]);
    let on_one = route("one", &[&plain], vec![], vec![]);
    let backends = ["both", "one"].map(|name| Arc::new(backend(name, &[1])));
    let listeners = [plain, tls, other].map(Arc::new);
    let snapshot = Snapshot::new(1, listeners, [on_both, on_one].map(Arc::new), backends, []);
    let compiled = Compiler::new().compile(&snapshot, &facts(), Duration::ZERO);
    let found: Vec<_> = compiled.placements.iter().map(|p| (p.tier, p.reason)).collect();
    assert_eq!(found, [(Tier::Tc, Some(Why::SharedPort)), (Tier::Userspace, Some(Why::SharedPort))]);
    let numbers = [80, 81].map(|port| socket(&compiled.tables, [10, 0, 0, 1].into(), port));
    assert!(numbers[0] == 0 && numbers[1] != 0, "{numbers:?}");
}

/// Sockets of other protocols are not the programs', and keep HTTP listeners for all addresses off their own.
#[test]
fn tcp_tls_and_udp_sockets_are_no_vips() {
    let http = listener("plain", None);
    let mut others = [Protocol::Tcp, Protocol::Tls, Protocol::Udp].map(|protocol| {
        let mut other = listener(&format!("{protocol:?}"), None);
        other.protocol = protocol;
        other
    });
    others[0].addresses = vec![[10, 0, 0, 1].into()];
    others[1].port = 81;
    others[2].port = 82;
    let route = route("one", &[&http], vec![], vec![]);
    let listeners = others.into_iter().chain([http]).map(Arc::new);
    let snapshot = Snapshot::new(1, listeners, [Arc::new(route)], [Arc::new(backend("one", &[1]))], []);
    let compiled = Compiler::new().compile(&snapshot, &facts(), Duration::ZERO);
    let ours = |port: u16| compiled.tables.vips.keys().filter(|key| key.port == port.to_be_bytes()).count();
    let all = facts().addresses.iter().filter(|address| !address.is_loopback()).count();
    assert_eq!([80, 81, 82].map(ours), [all - 1, 0, 0]);
}

/// What comes to a socket that another program of the host has is none of the programs' business, until that is ours.
#[test]
fn sockets_that_cannot_be_had_are_no_vips() {
    let all = listener("all", None);
    let mut one = listener("one", None);
    one.addresses = vec![[10, 0, 0, 1].into()];
    let route = route("one", &[&all, &one], vec![], vec![]);
    let listeners = [all, one].map(Arc::new);
    let snapshot = Snapshot::new(1, listeners, [Arc::new(route)], [Arc::new(backend("one", &[1]))], []);
    let mut compiler = Compiler::new();
    let mut vips = |closed: &[(Option<IpAddr>, u16)]| {
        let facts = Facts { closed: closed.iter().copied().collect(), ..facts() };
        let compiled = compiler.compile(&snapshot, &facts, Duration::ZERO);
        let at = |last| socket(&compiled.tables, [10, 0, 0, last].into(), 80) != 0;
        [at(1), at(2)]
    };
    assert_eq!(vips(&[]), [true, true]);
    assert_eq!(vips(&[(None, 80)]), [true, false]);
    assert_eq!(
        vips(&[(Some([10, 0, 0, 1].into()), 80)]),
        [false, true],
        "nor are they of the other listener"
    );
    assert_eq!(vips(&[(None, 81)]), [true, true]);
}

#[test]
fn what_finds_no_room_is_userspaces() {
    let exact = |n: usize| on(PathMatch::Exact(format!("/{n}").into()));
    assert_eq!(placed(with((0..=wire::ROUTES_MAX).map(exact).collect())), (Tier::Userspace, Some(Why::Full)));
}

/// Each backend has a table of its endpoints, of which there are fewer than of anything else.
#[test]
fn backends_whose_tables_find_no_room_are_userspaces() {
    const MORE: usize = 76;
    let listener = listener("l", None);
    let count = wire::MAGLEV_TABLES_MAX + MORE;
    let (mut routes, mut backends) = (Vec::new(), Vec::new());
    for n in 0..count {
        let name = format!("r{n}");
        routes.push(Arc::new(route(
            &name,
            &[&listener],
            vec![],
            vec![on(PathMatch::Exact(format!("/{n}").into()))],
        )));
        let mut backend = backend(&name, &[1]);
        backend.endpoints[0].address.set_port(u16::try_from(10_000 + n).unwrap());
        backends.push(Arc::new(backend));
    }
    let snapshot = Snapshot::new(1, [Arc::new(listener)], routes, backends, []);
    let mut compiler = Compiler::new();
    compiler.compile(&snapshot, &facts(), Duration::ZERO);
    let compiled = compiler.compile(&snapshot, &facts(), REST);
    let userspaces: Vec<_> = compiled.placements.iter().filter(|one| one.tier == Tier::Userspace).collect();
    assert_eq!(userspaces.len(), MORE);
    assert!(userspaces.iter().all(|one| one.reason == Some(Why::Full)), "{userspaces:?}");
    assert!(compiled.placements.iter().all(|one| one.tier == Tier::Userspace || one.reason.is_none()));
}
