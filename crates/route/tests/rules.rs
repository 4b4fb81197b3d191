//! The rules of the Gateway API and of Ingress, one by one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;

use model::{
    HeaderMatch, Listener, PathMatch, QueryMatch, RegexAnchor, Route, RouteMatch, Snapshot, ValueMatch,
};
use route::{Lookup, Pairs, Reason, Request, Table};
use support::{gateway_host, ingress_host, listener, pattern, route};

const NO_HEADERS: Pairs<'static> = Pairs(&[]);

fn path(path: PathMatch) -> RouteMatch {
    RouteMatch { path, method: None, headers: vec![], queries: vec![] }
}

fn exact(text: &str) -> RouteMatch {
    path(PathMatch::Exact(text.into()))
}

/// A prefix by element, as sources hand it over: without its trailing slash.
fn prefix(text: &str) -> RouteMatch {
    path(PathMatch::Prefix(text.trim_end_matches('/').into()))
}

fn string_prefix(text: &str) -> RouteMatch {
    path(PathMatch::StringPrefix(text.into()))
}

fn regex(text: &str) -> RouteMatch {
    path(PathMatch::Regex(pattern(text, RegexAnchor::Full, false)))
}

fn header(name: &str, value: &str) -> HeaderMatch {
    HeaderMatch { name: name.into(), value: ValueMatch::Exact(value.into()) }
}

fn query(name: &str, value: &str) -> QueryMatch {
    QueryMatch { name: name.into(), value: ValueMatch::Exact(value.into()) }
}

fn table(listeners: &[Listener], routes: Vec<Route>) -> Table {
    let listeners = listeners.iter().cloned().map(Arc::new);
    Table::build(&Snapshot::new(1, listeners, routes.into_iter().map(Arc::new), [], []))
}

fn get<'r>(host: &'r str, path: &'r str) -> Request<'r, Pairs<'r>> {
    Request { host, path, query: None, method: "GET", headers: &NO_HEADERS }
}

/// The name of the route that the table finds on port 80.
fn find<'t>(table: &'t Table, request: &Request<'_, Pairs<'_>>) -> Option<&'t str> {
    let socket = table.socket("10.0.0.1".parse().unwrap(), 80).unwrap();
    match socket.lookup(request) {
        Lookup::Match { route, .. } => Some(&*route.id.object.name),
        Lookup::NoRoute { .. } | Lookup::NoListener => None,
    }
}

/// Names of routes with their matches; asserts that `request` gets each in turn when those before it are left out.
fn ranked(matches: &[(&str, RouteMatch)], request: &Request<'_, Pairs<'_>>) {
    let all = listener("http", None);
    for from in 0..matches.len() {
        // In reverse, by name: the order of routes must not be what decides.
        let routes = matches[from..]
            .iter()
            .enumerate()
            .map(|(i, (name, one))| {
                let mut route = route(name, &[&all], vec![], vec![one.clone()]);
                route.created_unix_s = Some(1000 - i as i64);
                route
            })
            .collect();
        assert_eq!(find(&table(std::slice::from_ref(&all), routes), request), Some(matches[from].0));
    }
}

