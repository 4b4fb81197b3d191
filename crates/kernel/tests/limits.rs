//! Tables with little room: what does not fit is userspace's, nothing else is decided otherwise, and with more room it is the
//! kernel's.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "tables of tests are small")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Compiler, Facts, Map, REST, Sizes, Tables, Why, needed};
use model::{Affinity, EndpointCondition, HeaderMatch, PathMatch, RouteAffinity, Snapshot, Tier, ValueMatch};
use route::Table;
use support::generate::{Dice, request, snapshot};
use support::{backend, facts, listener, matched, mixed, on, route, socket, taken, with_backends};

/// Room for a snapshot and what rests of others, but for one or two tables, which have less than it needs.
fn little(dice: &mut Dice, snapshot: &Snapshot) -> Sizes {
    let need = needed(snapshot, &facts());
    let short = [dice.of(&Sizes::TABLES), dice.of(&Sizes::TABLES)];
    Sizes::from_tables(|map| {
        let need = need.of(map).unwrap();
        if short.contains(&map) { 1 + need / 2 + dice.below(need as usize + 1) as u32 } else { 3 * need + 50 }
    })
}

/// How many entries a map has to have for a content.
fn taken_by(tables: &Tables) -> Sizes {
    let places = |last: Option<&u32>| last.map_or(0, |last| last + 1);
    Sizes {
        hosts: tables.hosts.len() as u32,
        routes: tables.routes.len() as u32,
        prefixes: tables.prefixes.len() as u32,
        candidates: places(tables.candidates.keys().next_back()),
        conditions: places(tables.conditions.keys().next_back()),
        actions: places(tables.actions.keys().next_back()),
        backends: places(tables.backends.keys().next_back()),
        maglev: places(tables.maglev.keys().next_back()),
        endpoints: places(tables.endpoints.keys().next_back()),
        members: tables.members.len() as u32,
    }
}

/// Maps whose new entries come before old ones go take twice as many.
fn assert_fits(tables: &Tables, sizes: &Sizes, has_both: bool) {
    let found = taken_by(tables);
    for table in Sizes::TABLES {
        let twice = if has_both && matches!(table, Map::Hosts | Map::BackendMembers) { 2 } else { 1 };
        let (found, room) = (found.of(table).unwrap(), twice * sizes.of(table).unwrap());
        assert!(found <= room, "{} of {room} in {}", found, table.name());
    }
    assert!(tables.copies.keys().all(|action| *action < sizes.actions));
}

/// Whatever is full at whatever moment, a request is decided as the matcher does or left to userspace, and no map gets an entry
/// that it has no place for.
#[test]
fn with_little_room_nothing_is_decided_otherwise() {
    let (mut decided, mut left, mut full) = (0, 0, 0);
    for seed in 0..80 {
        let mut dice = Dice(seed << 32 | 41);
        let mut now = with_backends(&snapshot(&mut dice));
        let sizes = little(&mut dice, &now);
        let mut compiler = Compiler::with_sizes(sizes);
        let mut live = Tables::default();
        for step in 0..5 {
            let at = REST * step + Duration::from_millis(u64::from(step));
            // Twice: what has rested is free when the first is done.
            for _ in 0..2 {
                for write in &compiler.update(&now, &facts(), at).writes {
                    assert!(live.apply(write));
                    assert_fits(&live, &sizes, true);
                }
            }
            let compiled = compiler.compile(&now, &facts(), at);
            assert!(live.members == compiled.tables.members && live.hosts == compiled.tables.hosts);
            assert_fits(&compiled.tables, &sizes, false);
            full += u32::from(compiler.lacks_room());
            let table = Table::build(&now);
            for _ in 0..40 {
                let asked = request(&mut dice, &now);
                let query = (!asked.parameters.is_empty()).then_some("x=1");
                match (taken(&compiled, &asked), query) {
                    (Some(name), None) => {
                        let wanted = matched(&table, &asked, None).unwrap();
                        assert_eq!(name, &*wanted.object.name, "{asked:?}");
                        decided += 1;
                    }
                    _ => left += 1,
                }
            }
            now = with_backends(&mixed(&mut dice, &now));
        }
    }
    assert!(decided > 500 && left > 500 && full > 50, "{decided} decided, {left} left, {full} times full");
}

/// A host whose programs know a new name of a header at once.
fn at_once() -> Facts {
    Facts { names_at_once: true, ..facts() }
}

/// A snapshot of `count` rules under paths and a header, each with a backend and endpoint of its own that its clients keep.
fn many(count: usize) -> Snapshot {
    let listener = listener("l", None);
    let (mut routes, mut backends) = (Vec::new(), Vec::new());
    for n in 0..count {
        let name = format!("r{n}");
        let path = if n % 2 == 0 { PathMatch::Exact } else { PathMatch::Prefix };
        let host = model::HostPattern::parse(&format!("{n}.test"), model::WildcardLabels::One).unwrap();
        let mut one = on(path(format!("/{n}").into()));
        one.headers = vec![HeaderMatch { name: "x-n".into(), value: ValueMatch::Exact("1".into()) }];
        let mut route = route(&name, &[&listener], vec![host], vec![one]);
        route.affinity = RouteAffinity::Client(Affinity::default());
        routes.push(Arc::new(route));
        let mut backend = backend(&name, &[1]);
        backend.endpoints[0].address.set_port(u16::try_from(10_000 + n).unwrap());
        backends.push(Arc::new(backend));
    }
    Snapshot::new(1, [Arc::new(listener)], routes, backends, [])
}

