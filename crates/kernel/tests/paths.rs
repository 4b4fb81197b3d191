//! Paths that are easily decided wrongly.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;

use kernel::Compiled;
use model::{PathMatch, RouteMatch, Snapshot};
use route::Table;
use support::{backend, compile, get, listener, matched, on, route, taken};
use wire::fnv1a;

fn exact(path: &str) -> RouteMatch {
    on(PathMatch::Exact(path.into()))
}

fn prefix(path: &str) -> RouteMatch {
    on(PathMatch::Prefix(path.into()))
}

/// Compiles routes on one listener, each with one match.
fn compiled(routes: &[(&str, RouteMatch)]) -> (Compiled, Table) {
    let listener = listener("l", None);
    let all = routes.iter().map(|(name, one)| Arc::new(route(name, &[&listener], vec![], vec![one.clone()])));
    let backends = routes.iter().map(|(name, _)| Arc::new(backend(name, &[1])));
    let snapshot = Snapshot::new(1, [Arc::new(listener.clone())], all.collect::<Vec<_>>(), backends, []);
    (compile(&snapshot), Table::build(&snapshot))
}

/// What both take for a path; userspace is asked where the kernel does not decide.
fn answer((compiled, table): &(Compiled, Table), path: &str) -> (Option<String>, Option<String>) {
    let request = get("a.com", path);
    let by_matcher = matched(table, &request, None).map(|id| id.object.name.to_string());
    let by_kernel = taken(compiled, &request);
    assert!(by_kernel.is_none() || by_kernel == by_matcher, "{path}: {by_kernel:?}, not {by_matcher:?}");
    (by_kernel, by_matcher)
}

#[test]
fn nested_prefixes_decide() {
    let tables = compiled(&[("root", prefix("")), ("api", prefix("/api")), ("v2", prefix("/api/v2"))]);
    for (path, wanted) in [
        ("/", "root"),
        ("/ap", "root"),
        ("/apix", "root"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api/v1", "api"),
        ("/api/v22", "api"),
        ("/api/v2", "v2"),
        ("/api/v2/", "v2"),
        ("/api/v2/x", "v2"),
    ] {
        assert_eq!(answer(&tables, path).0.as_deref(), Some(wanted), "{path}");
    }
}

#[test]
fn a_prefix_whose_candidates_fail_leads_on_to_the_next() {
    let post = |path| RouteMatch { method: Some("POST".into()), ..prefix(path) };
    let (compiled, _) = compiled(&[
        ("root", prefix("")),
        ("api", post("/api")),
        ("exact", RouteMatch { method: Some("PUT".into()), ..exact("/api/v2") }),
    ]);
    let by = |method: &str, path: &str| {
        let mut request = get("a", path);
        request.method = method.into();
        taken(&compiled, &request).unwrap()
    };
    assert_eq!(by("POST", "/api/v2"), "api");
    assert_eq!(by("GET", "/api/v2"), "root");
    assert_eq!(by("PUT", "/api/v2"), "exact");
    assert_eq!(by("PUT", "/api/v2/"), "root");
}

/// Two texts with one FNV-1a hash, found by a short vector of the lattice of its multiplier's powers.
#[test]
fn a_hash_never_decides_alone() {
    let pair = ["/api/h92g1b3ieabdb4", "/api/fjs7dfayalc4f9"];
    assert_eq!(fnv1a(pair[0].as_bytes()), fnv1a(pair[1].as_bytes()));
    assert_ne!(pair[0], pair[1]);
    // One of them has a route: the other does not get it.
    let one = compiled(&[("root", prefix("")), ("one", exact(pair[0]))]);
    assert_eq!(answer(&one, pair[0]).0.as_deref(), Some("one"));
    assert_eq!(answer(&one, pair[1]).0.as_deref(), Some("root"));
    // Both have one: userspace tells them apart.
    let both = compiled(&[("root", prefix("")), ("one", exact(pair[0])), ("two", exact(pair[1]))]);
    assert_eq!(answer(&both, pair[0]), (None, Some("one".into())));
    assert_eq!(answer(&both, pair[1]), (None, Some("two".into())));
    assert_eq!(answer(&both, "/api/other").0.as_deref(), Some("root"));
}

#[test]
fn long_paths_decide_unless_a_longer_route_might_want_them() {
    let long = |n: usize| format!("/{}", "x".repeat(n - 1));
    let tables = compiled(&[("root", prefix("")), ("most", exact(&long(247))), ("api", prefix("/api"))]);
    assert_eq!(answer(&tables, &long(247)).0.as_deref(), Some("most"));
    assert_eq!(answer(&tables, &long(248)).0.as_deref(), Some("root"));
    assert_eq!(answer(&tables, &format!("/api{}", long(244))).0.as_deref(), Some("api"));
    let tables =
        compiled(&[("root", prefix("")), ("long", exact(&long(248))), ("longer", prefix(&long(300)))]);
    assert_eq!(answer(&tables, &long(248)), (None, Some("long".into())));
    assert_eq!(answer(&tables, &long(246)).0.as_deref(), Some("root"));
    assert_eq!(answer(&tables, "/y").0.as_deref(), Some("root"));
}

#[test]
fn bytes_and_elements_may_want_the_same_text() {
    let by_string = |path: &str| on(PathMatch::StringPrefix(path.into()));
    let tables = compiled(&[
        ("element", prefix("/a")),
        ("slash", by_string("/a/")),
        ("bytes", by_string("/a")),
        ("every", by_string("")),
    ]);
    for (path, wanted) in
        [("/a", "element"), ("/a/", "slash"), ("/a/b", "slash"), ("/ab", "bytes"), ("/b", "every")]
    {
        assert_eq!(answer(&tables, path).0.as_deref(), Some(wanted), "{path}");
    }
}

#[test]
fn hosts_fold_case_and_lose_a_trailing_dot() {
    let listener = listener("l", None);
    let pattern = |text| model::HostPattern::parse(text, model::WildcardLabels::OneOrMore).unwrap();
    let routes = [("exact", "www.a.com"), ("below", "*.a.com"), ("deep", "*.b.a.com")]
        .map(|(name, host)| Arc::new(route(name, &[&listener], vec![pattern(host)], vec![])));
    let backends = ["exact", "below", "deep"].map(|name| Arc::new(backend(name, &[1])));
    let tables = compile(&Snapshot::new(1, [Arc::new(listener)], routes, backends, []));
    for (host, wanted) in [
        ("www.a.com", Some("exact")),
        ("WWW.A.com.", Some("exact")),
        ("ww.a.com", Some("below")),
        ("www.www.a.com", Some("below")),
        ("x.b.a.com", Some("deep")),
        ("b.a.com", Some("below")),
        ("a.com", None),
        ("xa.com", None),
        (".a.com", None),
    ] {
        assert_eq!(taken(&tables, &get(host, "/")).as_deref(), wanted, "{host}");
    }
    let longest = format!("{}.a.com", "x".repeat(57));
    assert_eq!(taken(&tables, &get(&longest, "/")).as_deref(), Some("below"));
    assert_eq!(taken(&tables, &get(&format!("x{longest}"), "/")), None, "64 bytes");
}
