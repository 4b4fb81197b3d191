//! A compiler that goes on from the compilation before decides as a new one does, and its writes lead there.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use dataplane::lookup::Decision;
use kernel::{Compiled, Compiler, Facts, REST, Tables, diff};
use model::{
    Affinity, Backend, HostPattern, Listener, PathMatch, Route, RouteAffinity, RouteMatch, Snapshot,
    WildcardLabels,
};
use support::generate::{Dice, Generated};
use support::{backend, decide, facts, get, listener, on, route, scanned, socket};

const HOSTS: [&str; 8] = [
    "a.example.com",
    "b.example.com",
    "c.b.example.com",
    "*.example.com",
    "*.b.example.com",
    "a.org",
    "*.org",
    "localhost",
];
const PATHS: [&str; 6] = ["", "/a", "/a/b", "/b", "/c", "/a/b/c"];

fn a_match(dice: &mut Dice) -> RouteMatch {
    let path: Arc<str> = PATHS[dice.below(PATHS.len())].into();
    let one = match dice.below(8) {
        0..=3 => on(PathMatch::Prefix(path)),
        4..=6 => on(PathMatch::Exact(if path.is_empty() { "/".into() } else { path })),
        _ => on(PathMatch::StringPrefix(path)),
    };
    let method = dice.one_in(4).then(|| "POST".into());
    RouteMatch { method, ..one }
}

/// Some route of this name.
fn a_route(dice: &mut Dice, name: &str, listeners: &[Listener]) -> Route {
    let of = listeners.iter().filter(|_| !dice.one_in(3)).collect::<Vec<_>>();
    let host = |dice: &mut Dice| {
        // A suffix for one label moves routes of other hosts.
        let labels = if dice.one_in(40) { WildcardLabels::One } else { WildcardLabels::OneOrMore };
        HostPattern::parse(HOSTS[dice.below(HOSTS.len())], labels).unwrap()
    };
    let hosts = (0..dice.below(3)).map(|_| host(dice)).collect();
    let matches = (0..dice.below(3)).map(|_| a_match(dice)).collect();
    let mut route = route(name, &of, hosts, matches);
    route.created_unix_s = dice.one_in(3).then(|| dice.below(3) as i64);
    if dice.one_in(6) {
        route.affinity = if dice.one_in(2) { RouteAffinity::Off } else { RouteAffinity::Client(affinity()) };
    }
    if dice.one_in(30) {
        let value = model::ValueMatch::Exact("1".into());
        route.matches.push(on(PathMatch::Prefix("/h".into())));
        route.matches.last_mut().unwrap().headers.push(model::HeaderMatch { name: "x-a".into(), value });
    }
    route
}

fn affinity() -> Affinity {
    Affinity::default()
}

/// A backend of this name; clients of some keep their endpoint.
fn a_backend(dice: &mut Dice, name: &str, endpoints: &[u8]) -> Backend {
    Backend { affinity: dice.one_in(4).then(affinity), ..backend(name, endpoints) }
}

/// Changes a few records.
fn change(dice: &mut Dice, old: &Snapshot, listeners: &[Listener]) -> Snapshot {
    let mut routes = old.routes.clone();
    let mut backends = old.backends.clone();
    for _ in 0..=dice.below(2) {
        let name = format!("r{}", dice.below(14));
        match dice.below(6) {
            0 => routes.retain(|route| *route.id.object.name != *name),
            1 => drop(backends.insert(backend(&name, &[]).id, Arc::new(backend(&name, &[])))),
            2 => {
                let first = 1 + dice.below(4) as u8;
                let new = a_backend(dice, &name, &[first, 9]);
                drop(backends.insert(new.id.clone(), Arc::new(new)));
            }
            _ => {
                routes.retain(|route| *route.id.object.name != *name);
                routes.push(Arc::new(a_route(dice, &name, listeners)));
                if dice.one_in(2) {
                    let only = 1 + dice.below(4) as u8;
                    let new = a_backend(dice, &name, &[only]);
                    drop(backends.insert(new.id.clone(), Arc::new(new)));
                }
            }
        }
    }
    let mut listeners = old.listeners.clone();
    if dice.one_in(25) {
        let other = Listener { forwarded_headers: dice.one_in(2), ..listener("one", None) };
        listeners.insert(other.id.clone(), Arc::new(other));
    }
    Snapshot::new(old.version + 1, listeners.into_values(), routes, backends.into_values(), [])
}

