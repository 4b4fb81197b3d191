//! Looking up routes in tables from 10 to 40,000 of them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model::{
    Action, HeaderMatch, HostPattern, Listener, ListenerId, ObjectKind, ObjectRef, PathMatch, Protocol,
    RegexAnchor, RegexPattern, Route, RouteId, RouteMatch, Snapshot, ValueMatch, WildcardLabels,
};
use route::{Lookup, Pairs, Request, SocketTable, Table};

const SIZES: [usize; 4] = [10, 1_000, 10_000, 40_000];
/// So many requests are asked for in turn, spread over the table, so that neither caches nor branches know them all.
const REQUESTS: usize = 4_096;

/// A request, whose own bytes are at hand as they are when it has just been read: all stand in a row in the order in which
/// they are asked for, so that only the table can be missing in the caches.
struct Asked {
    host: &'static str,
    path: &'static str,
    headers: &'static [(String, String)],
}

/// Puts the hosts and paths of requests in a row.
fn in_a_row(all: impl Iterator<Item = (String, String, &'static [(String, String)])>) -> Vec<Asked> {
    let all: Vec<_> = all.collect();
    let text: String = all.iter().flat_map(|(host, path, _)| [&**host, path]).collect();
    let mut rest: &'static str = text.leak();
    let mut take = |length| {
        let (first, after) = rest.split_at(length);
        rest = after;
        first
    };
    all.iter()
        .map(|(host, path, headers)| Asked { host: take(host.len()), path: take(path.len()), headers })
        .collect()
}

/// The mix: up to 1,000 hosts, one in ten a wildcard; half of the paths exact, half prefixes, one route in four asks for a
/// header.
fn mix(routes: usize) -> (Vec<Route>, Vec<Asked>) {
    let hosts = routes.div_ceil(4).min(1_000);
    let made: Vec<_> = (0..routes)
        .map(|i| {
            let host = host_of(i % hosts);
            let text = path_of(i / hosts);
            let path =
                if i % 2 == 0 { PathMatch::Exact(text.into()) } else { PathMatch::Prefix(text.into()) };
            let headers = if i % 4 == 3 { vec![version()] } else { vec![] };
            a_route(i, vec![host], vec![RouteMatch { path, method: None, headers, queries: vec![] }])
        })
        .collect();
    let (without, with) = (headers(false), headers(true));
    let asked = (0..REQUESTS).map(|n| {
        let i = n * 7919 % routes;
        let host = host_of(i % hosts).to_string().replace('*', "some");
        let rest = if i.is_multiple_of(2) { "" } else { "/items/17" };
        (host, path_of(i / hosts) + rest, if i % 4 == 3 { with } else { without })
    });
    (made, in_a_row(asked))
}

fn host_of(i: usize) -> HostPattern {
    let star = if i.is_multiple_of(10) { "*." } else { "" };
    let parsed = HostPattern::parse(&format!("{star}shop-{i}.example.com"), WildcardLabels::OneOrMore);
    parsed.unwrap_or_else(|error| panic!("{error}"))
}

fn path_of(i: usize) -> String {
    format!("/api/v{}/service-{i}", i % 3)
}

fn version() -> HeaderMatch {
    HeaderMatch { name: "x-version".into(), value: ValueMatch::Exact("2".into()) }
}

/// What a browser or a client library sends, with or without the header that routes ask for.
fn headers(has_version: bool) -> &'static [(String, String)] {
    let mut all: Vec<(String, String)> = ["host", "user-agent", "accept", "accept-encoding", "cookie"]
        .map(|name| (name.to_string(), "some value or other".to_string()))
        .into();
    if has_version {
        all.push(("x-version".into(), "2".into()));
    }
    all.leak()
}

fn a_route(i: usize, hosts: Vec<HostPattern>, matches: Vec<RouteMatch>) -> Route {
    Route {
        listeners: vec![ListenerId::default_http()],
        hosts,
        matches,
        ..Route::new(
            RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "bench", &format!("r{i:05}")), rule: 0 },
            Action::Respond { status: 200, reason: "bench".into() },
        )
    }
}

fn table(routes: Vec<Route>) -> Table {
    Table::build(&snapshot(routes))
}

fn snapshot(routes: Vec<Route>) -> Snapshot {
    let listener = Listener {
        id: ListenerId::default_http(),
        addresses: vec![],
        port: 8080,
        protocol: Protocol::Http,
        hostname: None,
        tls: None,
        forwarded_headers: true,
        backend_certificate: None,
        proxy_protocol: false,
        reached_by: None,
    };
    Snapshot::new(1, [Arc::new(listener)], routes.into_iter().map(Arc::new), [], [])
}