fn in_kernel(compiler: &mut Compiler, snapshot: &Snapshot, now: Duration) -> (usize, bool) {
    let compiled = compiler.compile(snapshot, &at_once(), now);
    let (kernels, others): (Vec<_>, Vec<_>) =
        compiled.placements.iter().partition(|one| one.tier == Tier::Tc);
    assert!(others.iter().all(|one| one.reason == Some(Why::Full)), "{others:?}");
    (kernels.len(), compiler.lacks_room())
}

#[test]
fn each_table_that_is_full_leaves_routes_to_userspace_until_there_is_room() {
    const COUNT: usize = 40;
    let snapshot = many(COUNT);
    let need = needed(&snapshot, &at_once());
    for table in Sizes::TABLES {
        let enough = Sizes::from_tables(|map| need.of(map).unwrap());
        let mut compiler = Compiler::with_sizes(enough);
        assert_eq!(in_kernel(&mut compiler, &snapshot, Duration::ZERO), (COUNT, false), "{need:?}");
        let short = Sizes::from_tables(|map| need.of(map).unwrap() - u32::from(map == table) * 8);
        let mut compiler = Compiler::with_sizes(short);
        let (some, lacks) = in_kernel(&mut compiler, &snapshot, Duration::ZERO);
        // All hosts of a socket have room, or none.
        let most = if table == Map::Hosts { 0 } else { COUNT - 4 };
        assert!(some <= most && lacks, "{}: {some} in the kernel", table.name());
        assert!(some > 0 || table == Map::Hosts, "{}", table.name());
        let lacking = compiler.lacking();
        // All of a socket's hosts count as one.
        let left = if table == Map::Hosts { 1 } else { COUNT - some };
        assert_eq!(lacking, [(table, left as u32)].into(), "eight entries of {}", table.name());

        let before = compiler.tables();
        // With room for what rests, too.
        compiler.resize(Sizes::from_tables(|map| 2 * enough.of(map).unwrap()));
        assert_eq!(in_kernel(&mut compiler, &snapshot, REST), (COUNT, false), "{}", table.name());
        let after = compiler.tables();
        let kept = before.endpoints.iter().filter(|(at, record)| after.endpoints.get(at) == Some(record));
        assert_eq!(kept.count(), before.endpoints.len(), "connections go on: {}", table.name());
        assert_eq!(compiler.lacking(), [].into());
    }
}

/// Making tables takes long where there are many, be it that there is room now or that they are compared with those that were found:
/// whoever has to show signs of life can do so at each.
#[test]
fn each_maglev_table_that_is_made_lets_the_caller_show_a_sign_of_life() {
    const COUNT: usize = 40;
    let (snapshot, facts) = (many(COUNT), at_once());
    let signs = |compiler: &mut Compiler, now| {
        let mut signs = 0;
        compiler.update_alive(&snapshot, &facts, now, &mut || signs += 1);
        signs
    };
    let mut compiler = Compiler::with_sizes(Sizes { maglev: 10, ..Sizes::default() });
    assert_eq!(signs(&mut compiler, Duration::ZERO), 10);
    compiler.resize(Sizes::default());
    assert_eq!(signs(&mut compiler, Duration::ZERO), COUNT - 10);
    assert_eq!(signs(&mut compiler, Duration::ZERO), 0, "they are there");
    let mut again = Compiler::resume(compiler.tables());
    assert_eq!(signs(&mut again, Duration::ZERO), COUNT);
}