fn requests() -> Vec<Generated> {
    let hosts = [
        "a.example.com",
        "b.example.com",
        "x.example.com",
        "x.b.example.com",
        "c.b.example.com",
        "a.org",
        "z",
    ];
    let paths = ["/", "/a", "/a/b", "/a/x", "/ax", "/b", "/c/d", "/a/b/c/d"];
    let all = hosts.iter().flat_map(|host| paths.iter().map(move |path| get(host, path)));
    all.flat_map(|get| [Generated { method: "POST".into(), ..get.clone() }, get]).collect()
}

/// Of each request the route that the kernel takes, with what becomes of it there.
fn decisions(compiled: &Compiled, requests: &[Generated]) -> Vec<Option<String>> {
    let name = |request: &Generated| {
        let read = scanned(request, None, &compiled.tables)?;
        match decide(&compiled.tables, socket(&compiled.tables, request.address, request.port), &read) {
            Decision::Tier3(_) => None,
            Decision::Route { action } => {
                let record = compiled.tables.actions[&action];
                let backends = record.backends.iter().take(record.backends_used as usize);
                let share = |one: &wire::WeightedBackend| {
                    (one.up_to, compiled.backends.get(&one.backend).cloned(), one.affinity_s)
                };
                let shares: Vec<_> = backends.map(share).collect();
                Some(format!("{} {} {shares:?}", compiled.routes[&action], record.flags))
            }
        }
    };
    requests.iter().map(name).collect()
}

/// Which endpoints clients of which backends may keep.
fn members(compiled: &Compiled) -> BTreeSet<(Option<model::BackendId>, wire::IpAddress, [u8; 2])> {
    let named = |member: &wire::Member| compiled.backends.get(&member.backend).cloned();
    compiled.tables.members.keys().map(|one| (named(one), one.address, one.port)).collect()
}

#[test]
fn going_on_gives_what_starting_over_gives() {
    let requests = requests();
    let (mut decided, mut kept) = (0, 0);
    for seed in 0..16 {
        let mut dice = Dice(seed << 32 | 11);
        let listeners = [
            listener("one", None),
            listener("two", Some(HostPattern::parse("*.example.com", WildcardLabels::OneOrMore).unwrap())),
        ];
        let mut snapshot = Snapshot::new(0, listeners.clone().map(Arc::new), [], [], []);
        let mut compiler = Compiler::new();
        let mut live = Tables::default();
        let mut facts: Facts = facts();
        let mut now = REST;
        for step in 0..40 {
            snapshot = change(&mut dice, &snapshot, &listeners);
            if dice.one_in(15) {
                facts.addresses.rotate_left(1);
            }
            now += if dice.one_in(3) { 2 * REST } else { REST / 10 };
            let update = compiler.update(&snapshot, &facts, now);
            for write in &update.writes {
                assert!(live.apply(write));
            }
            // Arrays keep what nothing points at.
            let at = format!("seed {seed}, step {step}");
            assert_eq!(diff(&live, &compiler.tables()), [], "{at}");
            let compiled = compiler.compile(&snapshot, &facts, now);
            let mut new = Compiler::new();
            new.compile(&snapshot, &facts, now - REST);
            let expected = new.compile(&snapshot, &facts, now);
            let (ours, theirs) = (decisions(&compiled, &requests), decisions(&expected, &requests));
            let has_headers = |route: &Arc<Route>| route.matches.iter().any(|one| !one.headers.is_empty());
            // Names of headers come into use a while after their routes.
            if !snapshot.routes.iter().any(has_headers) {
                assert_eq!(ours, theirs, "{at}");
                assert_eq!(compiled.placements, expected.placements, "{at}");
                assert_eq!(compiled.tables.hosts.len(), expected.tables.hosts.len(), "{at}");
                let (ours_kept, theirs_kept) = (members(&compiled), members(&expected));
                assert_eq!(ours_kept, theirs_kept, "{at}");
                kept += ours_kept.len();
                decided += ours.iter().flatten().count();
            }
            assert_eq!(compiled.tables.vips.len(), expected.tables.vips.len(), "{at}");
        }
        // In the end nothing is left of what was.
        let rested = |mut compiler: Compiler| {
            let [.., last] = [1, 3, 6].map(|n| compiler.compile(&snapshot, &facts, now + n * REST).tables);
            last
        };
        let (rested, fresh) = (rested(compiler), rested(Compiler::new()));
        let sizes = |tables: &Tables| {
            let paths = (tables.routes.len(), tables.prefixes.len(), tables.candidates.len());
            (paths, tables.conditions.len(), tables.actions.len(), tables.hosts.len())
        };
        assert_eq!(sizes(&rested), sizes(&fresh), "seed {seed}");
    }
    assert!(decided > 8_000 && kept > 400, "{decided} decided, {kept} members");
}
