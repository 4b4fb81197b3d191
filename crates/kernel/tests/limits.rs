//! Tables with little room: what does not fit is userspace's, nothing else is decided otherwise, and with more room it is the
//! kernel's.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "tables of tests are small")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use kernel::{Compiler, Map, REST, Sizes, Tables, Why, needed};
use model::{PathMatch, Snapshot, Tier};
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
    }
}

/// Maps whose new entries come before old ones go take twice as many.
fn assert_fits(tables: &Tables, sizes: &Sizes, has_both: bool) {
    let found = taken_by(tables);
    for table in Sizes::TABLES {
        let twice = if has_both && table == Map::Hosts { 2 } else { 1 };
        let (found, room) = (found.of(table).unwrap(), twice * sizes.of(table).unwrap());
        assert!(found <= room, "{} of {room} in {}", found, table.name());
    }
    assert!(tables.copies.keys().all(|action| *action < sizes.actions));
    let members = if has_both { 2 * sizes.endpoints } else { sizes.endpoints };
    assert!(tables.members.len() as u32 <= members);
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
            let update = compiler.update(&now, &facts(), at);
            for write in &update.writes {
                assert!(live.apply(write));
                assert_fits(&live, &sizes, true);
            }
            let compiled = compiler.compile(&now, &facts(), at);
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

/// A snapshot of `count` rules under paths, each with a backend and endpoint of its own.
fn many(count: usize) -> Snapshot {
    let listener = listener("l", None);
    let (mut routes, mut backends) = (Vec::new(), Vec::new());
    for n in 0..count {
        let name = format!("r{n}");
        let path = if n % 2 == 0 { PathMatch::Exact } else { PathMatch::Prefix };
        let host = model::HostPattern::parse(&format!("{n}.test"), model::WildcardLabels::One).unwrap();
        let one = on(path(format!("/{n}").into()));
        routes.push(Arc::new(route(&name, &[&listener], vec![host], vec![one])));
        let mut backend = backend(&name, &[1]);
        backend.endpoints[0].address.set_port(u16::try_from(10_000 + n).unwrap());
        backends.push(Arc::new(backend));
    }
    Snapshot::new(1, [Arc::new(listener)], routes, backends, [])
}

fn in_kernel(compiler: &mut Compiler, snapshot: &Snapshot, now: Duration) -> (usize, bool) {
    let compiled = compiler.compile(snapshot, &facts(), now);
    let (kernels, others): (Vec<_>, Vec<_>) =
        compiled.placements.iter().partition(|one| one.tier == Tier::Tc);
    assert!(others.iter().all(|one| one.reason == Some(Why::Full)), "{others:?}");
    (kernels.len(), compiler.lacks_room())
}

#[test]
fn each_table_that_is_full_leaves_routes_to_userspace_until_there_is_room() {
    const COUNT: usize = 40;
    let snapshot = many(COUNT);
    let need = needed(&snapshot, &facts());
    for table in Sizes::TABLES {
        let enough = Sizes::from_tables(|map| need.of(map).unwrap());
        let mut compiler = Compiler::with_sizes(enough);
        assert_eq!(in_kernel(&mut compiler, &snapshot, Duration::ZERO), (COUNT, false), "{need:?}");
        if table == Map::HeaderConditions {
            continue;
        }
        let short = Sizes::from_tables(|map| need.of(map).unwrap() - u32::from(map == table) * 8);
        let mut compiler = Compiler::with_sizes(short);
        let (some, lacks) = in_kernel(&mut compiler, &snapshot, Duration::ZERO);
        // All hosts of a socket have room, or none.
        let most = if table == Map::Hosts { 0 } else { COUNT - 4 };
        assert!(some <= most && lacks, "{}: {some} in the kernel", table.name());
        assert!(some > 0 || table == Map::Hosts, "{}", table.name());

        let before = compiler.tables();
        // With room for what rests, too.
        compiler.resize(Sizes::from_tables(|map| 2 * enough.of(map).unwrap()));
        assert_eq!(in_kernel(&mut compiler, &snapshot, REST), (COUNT, false), "{}", table.name());
        let after = compiler.tables();
        let kept = before.endpoints.iter().filter(|(at, record)| after.endpoints.get(at) == Some(record));
        assert_eq!(kept.count(), before.endpoints.len(), "connections go on: {}", table.name());
    }
}

/// An agent that finds maps larger than its own would be goes on in them, with every index that is taken there.
#[test]
fn what_was_found_beyond_ones_own_size_is_kept() {
    let snapshot = many(40);
    let need = needed(&snapshot, &facts());
    let mut first = Compiler::with_sizes(need);
    let found = first.compile(&snapshot, &facts(), Duration::ZERO).tables;
    let mut again = Compiler::resume_with_sizes(found, need);
    assert_eq!(again.update(&snapshot, &facts(), Duration::ZERO).writes, []);
    assert!(!again.lacks_room());
    // What comes has the places that are left, and no others.
    let more = many(50);
    let compiled = again.compile(&more, &facts(), 2 * REST);
    assert_fits(&compiled.tables, &need, false);
    assert!(again.lacks_room());
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
    let last = |port: u16| socket(&compiled.tables, [10, 0, 0, 1].into(), port);
    assert!(last(1000) != 0 && last(1000 + 4095) == 0);
    let found: Vec<_> = compiled.placements.iter().map(|one| (one.tier, one.reason)).collect();
    assert_eq!(found, [(Tier::Tc, Some(Why::Full)), (Tier::Userspace, Some(Why::Full))]);
}
