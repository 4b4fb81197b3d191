//! What the tests of the compiler share.

#[path = "../../../route/tests/support/generate.rs"]
pub(crate) mod generate;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use dataplane::lookup::{Decision, LookupScratch, Punt, lookup};
use dataplane::request::{Names, scan};
use kernel::{Compiled, Compiler, Facts, REST, Reach, Tables};
use model::{
    Action, AppProtocol, Backend, BackendId, BackendRef, BackendTarget, Endpoint, EndpointCondition,
    HostPattern, Listener, ListenerId, ObjectKind, ObjectRef, PathMatch, Protocol, RegexAnchor, RegexPattern,
    Route, RouteId, RouteMatch, Snapshot,
};
use route::{Lookup, Pairs, Request, Table};
use wire::{HEADER_NAME_MAX, ListenerKey, Method, Payload, PayloadSpan, RequestFacts, fnv1a};

use generate::Generated;

const METHODS: [(&str, Method); 7] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("DELETE", Method::Delete),
    ("PATCH", Method::Patch),
    ("OPTIONS", Method::Options),
];

pub(crate) fn pattern(text: &str, anchor: RegexAnchor, case_insensitive: bool) -> RegexPattern {
    RegexPattern { pattern: text.into(), anchor, case_insensitive }
}

/// A listener `name` on port 80 of all addresses.
pub(crate) fn listener(name: &str, hostname: Option<HostPattern>) -> Listener {
    Listener {
        id: ListenerId::new("test", "gateway", name),
        addresses: vec![],
        port: 80,
        protocol: Protocol::Http,
        hostname,
        tls: None,
        forwarded_headers: true,
        backend_certificate: None,
        proxy_protocol: false,
        reached_by: None,
    }
}

/// The first rule of HTTPRoute `test/name` on `listeners`, to a backend of its name.
pub(crate) fn route(
    name: &str,
    listeners: &[&Listener],
    hosts: Vec<HostPattern>,
    matches: Vec<RouteMatch>,
) -> Route {
    let target = BackendTarget::Backend(BackendId::service("test", name, 80));
    Route {
        listeners: listeners.iter().map(|l| l.id.clone()).collect(),
        hosts,
        matches,
        ..Route::new(
            RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 },
            Action::Forward(vec![BackendRef::new(1, target)]),
        )
    }
}

/// A backend of this name with endpoints 10.1.0.`n`:8080.
pub(crate) fn backend(name: &str, endpoints: &[u8]) -> Backend {
    let endpoint = |&n: &u8| Endpoint {
        address: ([10, 1, 0, n], 8080).into(),
        other: None,
        weight: 1,
        condition: EndpointCondition::Ready,
    };
    Backend {
        id: BackendId::service("test", name, 80),
        protocol: AppProtocol::Http1,
        security: Default::default(),
        proxy_protocol: None,
        endpoints: endpoints.iter().map(endpoint).collect(),
        affinity: None,
        policy: None,
    }
}

/// The same snapshot with a backend of one endpoint for each that a route names; on some routes clients keep theirs.
pub(crate) fn with_backends(snapshot: &Snapshot) -> Snapshot {
    let names = snapshot.routes.iter().map(|route| route.id.object.name.clone());
    let backends = (1..=250).cycle().zip(names).map(|(n, name)| Arc::new(backend(&name, &[n])));
    let routes = snapshot.routes.iter().cloned().enumerate().map(|(n, mut route)| {
        if n % 3 == 0 {
            Arc::make_mut(&mut route).affinity = model::RouteAffinity::Client(model::Affinity::default());
        }
        route
    });
    Snapshot::new(1, snapshot.listeners.values().cloned(), routes, backends, [])
}

/// A host at 10.0.0.1 and 10.0.0.2 that reaches 10.1.0.0/24.
pub(crate) fn facts() -> Facts {
    let ours: IpAddr = [10, 0, 0, 1].into();
    Facts {
        forwarding: true,
        userspace: None,
        names_at_once: false,
        addresses: vec![ours, [10, 0, 0, 2].into()],
        closed: [].into(),
        endpoints: (0..=255)
            .map(|n| (IpAddr::from([10, 1, 0, n]), Reach::From { source: ours, device: 2 }))
            .collect::<HashMap<_, _>>(),
    }
}

/// Compiles when all that was new has rested.
pub(crate) fn compile(snapshot: &Snapshot) -> Compiled {
    compile_with(snapshot, &facts())
}

/// The same on another host.
pub(crate) fn compile_with(snapshot: &Snapshot, facts: &Facts) -> Compiled {
    let mut compiler = Compiler::new();
    compiler.compile(snapshot, facts, Duration::ZERO);
    compiler.compile(snapshot, facts, REST)
}

/// Of the tests' addresses, 10.a.b.c, those over IPv6: fd10:a:b::c.
pub(crate) fn over_v6(address: IpAddr) -> IpAddr {
    let IpAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    let [_, a, b, c] = v4.octets();
    Ipv6Addr::new(0xfd10, a.into(), b.into(), 0, 0, 0, 0, c.into()).into()
}

/// A request as the kernel has it.
pub(crate) struct Scanned {
    pub(crate) payload: Box<Payload>,
    pub(crate) facts: RequestFacts,
}

