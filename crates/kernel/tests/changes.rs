//! From one content of the maps to the next: a reader sees the old decision or the new one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use dataplane::lookup::{self, Decision};
use kernel::{Compiled, Compiler, Facts, Map, REST, Tables, diff};
use model::{PathMatch, Snapshot};
use support::generate::{Dice, request, snapshot};
use support::{
    Scanned, backend, decide, facts, get, listener, mixed, on, route, scanned, socket, taken, with_backends,
};
use wire::{
    Candidate, HeaderConditions, HostKey, HostRecord, PrefixKey, PrefixRecord, RouteKey, RouteRecord,
};

/// Another snapshot that shares most of the first.
fn changed(dice: &mut Dice, old: &Snapshot) -> Snapshot {
    let mut new = mixed(dice, old);
    if dice.one_in(4) {
        new.listeners.pop_last();
    }
    with_backends(&new)
}

fn requests(
    dice: &mut Dice,
    snapshots: [&Snapshot; 2],
    tables: [&Tables; 2],
    n: usize,
) -> Vec<(Scanned, u16)> {
    let mut all = Vec::new();
    for at in 0..n {
        let mut one = request(dice, snapshots[at % 2]);
        one.address = [10, 0, 0, 1].into();
        // The numbers of header names are the same in both where both have them.
        all.extend(scanned(&one, None, tables[1]).map(|read| (read, one.port)));
    }
    all
}

fn ask(tables: &Tables, (request, port): &(Scanned, u16)) -> Decision {
    decide(tables, socket(tables, [10, 0, 0, 1].into(), *port), request)
}

#[test]
fn between_any_two_writes_a_decision_is_the_old_or_the_new_one() {
    let (mut differ, mut steps) = (0, 0);
    for seed in 0..250 {
        let mut dice = Dice(seed << 32 | 5);
        let first = with_backends(&snapshot(&mut dice));
        let second = changed(&mut dice, &first);
        let mut compiler = Compiler::new();
        compiler.compile(&first, &facts(), Duration::ZERO);
        let old = compiler.compile(&first, &facts(), REST).tables;
        let new = compiler.compile(&second, &facts(), 10 * REST).tables;
        let requests = requests(&mut dice, [&first, &second], [&old, &new], 40);
        let before: Vec<_> = requests.iter().map(|request| ask(&old, request)).collect();
        let after: Vec<_> = requests.iter().map(|request| ask(&new, request)).collect();
        differ += before.iter().zip(&after).filter(|(a, b)| a != b).count();
        let mut live = old.clone();
        for write in diff(&old, &new) {
            assert!(live.apply(&write), "{write:?}");
            steps += 1;
            for ((request, before), after) in requests.iter().zip(&before).zip(&after) {
                let now = ask(&live, request);
                assert!(now == *before || now == *after, "seed {seed}: {now:?}, not {before:?} or {after:?}");
            }
        }
        // Arrays keep what nothing points at.
        assert!(diff(&live, &new).is_empty(), "all was written");
        assert_eq!((&live.hosts, &live.routes, &live.prefixes), (&new.hosts, &new.routes, &new.prefixes));
    }
    assert!(differ > 500 && steps > 5000, "{differ} decisions changed in {steps} steps");
}

/// While hosts go, none falls back on one that goes as well.
#[test]
fn hosts_that_go_together_never_fall_back_on_each_other() {
    let listener = listener("l", None);
    let pattern = |text| model::HostPattern::parse(text, model::WildcardLabels::OneOrMore).unwrap();
    let named = |name: &str, hosts| Arc::new(route(name, &[&listener], hosts, vec![]));
    let every = named("every", vec![]);
    let hosts = [("exact", "www.a.com"), ("below", "*.a.com"), ("com", "*.com")];
    let others = hosts.map(|(name, host)| named(name, vec![pattern(host)]));
    let with =
        |routes: Vec<_>| with_backends(&Snapshot::new(1, [Arc::new(listener.clone())], routes, [], []));
    let many = with(others.into_iter().chain([every.clone()]).collect());
    let few = with(vec![every]);
    let mut compiler = Compiler::new();
    let old = compiler.compile(&many, &facts(), Duration::ZERO);
    let new = compiler.compile(&few, &facts(), Duration::ZERO);
    for (from, to) in [(&old, &new), (&new, &old)] {
        let mut live = from.clone();
        for write in diff(&from.tables, &to.tables) {
            live.tables.apply(&write);
            live.routes.extend(to.routes.clone());
            for (host, name) in
                [("www.a.com", "exact"), ("x.a.com", "below"), ("x.com", "com"), ("org", "every")]
            {
                let now = taken(&live, &get(host, "/"));
                assert!([Some(name), Some("every")].contains(&now.as_deref()), "{host}: {now:?}");
            }
        }
    }
}

