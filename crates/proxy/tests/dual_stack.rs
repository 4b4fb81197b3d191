//! Endpoints with an address in each IP family, of which one refuses or says nothing: each is one endpoint, and no request fails.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use model::{BackendPolicy, CircuitLimits, HealthCheck, Probe, RouteAffinity, Snapshot};
use proxy::EndpointView;
use support::silent::{Silent, refusing};
use support::{Lab, Rule, Scripted, Target, eventually, rule};

fn pairs<'r>(pairs: &'r [(SocketAddr, SocketAddr)]) -> Rule<'r> {
    Rule { target: Target::Pairs(pairs), ..rule("/", &[]) }
}

fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn only_view(lab: &Lab) -> EndpointView {
    let state = lab.gateway.state();
    let mut views: Vec<_> = state.backends().flat_map(|(_, views)| views).collect();
    assert_eq!(views.len(), 1, "{views:?}");
    views.remove(0)
}

#[test]
fn an_endpoint_that_answers_by_either_address_serves_every_request() {
    let silent = Silent::new();
    for dead in [silent.address, refusing()] {
        for is_preferred in [true, false] {
            let endpoint = Scripted::echo("a");
            let pair = if is_preferred { (endpoint.address, dead) } else { (dead, endpoint.address) };
            let lab = Lab::new(&[pairs(&[pair])]);
            for _ in 0..10 {
                assert_eq!(lab.client().get("/").status, 200, "{pair:?}");
            }
            let view = only_view(&lab);
            assert_eq!((view.address, view.other.map(|other| other.address)), (pair.0, Some(pair.1)));
            assert_eq!((view.stats.requests, view.stats.failures, view.stats.connect_failures), (10, 0, 0));
            assert!(!view.stats.is_passed_over);
            assert_eq!(
                endpoint.connections(),
                1,
                "kept connections are those of the endpoint, not of an address"
            );
        }
    }
}

#[test]
fn an_endpoint_that_refuses_at_both_addresses_is_passed_over_once() {
    let (dead, good) = ((refusing(), closed_port()), Scripted::echo("a"));
    let lab = Lab::new(&[pairs(&[dead, (good.address, refusing())])]);
    for _ in 0..10 {
        assert_eq!(lab.client().get("/").status, 200);
    }
    let state = lab.gateway.state();
    let views: Vec<_> = state.backends().flat_map(|(_, views)| views).collect();
    let of = |address| views.iter().find(|view| view.address == address).unwrap().stats;
    assert_eq!((of(dead.0).connect_failures, of(dead.0).is_passed_over), (1, true));
    assert_eq!((of(good.address).requests, of(good.address).connect_failures), (10, 0));
    let lab = Lab::new(&[pairs(&[dead])]);
    let answer = lab.client().get("/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("refused"), "{}", answer.text());
}

#[test]
fn the_time_to_connect_is_that_of_both_addresses() {
    let (one, two) = (Silent::new(), Silent::new());
    let config = proxy::Config {
        threads: 1,
        timeouts: proxy::TimeoutConfig { connect: Duration::from_millis(300), ..Default::default() },
        ..Default::default()
    };
    let lab = Lab::with(config.clone(), &[pairs(&[(one.address, two.address)])]);
    let answer = lab.client().get("/");
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(only_view(&lab).stats.connect_failures, 1);
    // Less than the delay behind which the other address is tried: that gets half of the time.
    let quick = proxy::Config {
        timeouts: proxy::TimeoutConfig { connect: Duration::from_millis(200), ..config.timeouts },
        ..config
    };
    let endpoint = Scripted::echo("a");
    let lab = Lab::with(quick, &[pairs(&[(one.address, endpoint.address)])]);
    eventually("the other address has its turn", || lab.client().get("/").status == 200);
}

#[test]
fn limits_and_affinity_see_one_endpoint() {
    let silent = Silent::new();
    let endpoints = [Scripted::echo("a"), Scripted::echo("b")];
    let both = [(silent.address, endpoints[0].address), (refusing(), endpoints[1].address)];
    let limits = CircuitLimits { connections: Some(2), ..Default::default() };
    let policy = Some(Arc::new(BackendPolicy { limits: Some(limits), ..Default::default() }));
    let affinity = RouteAffinity::Client(model::Affinity::default());
    let lab = Lab::new(&[Rule { policy, affinity, ..pairs(&both) }]);
    for _ in 0..10 {
        assert_eq!(lab.client().get("/").status, 200);
    }
    let mut connections = endpoints.each_ref().map(Scripted::connections);
    connections.sort_unstable();
    assert_eq!(connections, [0, 1], "the client keeps its endpoint, and one connection to it is enough");
}

/// Probes that follow each other at once.
fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        interval: Duration::from_millis(5),
        timeout: Duration::from_secs(10),
        healthy_after: 1,
        unhealthy_after: 1,
    }
}