/// An agent that finds a table smaller than what is in it, since one of its maps was lost, leaves every index there whose it is:
/// also when the table has grown again.
#[test]
fn what_was_found_beyond_a_tables_size_is_given_to_nobody_else() {
    const COUNT: usize = 60;
    let (snapshot, facts) = (many(COUNT), at_once());
    let need = needed(&snapshot, &facts);
    let first = Compiler::with_sizes(need).compile(&snapshot, &facts, Duration::ZERO);
    // Of indices there are half as many; what is found by its key has room.
    let few = Sizes {
        candidates: need.candidates / 2,
        conditions: need.conditions / 2,
        actions: need.actions / 2,
        backends: need.backends / 2,
        maglev: need.maglev / 2,
        endpoints: need.endpoints / 2,
        ..Sizes::from_tables(|map| 4 * need.of(map).unwrap())
    };
    let mut again = Compiler::resume_with_sizes(first.tables.clone(), few);
    assert_eq!(again.update(&snapshot, &facts, Duration::ZERO).writes, [], "all of it stays");
    again.compile(&snapshot, &facts, 2 * REST);
    again.resize(Sizes::from_tables(|map| 4 * need.of(map).unwrap()));
    let compiled = again.compile(&many(2 * COUNT), &facts, 3 * REST);
    assert!(!again.lacks_room());
    let tables = &compiled.tables;
    let different: BTreeSet<_> =
        tables.endpoints.values().map(|record| (record.address, record.port)).collect();
    assert_eq!((different.len(), tables.endpoints.len()), (2 * COUNT, 2 * COUNT), "one index each");
    assert!(first.tables.endpoints.iter().all(|(at, record)| tables.endpoints.get(at) == Some(record)));
    let routes: BTreeSet<_> = compiled.routes.values().collect();
    assert_eq!(
        (routes.len(), tables.actions.len(), tables.backends.len()),
        (2 * COUNT, 2 * COUNT, 2 * COUNT)
    );
    assert_eq!((tables.candidates.len(), tables.conditions.len()), (2 * COUNT, 2 * COUNT));
}

/// Services over the same Pods have as many members as if they were others, and few endpoints.
#[test]
fn members_are_counted_by_themselves() {
    const BACKENDS: usize = 50;
    let listener = listener("l", None);
    let names: Vec<String> = (0..BACKENDS).map(|n| format!("r{n}")).collect();
    let routes = names.iter().map(|name| {
        let host = model::HostPattern::parse(&format!("{name}.test"), model::WildcardLabels::One).unwrap();
        let mut route = route(name, &[&listener], vec![host], vec![]);
        route.affinity = RouteAffinity::Client(Affinity::default());
        Arc::new(route)
    });
    let all: Vec<u8> = (1..=100).collect();
    let backends = names.iter().map(|name| Arc::new(backend(name, &all)));
    let snapshot = Snapshot::new(1, [Arc::new(listener.clone())], routes.collect::<Vec<_>>(), backends, []);
    let need = needed(&snapshot, &facts());
    assert_eq!((need.members, need.endpoints), (5000, 101));
    let mut compiler = Compiler::with_sizes(Sizes { members: 4096, ..Sizes::default() });
    assert_eq!(in_kernel(&mut compiler, &snapshot, Duration::ZERO), (40, true));
    compiler.resize(Sizes { members: need.members, ..Sizes::default() });
    assert_eq!(in_kernel(&mut compiler, &snapshot, Duration::ZERO), (BACKENDS, false));
}

/// A set of more endpoints than its table has slots is userspace's however large maps are: none has to grow for it.
#[test]
fn a_table_that_cannot_be_wants_no_room() {
    let listener = listener("l", None);
    let mut large = backend("r", &[]);
    large.endpoints = (0..5000u16)
        .map(|n| model::Endpoint {
            address: ([10, 1, 0, 1], 1024 + n).into(),
            other: None,
            weight: 1,
            condition: EndpointCondition::Ready,
        })
        .collect();
    let routes = [Arc::new(route("r", &[&listener], vec![], vec![]))];
    let snapshot = Snapshot::new(1, [Arc::new(listener)], routes, [Arc::new(large)], []);
    let need = needed(&snapshot, &facts());
    assert_eq!((need.maglev, need.endpoints), (0, 5001));
    let mut compiler = Compiler::new();
    assert_eq!(in_kernel(&mut compiler, &snapshot, Duration::ZERO), (0, false));
}

/// As many sockets are the programs' as their map holds.
#[test]
fn sockets_beyond_the_table_are_the_hosts_stack_s() {
    let listeners: Vec<_> = (0..wire::LISTENERS_MAX)
        .map(|n| {
            let mut one = listener(&format!("l{n:04}"), None);
            one.port = u16::try_from(1000 + n).unwrap();
            Arc::new(one)
        })
        .collect();
    let all: Vec<_> = listeners.iter().map(|one| &**one).collect();
    let routes =
        [Arc::new(route("every", &all, vec![], vec![])), Arc::new(route("z", &all[4095..], vec![], vec![]))];
    let backends = ["every", "z"].map(|name| Arc::new(backend(name, &[1])));
    let snapshot = Snapshot::new(1, listeners, routes, backends, []);
    // Two addresses each.
    let mut compiler = Compiler::new();
    let compiled = compiler.compile(&snapshot, &facts(), Duration::ZERO);
    assert_eq!(compiled.tables.vips.len(), wire::LISTENERS_MAX);
    assert!(compiler.lacks_sockets() && !compiler.lacks_room());
    let last = |port: u16| socket(&compiled.tables, [10, 0, 0, 1].into(), port);
    assert!(last(1000) != 0 && last(1000 + 4095) == 0);
    let found: Vec<_> = compiled.placements.iter().map(|one| (one.tier, one.reason)).collect();
    assert_eq!(found, [(Tier::Tc, Some(Why::Full)), (Tier::Userspace, Some(Why::Full))]);
}