/// A reader that found its host's record before the writes, and the rest after them.
struct Late<'t> {
    root: &'t Tables,
    rest: &'t Tables,
}

impl lookup::Tables for Late<'_> {
    fn host<'t>(&'t self, key: &HostKey) -> Option<&'t HostRecord> {
        self.root.host(key)
    }
    fn route<'t>(&'t self, key: &RouteKey) -> Option<&'t RouteRecord> {
        self.rest.route(key)
    }
    fn prefix<'t>(&'t self, key: &PrefixKey) -> Option<&'t PrefixRecord> {
        self.rest.prefix(key)
    }
    fn candidate(&self, index: u32) -> Option<&Candidate> {
        lookup::Tables::candidate(self.rest, index)
    }
    fn conditions(&self, index: u32) -> Option<&HeaderConditions> {
        lookup::Tables::conditions(self.rest, index)
    }
}

#[test]
fn what_a_reader_began_it_can_finish() {
    let mut decided = 0;
    for seed in 0..250 {
        let mut dice = Dice(seed << 32 | 6);
        let first = with_backends(&snapshot(&mut dice));
        let second = changed(&mut dice, &first);
        let mut compiler = Compiler::new();
        compiler.compile(&first, &facts(), Duration::ZERO);
        let old = compiler.compile(&first, &facts(), REST).tables;
        let new = compiler.compile(&second, &facts(), 10 * REST).tables;
        let requests = requests(&mut dice, [&first, &second], [&old, &new], 40);
        let number = |tables: &Tables, port| socket(tables, [10, 0, 0, 1].into(), port);
        for request in &requests {
            let before = ask(&old, request);
            let late = decide(&Late { root: &old, rest: &new }, number(&old, request.1), &request.0);
            assert_eq!(late, before, "seed {seed}");
            decided += u32::from(matches!(before, Decision::Route { .. }));
        }
    }
    assert!(decided > 1000, "{decided} decided");
}

fn one_route(path: &str) -> Snapshot {
    let listener = listener("l", None);
    let routes = [Arc::new(route("r", &[&listener], vec![], vec![on(PathMatch::Prefix(path.into()))]))];
    Snapshot::new(1, [Arc::new(listener)], routes, [Arc::new(backend("r", &[1]))], [])
}

#[test]
fn the_same_snapshot_costs_no_write_and_old_scopes_go_when_they_have_rested() {
    let mut compiler = Compiler::new();
    let first = compiler.compile(&one_route("/a"), &facts(), Duration::ZERO);
    let same = compiler.compile(&one_route("/a"), &facts(), REST);
    assert_eq!((diff(&first.tables, &same.tables), same.again), (vec![], None));
    let second = compiler.compile(&one_route("/b"), &facts(), 2 * REST);
    assert_eq!((second.tables.prefixes.len(), second.again), (2, Some(3 * REST)));
    let third = compiler.compile(&one_route("/b"), &facts(), 3 * REST);
    assert_eq!((third.tables.prefixes.len(), third.again), (1, None));
    let writes = diff(&second.tables, &third.tables);
    assert_eq!(writes.len(), 1);
    assert_eq!((writes[0].map.name(), &writes[0].value), ("PREFIX_ROUTES", &None));
}