/// The table of pathTypes in the Kubernetes documentation on Ingress ("Examples").
#[test]
fn ingress_path_types() {
    type Row<'r> = (&'r [(&'r str, RouteMatch)], &'r str, Option<&'r str>);
    let rows: [Row<'_>; 18] = [
        (&[("a", prefix("/"))], "/anything/at/all", Some("a")),
        (&[("a", exact("/foo"))], "/foo", Some("a")),
        (&[("a", exact("/foo"))], "/bar", None),
        (&[("a", exact("/foo"))], "/foo/", None),
        (&[("a", exact("/foo/"))], "/foo", None),
        (&[("a", prefix("/foo"))], "/foo", Some("a")),
        (&[("a", prefix("/foo/"))], "/foo/", Some("a")),
        (&[("a", prefix("/aaa/bb"))], "/aaa/bbb", None),
        (&[("a", prefix("/aaa/bbb"))], "/aaa/bbb", Some("a")),
        (&[("a", prefix("/aaa/bbb/"))], "/aaa/bbb", Some("a")),
        (&[("a", prefix("/aaa/bbb"))], "/aaa/bbb/", Some("a")),
        (&[("a", prefix("/aaa/bbb"))], "/aaa/bbb/ccc", Some("a")),
        (&[("a", prefix("/aaa/bbb"))], "/aaa/bbbxyz", None),
        (&[("a", prefix("/")), ("b", prefix("/aaa"))], "/aaa/ccc", Some("b")),
        (&[("a", prefix("/")), ("b", prefix("/aaa")), ("c", prefix("/aaa/bbb"))], "/aaa/bbb", Some("c")),
        (&[("a", prefix("/")), ("b", prefix("/aaa")), ("c", prefix("/aaa/bbb"))], "/ccc", Some("a")),
        (&[("a", prefix("/aaa"))], "/ccc", None),
        (&[("a", prefix("/foo")), ("b", exact("/foo"))], "/foo", Some("b")),
    ];
    let all = listener("http", None);
    for (row, (paths, request, wanted)) in rows.into_iter().enumerate() {
        let routes = |default: bool| {
            let mut routes: Vec<_> =
                paths.iter().map(|(name, one)| route(name, &[&all], vec![], vec![one.clone()])).collect();
            if default {
                // A default backend is a route without hosts and matches; by name it would come first.
                routes.push(route("0-default", &[&all], vec![], vec![]));
            }
            table(std::slice::from_ref(&all), routes)
        };
        assert_eq!(find(&routes(false), &get("", request)), wanted, "row {row}: {request}");
        if row != 0 && row != 13 && row != 14 && row != 15 {
            let wanted = wanted.or(Some("0-default"));
            assert_eq!(find(&routes(true), &get("", request)), wanted, "row {row} with a default backend");
        }
    }
    // Two rows of that table hold two requests each.
    for text in ["/foo", "/foo/"] {
        let foo = table(std::slice::from_ref(&all), vec![route("a", &[&all], vec![], vec![prefix(text)])]);
        assert_eq!(find(&foo, &get("", "/foo")), Some("a"));
        assert_eq!(find(&foo, &get("", "/foo/")), Some("a"));
        assert_eq!(find(&foo, &get("", "/FOO")), None, "paths are case-sensitive");
    }
}

#[test]
fn paths_rank_exact_then_prefixes_by_length_then_regexes() {
    ranked(
        &[
            ("exact", exact("/api/v1")),
            ("element, 7 bytes", prefix("/api/v1")),
            ("string, 7 bytes", string_prefix("/api/v1")),
            ("string, 6 bytes", string_prefix("/api/v")),
            ("element, 4 bytes", prefix("/api")),
            ("everything", prefix("/")),
            ("long regex", regex("/api/v[0-9]+")),
            ("short regex", regex("/.*")),
        ],
        &get("a.com", "/api/v1"),
    );
}

#[test]
fn equal_paths_rank_by_method_headers_queries_age_name_and_place() {
    let headers = [("x".into(), "1".into()), ("y".into(), "2".into())];
    let headers = Pairs(&headers);
    let request = Request { query: Some("q=1&r=2"), headers: &headers, ..get("", "/a") };
    let with = |method: Option<&str>, headers: &[&HeaderMatch], queries: &[&QueryMatch]| RouteMatch {
        method: method.map(Into::into),
        headers: headers.iter().copied().cloned().collect(),
        queries: queries.iter().copied().cloned().collect(),
        ..exact("/a")
    };
    let (x, y, q, r) = (header("x", "1"), header("y", "2"), query("q", "1"), query("r", "2"));
    ranked(
        &[
            ("method", with(Some("GET"), &[], &[])),
            ("two headers", with(None, &[&x, &y], &[])),
            ("header and queries", with(None, &[&x], &[&q, &r])),
            ("header and query", with(None, &[&x], &[&q])),
            ("header", with(None, &[&x], &[])),
            ("two queries", with(None, &[], &[&q, &r])),
            ("query", with(None, &[], &[&q])),
            ("nothing", exact("/a")),
        ],
        &request,
    );
    let all = listener("http", None);
    let aged = |name: &str, rule: u32, age: Option<i64>| {
        let mut route = route(name, &[&all], vec![], vec![exact("/b"), exact("/a"), exact("/a")]);
        (route.id.rule, route.created_unix_s) = (rule, age);
        route
    };
    let routes =
        vec![aged("z", 1, Some(5)), aged("z", 0, Some(5)), aged("y", 0, Some(9)), aged("a", 0, None)];
    let table = table(std::slice::from_ref(&all), routes);
    let socket = table.socket("::1".parse().unwrap(), 80).unwrap();
    let Lookup::Match { route, route_index, match_index, .. } = socket.lookup(&request) else {
        panic!("no match")
    };
    assert_eq!((&*route.id.object.name, route.id.rule, route_index, match_index), ("z", 0, 0, 1));
}

#[test]
fn a_host_without_a_fitting_route_gives_way_to_the_next() {
    let all = listener("http", None);
    let on = |name: &str, hosts: Vec<model::HostPattern>, one| route(name, &[&all], hosts, vec![one]);
    let table = table(
        std::slice::from_ref(&all),
        vec![
            on("exact", vec![gateway_host("x.a.com")], exact("/only")),
            on("longer", vec![gateway_host("*.a.com")], prefix("/long")),
            on("shorter", vec![gateway_host("*.com")], prefix("/")),
            on("any", vec![], exact("/long")),
        ],
    );
    assert_eq!(find(&table, &get("x.a.com", "/only")), Some("exact"));
    assert_eq!(find(&table, &get("x.a.com", "/long")), Some("longer"), "the host goes before the path");
    assert_eq!(find(&table, &get("x.a.com", "/other")), Some("shorter"));
    assert_eq!(find(&table, &get("y.x.a.com", "/long/er")), Some("longer"));
    assert_eq!(find(&table, &get("a.org", "/long")), Some("any"));
    assert_eq!(find(&table, &get("", "/other")), None);
}

#[test]
fn wildcards_of_both_apis_compete_where_both_fit() {
    let all = listener("http", None);
    let table = table(
        std::slice::from_ref(&all),
        vec![
            route("ingress", &[&all], vec![ingress_host("*.a.com")], vec![prefix("/")]),
            route("gateway", &[&all], vec![gateway_host("*.a.com")], vec![exact("/x")]),
        ],
    );
    assert_eq!(find(&table, &get("x.a.com", "/x")), Some("gateway"));
    assert_eq!(find(&table, &get("x.a.com", "/y")), Some("ingress"));
    assert_eq!(find(&table, &get("y.x.a.com", "/x")), Some("gateway"));
    assert_eq!(find(&table, &get("y.x.a.com", "/y")), None, "one label only");
}

#[test]
fn only_routes_of_the_best_listener_count() {
    let (any, wide, one) = (
        listener("any", None),
        listener("wide", Some(gateway_host("*.a.com"))),
        listener("one", Some(gateway_host("x.a.com"))),
    );
    let table = table(
        &[any.clone(), wide.clone(), one.clone()],
        vec![
            route("on-any", &[&any], vec![], vec![]),
            route("on-wide", &[&wide], vec![], vec![prefix("/wide")]),
            route("on-one", &[&one], vec![], vec![prefix("/one")]),
        ],
    );
    assert_eq!(find(&table, &get("x.a.com", "/one")), Some("on-one"));
    assert_eq!(find(&table, &get("x.a.com", "/wide")), None, "the listener for x.a.com has no such route");
    assert_eq!(find(&table, &get("y.a.com", "/wide")), Some("on-wide"));
    assert_eq!(find(&table, &get("b.com", "/wide")), Some("on-any"));
    let socket = table.socket("10.0.0.1".parse().unwrap(), 80).unwrap();
    let Lookup::NoRoute { listener } = socket.lookup(&get("x.a.com", "/")) else { panic!("a route") };
    assert_eq!(&*listener.id.section, "one");
    assert_eq!(socket.listeners().count(), 3);
}

#[test]
fn listeners_with_addresses_go_before_those_without() {
    let (any, mut own) = (listener("any", None), listener("own", Some(gateway_host("a.com"))));
    own.addresses = vec!["10.0.0.9".parse().unwrap(), "::ffff:10.0.0.8".parse().unwrap()];
    let routes = [&any, &own].map(|l| route(&l.id.section, &[l], vec![], vec![]));
    let table = table(&[any, own], routes.into());
    let at = |address: &str, host| match table
        .socket(address.parse().unwrap(), 80)
        .unwrap()
        .lookup(&get(host, "/"))
    {
        Lookup::Match { route, .. } => Some(route.id.object.name.to_string()),
        _ => None,
    };
    assert_eq!(at("10.0.0.9", "a.com").as_deref(), Some("own"));
    assert_eq!(at("10.0.0.8", "a.com").as_deref(), Some("own"));
    assert_eq!(at("::ffff:10.0.0.9", "a.com").as_deref(), Some("own"));
    assert_eq!(at("10.0.0.9", "b.com"), None, "the other listener is not on this address");
    assert_eq!(at("10.0.0.7", "a.com").as_deref(), Some("any"));
    assert!(table.socket("10.0.0.9".parse().unwrap(), 81).is_none());
    let sockets: Vec<_> = table.sockets().map(|s| (s.address().map(|a| a.to_string()), s.port())).collect();
    assert_eq!(sockets, [(None, 80), (Some("10.0.0.8".into()), 80), (Some("10.0.0.9".into()), 80)]);
}

#[test]
fn a_regex_that_does_not_compile_leaves_only_its_match_out() {
    let all = listener("http", None);
    let mut by_header = prefix("/h");
    let broken = ValueMatch::Regex(pattern("[", RegexAnchor::Full, false));
    by_header.headers = vec![HeaderMatch { name: "x".into(), value: broken }];
    let matches = vec![regex("(/a"), exact("/b"), by_header];
    let table = table(std::slice::from_ref(&all), vec![route("r", &[&all], vec![], matches)]);
    assert_eq!(find(&table, &get("", "/b")), Some("r"));
    assert_eq!(find(&table, &get("", "/a")), None);
    let errors: Vec<_> = table.errors().iter().map(|e| (e.match_index, &*e.pattern)).collect();
    assert_eq!(errors, [(0, "(/a"), (2, "[")]);
    assert!(
        table.errors()[0].to_string().starts_with("HTTPRoute test/r rule 0: match 0: `(/a` is no regular")
    );
}

#[test]
fn many_matches_on_one_path_are_told_apart() {
    let all = listener("http", None);
    let matches = |i: u32| RouteMatch {
        headers: vec![header("canary", &i.to_string())],
        queries: if i.is_multiple_of(2) { vec![query("q", "1")] } else { vec![] },
        ..exact("/a")
    };
    let mut routes: Vec<_> =
        (0..1000).map(|i| route(&format!("r{i}"), &[&all], vec![], vec![matches(i)])).collect();
    routes.push(route("rest", &[&all], vec![], vec![exact("/a")]));
    let table = table(std::slice::from_ref(&all), routes);
    let ask = |canary: &str, query| {
        let headers = [("canary".to_string(), canary.to_string())];
        find(&table, &Request { query, headers: &Pairs(&headers), ..get("", "/a") }).map(str::to_string)
    };
    assert_eq!(ask("777", None).as_deref(), Some("r777"));
    assert_eq!(ask("778", Some("q=1")).as_deref(), Some("r778"));
    assert_eq!(ask("778", None).as_deref(), Some("rest"));
    assert_eq!(ask("1000", None).as_deref(), Some("rest"));
}

#[test]
fn explanations_name_the_winner_and_what_failed() {
    let all = listener("http", Some(gateway_host("*.a.com")));
    let mut by_method = exact("/a");
    by_method.method = Some("POST".into());
    let mut by_header = exact("/a");
    by_header.headers = vec![header("x", "1")];
    let mut routes = vec![
        route("method", &[&all], vec![], vec![by_method]),
        route("header", &[&all], vec![], vec![by_header]),
        route("prefix", &[&all], vec![], vec![prefix("/")]),
        route("later", &[&all], vec![], vec![]),
        route("host", &[&all], vec![gateway_host("y.a.com")], vec![]),
    ];
    routes
        .extend((0..100).map(|i| route(&format!("path{i}"), &[&all], vec![], vec![exact(&format!("/{i}"))])));
    let table = table(std::slice::from_ref(&all), routes);
    let socket = table.socket("10.0.0.1".parse().unwrap(), 80).unwrap();
    let explanation = socket.explain(&get("x.a.com", "/a"));
    assert_eq!(explanation.considered.len(), 64);
    assert_eq!(explanation.omitted, 41);
    let reason = |name: &str| {
        explanation.considered.iter().find(|c| &*c.route.object.name == name).map(|c| c.reason.clone())
    };
    assert_eq!(reason("method"), Some(Reason::Method));
    assert_eq!(reason("header"), Some(Reason::Header { name: "x".into() }));
    assert_eq!(reason("later"), Some(Reason::Wins));
    assert_eq!(reason("prefix"), Some(Reason::Outranked), "by name `later` goes before `prefix`");
    assert_eq!(reason("path0"), Some(Reason::Path));
    assert_eq!(reason("host"), None, "what fails earliest is left out first");
    let winner = &explanation.considered[explanation.winner.unwrap()];
    assert_eq!(&*winner.route.object.name, "later");
    let text = explanation.to_string();
    assert!(text.starts_with("listener test/gateway/http of 1 here: *.a.com fits best\n"), "{text}");
    assert!(
        text.contains("HTTPRoute test/header rule 0 match 0 (any host, path /a): header x is missing"),
        "{text}"
    );
    assert!(
        text.ends_with("and 41 more that fail earlier\nHTTPRoute test/later rule 0 takes the request\n"),
        "{text}"
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["listener"]["hostname"], "*.a.com");
    assert_eq!(json["considered"][0]["reason"]["type"], "method");
    let nowhere = socket.explain(&get("b.com", "/")).to_string();
    assert_eq!(nowhere, "none of 1 listeners here serves this host: 404\n");
}
