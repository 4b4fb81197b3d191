//! Tables from a small snapshot: a socket of each family, routes on nested prefixes, an endpoint for each.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kernel::{Compiled, Compiler, Facts, REST, Reach};
use model::{
    Action, Affinity, AppProtocol, Backend, BackendId, BackendRef, BackendTarget, Endpoint,
    EndpointCondition, Filters, Listener, ListenerId, Mirror, ObjectKind, ObjectRef, PathMatch, Protocol,
    ProxyProtocol, Route, RouteAffinity, RouteId, RouteMatch, Snapshot, Tier,
};

pub(crate) const VIP: &str = "192.0.2.1:8080";
pub(crate) const VIP6: &str = "[2001:db8::1]:8080";

/// Our addresses on legs.
pub(crate) const SOURCE: &str = "10.0.0.1";
pub(crate) const SOURCE6: &str = "2001:db8:1::ffff";

/// By listener and prefix, the endpoints of its route; the backend has the name of the prefix.
const ROUTES: [(&str, &str, &[&str]); 17] = [
    ("v4", "/", &["10.1.0.1:80"]),
    ("v4", "/api", &["10.1.0.2:80"]),
    ("v4", "/api/v2", &["10.1.0.3:80"]),
    ("v4", "/plain", &["10.1.0.4:80"]),
    ("v4", "/two", &["10.1.0.5:80", "10.1.0.6:80"]),
    ("v4", "/user", &["10.1.0.7:80"]),
    ("v4", "/kept", &["10.1.0.10:80", "10.1.0.11:80"]),
    ("v4", "/none", &[]),
    ("v4", "/mixed4", &["[2001:db8:1::9]:80"]),
    ("v6", "/", &["[2001:db8:1::1]:80"]),
    ("v6", "/api", &["[2001:db8:1::2]:80"]),
    ("v6", "/kept", &["[2001:db8:1::10]:80", "[2001:db8:1::11]:80"]),
    ("v6", "/mixed6", &["10.1.0.8:80"]),
    ("v4", "/copied", &["10.1.0.12:80"]),
    ("v6", "/copied", &["[2001:db8:1::12]:80"]),
    ("v4", "/told", &["10.1.0.13:80"]),
    ("v6", "/told", &["[2001:db8:1::13]:80"]),
];

pub(crate) fn snapshot() -> Snapshot {
    let backends = ROUTES.map(|(listener, prefix, endpoints)| Arc::new(backend(listener, prefix, endpoints)));
    let routes = ROUTES.map(|(listener, prefix, _)| Arc::new(route(listener, prefix)));
    let listeners = [listener("v4", VIP), listener("v6", VIP6)].map(Arc::new);
    Snapshot::new(1, listeners, routes, backends, [])
}

/// Compiled when all that was new has rested.
pub(crate) fn compile(snapshot: &Snapshot) -> Compiled {
    let endpoints = snapshot.backends.values().flat_map(|backend| backend.endpoints.iter());
    let reach = |address: IpAddr| {
        let source = if address.is_ipv4() { SOURCE } else { SOURCE6 };
        Reach::From { source: source.parse().unwrap(), device: 2 }
    };
    let facts = Facts {
        forwarding: true,
        userspace: None,
        names_at_once: false,
        addresses: vec![],
        closed: [].into(),
        endpoints: endpoints
            .map(|one| (one.address.ip(), reach(one.address.ip())))
            .collect::<HashMap<_, _>>(),
    };
    let mut compiler = Compiler::new();
    compiler.compile(snapshot, &facts, Duration::ZERO);
    compiler.compile(snapshot, &facts, REST)
}

fn listener(name: &str, socket: &str) -> Listener {
    let socket: SocketAddr = socket.parse().unwrap();
    Listener {
        id: ListenerId::new("test", "gateway", name),
        addresses: vec![socket.ip()],
        port: socket.port(),
        protocol: Protocol::Http,
        hostname: None,
        tls: None,
        forwarded_headers: true,
        backend_certificate: None,
        proxy_protocol: false,
        reached_by: None,
    }
}

fn id(listener: &str, prefix: &str) -> BackendId {
    BackendId::service("test", &format!("{listener}{prefix}"), 80)
}

fn route(listener: &str, prefix: &str) -> Route {
    let name = format!("{listener}{prefix}");
    // A prefix by elements is told without its closing slash.
    let path = PathMatch::Prefix(prefix.trim_end_matches('/').into());
    let mut filters = Filters::default();
    if prefix == "/copied" {
        filters.mirrors =
            vec![Mirror { backend: id(listener, prefix), numerator: 1, denominator: 2, form: None }];
    }
    Route {
        listeners: [ListenerId::new("test", "gateway", listener)].into_iter().collect(),
        hosts: vec![],
        matches: vec![RouteMatch { path, method: None, headers: vec![], queries: vec![] }],
        affinity: match prefix {
            "/kept" => RouteAffinity::Client(Affinity::default()),
            _ => RouteAffinity::OfBackend,
        },
        tier: (prefix == "/user").then_some(Tier::Userspace),
        filters,
        forwarded_headers: prefix != "/plain",
        ..Route::new(
            RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", &name), rule: 0 },
            Action::Forward(vec![BackendRef::new(1, BackendTarget::Backend(id(listener, prefix)))]),
        )
    }
}

fn backend(listener: &str, prefix: &str, endpoints: &[&str]) -> Backend {
    let endpoint = |address: &&str| Endpoint {
        address: address.parse().unwrap(),
        other: None,
        weight: 1,
        condition: EndpointCondition::Ready,
    };
    Backend {
        id: id(listener, prefix),
        protocol: AppProtocol::Http1,
        security: Default::default(),
        proxy_protocol: (prefix == "/told").then_some(ProxyProtocol::V2),
        endpoints: endpoints.iter().map(endpoint).collect(),
        affinity: None,
        policy: None,
    }
}