/// An agent that finds the maps of the one before takes over without a wrong decision, and flows keep their endpoint.
#[test]
fn a_new_agent_takes_over() {
    for seed in 0..100 {
        let mut dice = Dice(seed << 32 | 7);
        let first = with_backends(&snapshot(&mut dice));
        let second = changed(&mut dice, &first);
        let mut compiler = Compiler::new();
        compiler.compile(&first, &facts(), Duration::ZERO);
        let old: Compiled = compiler.compile(&first, &facts(), REST);
        let mut compiler = Compiler::resume(old.tables.clone());
        let new = compiler.compile(&second, &facts(), Duration::ZERO);
        let name = |decision| match decision {
            Decision::Route { action } => Some(old.routes.get(&action).or(new.routes.get(&action)).cloned()),
            Decision::Tier3(_) => None,
        };
        let requests = requests(&mut dice, [&first, &second], [&old.tables, &new.tables], 30);
        let before: Vec<_> = requests.iter().map(|request| ask(&old.tables, request)).collect();
        let after: Vec<_> = requests.iter().map(|request| ask(&new.tables, request)).collect();
        let mut live = old.tables.clone();
        for write in diff(&old.tables, &new.tables) {
            assert!(live.apply(&write));
            for ((request, before), after) in requests.iter().zip(&before).zip(&after) {
                let now = ask(&live, request);
                assert!(now == *before || now == *after, "seed {seed}: {:?}", name(now));
            }
        }
        for (index, record) in &old.tables.endpoints {
            let now = live.endpoints[index];
            assert_eq!((now.address, now.generation), (record.address, record.generation));
        }
        // In the end nothing is left of the agent before.
        assert_eq!(new.again, Some(REST));
        compiler.compile(&second, &facts(), REST);
        let rested = compiler.compile(&second, &facts(), 3 * REST).tables;
        let fresh = {
            let mut fresh = Compiler::new();
            fresh.compile(&second, &facts(), Duration::ZERO);
            fresh.compile(&second, &facts(), REST);
            fresh.compile(&second, &facts(), 3 * REST).tables
        };
        assert_eq!(rested.hosts.len(), fresh.hosts.len());
        assert_eq!((rested.routes.len(), rested.prefixes.len()), (fresh.routes.len(), fresh.prefixes.len()));
    }
}

fn with_header(path: &str) -> Snapshot {
    let mut snapshot = one_route(path);
    let header = model::HeaderMatch { name: "x-v".into(), value: model::ValueMatch::Exact("2".into()) };
    Arc::make_mut(&mut snapshot.routes[0]).matches[0].headers.push(header);
    snapshot
}

/// Where the writer waits, a name is in use with the first compilation, and all that needs it comes behind it.
#[test]
fn a_new_header_name_is_in_use_at_once_where_the_writer_waits() {
    let mut request = get("a", "/a");
    request.headers.push(("x-v".into(), "2".into()));
    let facts = Facts { names_at_once: true, ..facts() };
    let mut compiler = Compiler::new();
    let first = compiler.compile(&with_header("/a"), &facts, Duration::ZERO);
    assert_eq!((taken(&first, &request).as_deref(), first.again), (Some("r"), None));
    let writes = diff(&Tables::default(), &first.tables);
    let (before, behind) = writes.split_at(kernel::behind_names(&writes));
    assert_eq!(before.last().map(|write| write.map), Some(Map::HeaderNames));
    let needs = |map| matches!(map, Map::HeaderConditions | Map::Candidates | Map::Hosts | Map::Vips);
    assert!(
        before.iter().all(|write| !needs(write.map))
            && behind.iter().all(|write| write.map != Map::HeaderNames)
    );
    assert_eq!(behind.iter().filter(|write| write.map == Map::HeaderConditions).count(), 1);
    let again = compiler.update(&with_header("/b"), &facts, Duration::ZERO).writes;
    assert_eq!(kernel::behind_names(&again), 0, "a name that is known is nothing to wait for");
}

#[test]
fn a_new_header_name_waits_for_requests_scanned_without_it() {
    let mut request = get("a", "/a");
    request.headers.push(("x-v".into(), "2".into()));
    let mut compiler = Compiler::new();
    let first = compiler.compile(&with_header("/a"), &facts(), Duration::ZERO);
    assert!(first.tables.captures_headers());
    assert_eq!((taken(&first, &request), first.again), (None, Some(REST)));
    let second = compiler.compile(&with_header("/a"), &facts(), REST);
    assert_eq!(taken(&second, &request).as_deref(), Some("r"));
    request.headers[0].1 = "3".into();
    assert_eq!(taken(&second, &request), None);
}