#[test]
fn an_endpoint_is_healthy_while_either_address_answers() {
    let silent = Silent::new();
    let endpoint = Scripted::echo("a");
    let http = Probe::Http { path: "/".into(), host: None, statuses: vec![] };
    for probe in [Probe::Tcp, http] {
        for dead in [silent.address, refusing()] {
            let policy = BackendPolicy { health_check: Some(check(probe.clone())), ..Default::default() };
            let lab =
                Lab::new(&[Rule { policy: Some(Arc::new(policy)), ..pairs(&[(dead, endpoint.address)]) }]);
            let passed =
                || lab.metrics.health().probes().iter().any(|(result, n)| *result == "passed" && *n >= 3);
            eventually("probes pass", passed);
            assert!(lab.metrics.health().probes().iter().all(|(result, n)| *result == "passed" || *n == 0));
            assert_eq!(lab.client().get("/").status, 200);
        }
    }
    let policy = BackendPolicy { health_check: Some(check(Probe::Tcp)), ..Default::default() };
    let lab = Lab::new(&[Rule { policy: Some(Arc::new(policy)), ..pairs(&[(refusing(), closed_port())]) }]);
    let failed = || lab.metrics.health().probes().iter().any(|(result, n)| *result == "refused" && *n >= 2);
    eventually("probes fail where neither answers", failed);
}

#[test]
fn the_snapshot_says_which_address_answers() {
    let endpoint = Scripted::echo("a");
    let both = [(refusing(), endpoint.address)];
    let rules = [pairs(&both)];
    let lab = Lab::new(&rules);
    let snapshot = support::snapshot(7, lab.address, &rules);
    let other_first = |snapshot: &Arc<Snapshot>| {
        let with = lab.gateway.with_health(snapshot);
        let found: Vec<_> =
            with.backends.values().flat_map(|b| &b.endpoints).map(|e| e.other.unwrap().is_first).collect();
        found
    };
    assert_eq!(other_first(&snapshot), [false]);
    assert_eq!(lab.client().get("/").status, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let changed = async { tokio::time::timeout(support::PATIENCE, lab.gateway.health_changed()).await };
    assert!(runtime.block_on(changed).is_ok());
    assert_eq!(other_first(&snapshot), [true]);
    // What is known goes with the endpoint.
    lab.gateway.apply(Arc::default());
    eventually("it is forgotten", || other_first(&snapshot) == [false]);
}

/// Where the kernel tier has all requests, nobody else would find it out.
#[test]
fn what_a_probe_finds_out_is_what_requests_go_by() {
    let endpoint = Scripted::echo("a");
    let both = [(refusing(), endpoint.address)];
    let policy = BackendPolicy { health_check: Some(check(Probe::Tcp)), ..Default::default() };
    let rules = [Rule { policy: Some(Arc::new(policy)), ..pairs(&both) }];
    let lab = Lab::new(&rules);
    let snapshot = support::snapshot(7, lab.address, &rules);
    eventually("a probe finds out which address answers", || {
        let with = lab.gateway.with_health(&snapshot);
        let mut endpoints = with.backends.values().flat_map(|backend| &backend.endpoints);
        endpoints.all(|endpoint| endpoint.other.is_some_and(|other| other.is_first))
    });
    assert!(endpoint.received().is_empty(), "no request was sent");
}