/// Whether the kernel's own scan reads a request with this path, or leaves it to userspace.
pub(crate) fn is_read(path: &str, tables: &Tables) -> bool {
    let text = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut payload = Box::new(Payload { bytes: [b'?'; size_of::<Payload>()] });
    payload.bytes[..text.len()].copy_from_slice(text.as_bytes());
    scan(&payload, text.len() as u32, false, &Numbered(tables), &mut RequestFacts::default()).is_ok()
}

/// Writes a request down, and what a scan finds in it; none if a scan would leave it to userspace.
pub(crate) fn scanned(request: &Generated, query: Option<&str>, tables: &Tables) -> Option<Scanned> {
    let method = METHODS.iter().find(|(name, _)| *name == request.method)?.1;
    request.path.starts_with('/').then_some(())?;
    let mut text = Vec::new();
    let mut facts = RequestFacts {
        method: method as u8,
        path_hash: fnv1a(request.path.as_bytes()),
        ..Default::default()
    };
    text.extend(format!("{} ", request.method).bytes());
    facts.path = append(&mut text, &request.path);
    text.extend(query.map(|query| format!("?{query}")).unwrap_or_default().bytes());
    text.extend(b" HTTP/1.1\r\nHost: ");
    facts.host = append(&mut text, &request.host);
    for (name, value) in &request.headers {
        text.extend(format!("\r\n{name}: ").bytes());
        let span = append(&mut text, value);
        let mut padded = [0; 32];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(&number) = tables.names.get(&padded) {
            if facts.captured >> number & 1 == 1 {
                return None;
            }
            facts.captured |= 1 << number;
            facts.captures[number as usize] = span;
        }
    }
    text.extend(b"\r\nContent-Length: 0\r\n\r\n");
    let mut payload = Box::new(Payload { bytes: [b'?'; size_of::<Payload>()] });
    payload.bytes[..text.len()].copy_from_slice(&text);
    // The scan refuses more than this test does; what it accepts it must read alike.
    let mut read = RequestFacts::default();
    let captures = tables.captures_headers();
    if scan(&payload, text.len() as u32, captures, &Numbered(tables), &mut read).is_ok() {
        let key =
            |facts: &RequestFacts| (facts.path_hash, facts.path, facts.host, facts.method, facts.captured);
        assert_eq!(key(&read), key(&facts), "{}", String::from_utf8_lossy(&text));
        facts = read;
    }
    Some(Scanned { payload, facts })
}

struct Numbered<'t>(&'t Tables);

impl Names for Numbered<'_> {
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8> {
        self.0.names.get(name).map(|&number| number as u8)
    }
}

fn append(text: &mut Vec<u8>, part: &str) -> PayloadSpan {
    let start = text.len();
    text.extend(part.bytes());
    PayloadSpan { start: start as u16, len: part.len() as u16 }
}

/// The number of the routing tables behind an address; 0 if userspace serves it.
pub(crate) fn socket(tables: &Tables, address: IpAddr, port: u16) -> u32 {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let key = ListenerKey::tcp(octets, port.to_be_bytes());
    tables.vips.get(&key).map_or(0, |vip| vip.socket)
}

/// What the kernel says.
pub(crate) fn decide<T: dataplane::lookup::Tables>(tables: &T, socket: u32, request: &Scanned) -> Decision {
    // Whatever was there before.
    let mut scratch = LookupScratch::EMPTY;
    match socket {
        0 => Decision::Tier3(Punt::RouteOfUserspace),
        _ => lookup(tables, socket, &request.payload, &request.facts, &mut scratch),
    }
}

/// A GET without headers to 10.0.0.1:80.
pub(crate) fn get(host: &str, path: &str) -> Generated {
    Generated {
        address: [10, 0, 0, 1].into(),
        port: 80,
        host: host.into(),
        path: path.into(),
        method: "GET".into(),
        headers: vec![],
        parameters: vec![],
    }
}

/// A match on a path alone.
pub(crate) fn on(path: PathMatch) -> RouteMatch {
    RouteMatch { path, method: None, headers: vec![], queries: vec![] }
}

/// The name of the route that the kernel takes for a request; none: userspace's.
pub(crate) fn taken(compiled: &Compiled, request: &Generated) -> Option<String> {
    let read = scanned(request, None, &compiled.tables)?;
    let number = socket(&compiled.tables, request.address, request.port);
    match decide(&compiled.tables, number, &read) {
        Decision::Route { action } => Some(compiled.routes[&action].object.name.to_string()),
        Decision::Tier3(_) => None,
    }
}

/// The route that the matcher finds.
pub(crate) fn matched(table: &Table, request: &Generated, query: Option<&str>) -> Option<RouteId> {
    let asked = Request {
        host: &request.host,
        path: &request.path,
        query,
        method: &request.method,
        headers: &Pairs(&request.headers),
    };
    match table.socket(request.address, request.port)?.lookup(&asked) {
        Lookup::Match { route, .. } => Some(route.id.clone()),
        _ => None,
    }
}

/// Another snapshot that shares most of the first, without backends.
pub(crate) fn mixed(dice: &mut generate::Dice, old: &Snapshot) -> Snapshot {
    let mut other = generate::snapshot(dice);
    let mut new = old.clone();
    new.routes.retain(|_| !dice.one_in(6));
    other.routes.truncate(dice.below(8));
    for route in other.routes {
        let mut route = Arc::unwrap_or_clone(route);
        route.listeners = old.listeners.keys().filter(|_| !dice.one_in(3)).cloned().collect();
        new.routes.push(Arc::new(route));
    }
    new
}
