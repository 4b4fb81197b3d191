//! The snapshot of the model: routes /a and /b with forwarded headers, /n and /m to the same backends without, /w to both, /t
//! for userspace; the endpoint behind /b and /m is told who the client is, but in the plain tables; /k to one and /v to both for clients that keep their endpoint; /c to one, with copies of a half in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kernel::{Compiler, Facts, REST, Reach, Tables};
use model::{
    Action, Affinity, AppProtocol, Backend, BackendId, BackendRef, BackendTarget, Endpoint,
    EndpointCondition, Mirror, PathMatch, ProxyProtocol, RegexAnchor, RouteAffinity, Snapshot,
};

use crate::support::{listener, on, pattern, route};

/// Endpoint `n`, over IPv4 or IPv6.
pub(crate) fn endpoint(n: u8, v6: bool) -> IpAddr {
    if v6 { format!("fd00::a01:{n:x}").parse().unwrap() } else { [10, 1, 0, n].into() }
}

fn facts(v6: bool) -> Facts {
    let ours: IpAddr = if v6 { crate::sim::vip6().ip() } else { crate::sim::vip().ip() };
    let reach = Reach::From { source: ours, device: 2 };
    Facts {
        forwarding: true,
        userspace: None,
        names_at_once: false,
        addresses: vec![ours],
        closed: [].into(),
        endpoints: (1..4).map(|n| (endpoint(n, v6), reach)).collect::<HashMap<_, _>>(),
    }
}

/// `state` of each endpoint: ready, draining (d) or gone (-).
fn snapshot(v6: bool, is_told: bool, states: &str) -> Snapshot {
    let listener = listener("l", None);
    let of = |name: &str, numbers: &[u8]| {
        let endpoint = |&n: &u8| {
            let condition = match states.as_bytes()[usize::from(n) - 1] {
                b'-' => return None,
                b'd' => EndpointCondition::Draining,
                _ => EndpointCondition::Ready,
            };
            Some(Endpoint { address: (endpoint(n, v6), 8080).into(), other: None, weight: 1, condition })
        };
        Backend {
            id: BackendId::service("test", name, 80),
            protocol: AppProtocol::Http1,
            security: Default::default(),
            proxy_protocol: (is_told && name == "y").then_some(ProxyProtocol::V2),
            endpoints: numbers.iter().filter_map(endpoint).collect(),
            affinity: None,
            policy: None,
        }
    };
    let rule = |letter: char, backends: &[&str], forwarded: bool| {
        let path = if letter == 't' {
            PathMatch::Regex(pattern("^/t", RegexAnchor::Full, false))
        } else {
            PathMatch::Prefix(format!("/{letter}").into())
        };
        let mut route = route(&letter.to_string(), &[&listener], vec![], vec![on(path)]);
        let target = |name: &str| BackendTarget::Backend(BackendId::service("test", name, 80));
        let refs = backends.iter().map(|name| BackendRef::new(1, target(name)));
        route.action = Action::Forward(refs.collect());
        route.forwarded_headers = forwarded;
        if letter == 'k' || letter == 'v' {
            route.affinity = RouteAffinity::Client(Affinity { timeout: Duration::from_secs(60) });
        }
        if letter == 'c' {
            let backend = BackendId::service("test", "y", 80);
            let mirror =
                |denominator| Mirror { backend: backend.clone(), numerator: 1, denominator, form: None };
            route.filters.mirrors = vec![mirror(4), mirror(3)];
        }
        Arc::new(route)
    };
    let routes = [
        rule('a', &["x"], true),
        rule('b', &["y"], true),
        rule('n', &["x"], false),
        rule('m', &["y"], false),
        rule('w', &["x", "y"], true),
        rule('t', &["x"], true),
        rule('k', &["x"], true),
        rule('v', &["x", "y"], true),
        rule('c', &["x"], true),
    ];
    let backends = [Arc::new(of("x", &[1, 2])), Arc::new(of("y", &[3]))];
    Snapshot::new(1, [Arc::new(listener.clone())], routes, backends, [])
}

fn compiled(v6: bool, is_told: bool) -> [Tables; 3] {
    let mut compiler = Compiler::new();
    compiler.compile(&snapshot(v6, is_told, "rrr"), &facts(v6), Duration::ZERO);
    let all = compiler.compile(&snapshot(v6, is_told, "rrr"), &facts(v6), REST);
    let mut at = REST;
    let mut next = |states| {
        at += REST;
        compiler.compile(&snapshot(v6, is_told, states), &facts(v6), at);
        at += REST;
        compiler.compile(&snapshot(v6, is_told, states), &facts(v6), at).tables
    };
    [all.tables, next("drr"), next("-rr")]
}

/// The tables with all endpoints.
pub(crate) fn tables(v6: bool) -> &'static Tables {
    &all(v6, true)[0]
}

/// The same, and nobody is told who the client is.
pub(crate) fn plain_tables(v6: bool) -> &'static Tables {
    &all(v6, false)[0]
}

/// The tables in which endpoint 1 finishes what it has.
pub(crate) fn tables_draining() -> &'static Tables {
    &all(false, true)[1]
}

/// The tables without endpoint 1.
pub(crate) fn tables_removed() -> &'static Tables {
    &all(false, true)[2]
}

fn all(v6: bool, is_told: bool) -> &'static [Tables; 3] {
    static TABLES: [OnceLock<[Tables; 3]>; 4] = [const { OnceLock::new() }; 4];
    TABLES[usize::from(v6) + 2 * usize::from(is_told)].get_or_init(|| compiled(v6, is_told))
}