fn socket(table: &Table) -> &SocketTable {
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    table.socket(address, 8080).unwrap_or_else(|| panic!("the table has this port"))
}

fn ask<'t>(socket: &'t SocketTable, asked: &Asked) -> Lookup<'t> {
    socket.lookup(&Request {
        host: asked.host,
        path: asked.path,
        query: None,
        method: "GET",
        headers: &Pairs(asked.headers),
    })
}

/// Measures the requests in turn, after checking that each finds a route.
fn measure(b: &mut criterion::Bencher<'_>, table: &Table, asked: &[Asked]) {
    let socket = socket(table);
    for one in asked {
        assert!(matches!(ask(socket, one), Lookup::Match { .. }), "{}{}", one.host, one.path);
    }
    let mut next = asked.iter().cycle();
    b.iter(|| next.next().map(|one| black_box(ask(socket, black_box(one)))));
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix of hosts, exact, prefix, headers");
    for size in SIZES {
        let (routes, asked) = mix(size);
        let table = table(routes);
        group.bench_function(BenchmarkId::from_parameter(size), |b| measure(b, &table, &asked));
    }
}

/// One host, paths only: what a path router does as well.
fn paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("paths of one host");
    for size in SIZES {
        let matches = |i| {
            vec![RouteMatch {
                path: PathMatch::Prefix(path_of(i).into()),
                method: None,
                headers: vec![],
                queries: vec![],
            }]
        };
        let table = table((0..size).map(|i| a_route(i, vec![], matches(i))).collect());
        let path = |n: usize| path_of(n * 7919 % size) + "/items/17";
        let asked = in_a_row((0..REQUESTS).map(|n| ("a.com".into(), path(n), &[][..])));
        group.bench_function(BenchmarkId::new("ours", size), |b| measure(b, &table, &asked));
        let mut router = matchit::Router::new();
        for i in 0..size {
            let inserted = router.insert(path_of(i) + "/{*rest}", i);
            inserted.unwrap_or_else(|error| panic!("{error}"));
        }
        group.bench_function(BenchmarkId::new("matchit", size), |b| {
            let mut next = asked.iter().cycle();
            b.iter(|| next.next().map(|one| black_box(router.at(black_box(one.path)).is_ok())));
        });
    }
}

/// Shapes that are hard on some structures.
fn shapes(c: &mut Criterion) {
    let mut group = c.benchmark_group("shapes");
    let one = |path| RouteMatch { path, method: None, headers: vec![], queries: vec![] };
    let ask_for =
        |path: String, headers| in_a_row([("a.b.c.d.e.f.example.com".into(), path, headers)].into_iter());

    let nested = |i: usize| "/a".repeat(i);
    let routes =
        (0..1_000).map(|i| a_route(i, vec![], vec![one(PathMatch::Prefix(nested(i).into()))])).collect();
    let all = table(routes);
    group.bench_function("1,000 nested prefixes", |b| measure(b, &all, &ask_for(nested(1_000), &[])));

    let canary = |i: usize| RouteMatch {
        headers: vec![HeaderMatch { name: "canary".into(), value: ValueMatch::Exact(i.to_string().into()) }],
        ..one(PathMatch::Prefix("".into()))
    };
    let all = table((0..10_000).map(|i| a_route(i, vec![], vec![canary(i)])).collect());
    let asked = ask_for("/".into(), vec![("canary".to_string(), "9999".to_string())].leak());
    group.bench_function("10,000 header matches", |b| measure(b, &all, &asked));

    let regex = |i: usize| {
        let pattern = format!("/service-{i}/[0-9]+").into();
        PathMatch::Regex(RegexPattern { pattern, anchor: RegexAnchor::Full, case_insensitive: false })
    };
    let all = table((0..100).map(|i| a_route(i, vec![], vec![one(regex(i))])).collect());
    group.bench_function("100 regexes", |b| measure(b, &all, &ask_for("/service-99/17".into(), &[])));
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("build");
    group.sample_size(10);
    for size in SIZES {
        let snapshot = snapshot(mix(size).0);
        group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter(|| Table::build(&snapshot)));
    }
}

criterion_group!(benches, lookup, paths, shapes, build);
criterion_main!(benches);
