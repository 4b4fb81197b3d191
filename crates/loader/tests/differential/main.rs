//! Differential fuzz: generated requests through the loaded program, the pure scan, the compiled tables and the matcher.
//!
//! Whatever the pure code decides the program decides, with the route that the matcher finds: every route has an endpoint of
//! its own, whose address the SYN shows. Whatever it refuses is offered to the host. As first request of a connection
//! and as a later one. `RAUTA_FUZZ_REQUESTS` says how many (`./x fuzz kernel --requests N`); seeds are fixed.
//!
//! Now and then the rest of a request comes behind its first part, and a request ahead of the response before it.
//!
//! Needs root; fails without.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "frames and numbers of tests are short")]
#![allow(clippy::print_stdout, reason = "the counts of a long run")]

#[allow(dead_code, reason = "shared with the compiler's tests, which use the rest")]
#[path = "../../../kernel/tests/support/mod.rs"]
mod compiled;
mod conversation;
mod expected;
mod requests;
#[path = "../../../dataplane/tests/scans/mod.rs"]
mod scans;
#[path = "../support/mod.rs"]
mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use compiled::generate::{Dice, snapshot};
use compiled::{backend, compile, compile_with, facts, listener, on, over_v6, route, socket, with_backends};
use conversation::{Counts, converse};
use expected::World;
use kernel::{Facts, Reach};
use model::{Backend, Listener, PathMatch, Snapshot, ValueMatch};
use support::program::{Hook, Program};
use wire::Settings;

/// The address that requests go to, or over IPv6 what becomes of it there.
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Requests per table.
const PER_TABLE: u64 = 200;

#[test]
fn the_programs_of_tc_decide_what_the_pure_code_decides() {
    decide_what_the_pure_code_decides(Hook::Tc);
}

/// What they pass, those of TC decide.
#[test]
fn the_programs_of_xdp_decide_what_the_pure_code_decides() {
    decide_what_the_pure_code_decides(Hook::Xdp);
}

fn decide_what_the_pure_code_decides(hook: Hook) {
    let wanted: u64 = match std::env::var("RAUTA_FUZZ_REQUESTS") {
        Ok(text) => text.parse().expect("RAUTA_FUZZ_REQUESTS is a number"),
        Err(_) => 20_000,
    };
    let mut program = Program::load_at(hook);
    let mut counts = Counts::default();
    let mut before = kernel::Tables::default();
    let settings = support::settings();
    let first = if hook == Hook::Tc { 0 } else { 1 << 16 };
    for seed in first.. {
        if counts.requests >= wanted {
            break;
        }
        let mut dice = Dice(seed << 32);
        let snapshot = match seed % 4 {
            0 => nested(),
            1 => with_backends(&snapshot(&mut dice)),
            _ => with_backends(&ordinary(snapshot(&mut dice))),
        };
        // Either family in turn, after each kind of table.
        let is_v6 = seed / 4 % 2 == 1;
        let snapshot = if is_v6 { on_v6(&snapshot) } else { snapshot };
        let compiled = if is_v6 { compile_with(&snapshot, &facts_of_v6()) } else { compile(&snapshot) };
        let vip = if is_v6 { over_v6(VIP) } else { VIP };
        // A table that is userspace's altogether has nothing to compare.
        if socket(&compiled.tables, vip, 80) == 0 {
            continue;
        }
        let flags = if compiled.tables.captures_headers() { Settings::CAPTURES_HEADERS } else { 0 };
        program.set(&Settings { flags, ..settings });
        program.apply(&kernel::diff(&before, &compiled.tables));
        before = compiled.tables.clone();
        let world = World::new(&snapshot, compiled, (vip, 80).into(), seed % 4 == 0);
        let end = counts.requests + PER_TABLE;
        while counts.requests < end {
            converse(&mut program, &world, &settings.cookie_key, &mut dice, &mut counts);
        }
    }
    println!("{counts:?}, {} frames passed by XDP", program.deferred);
    // XDP passes what the host is asked to take and what comes behind it, and nothing else. Such a part comes again.
    let handed = counts.handed_first + counts.handed_later;
    let passed = if hook == Hook::Tc { 0 } else { handed + 2 * counts.rests };
    assert_eq!(program.deferred, passed, "{counts:?}");
    // The generators reach every outcome, often.
    for part in [
        counts.bound,
        counts.handed_first,
        counts.reused + counts.ahead,
        counts.rebound,
        counts.handed_later,
        counts.over_v6,
    ] {
        assert!(part * 100 > counts.requests, "{counts:?}");
    }
    for part in [counts.ahead, counts.held, counts.rests] {
        assert!(part * 1000 > counts.requests, "{counts:?}");
    }
}

/// The same with all addresses over IPv6.
fn on_v6(snapshot: &Snapshot) -> Snapshot {
    let listeners = snapshot.listeners.values().map(|listener| {
        let mut listener = Listener::clone(listener);
        listener.addresses.iter_mut().for_each(|address| *address = over_v6(*address));
        Arc::new(listener)
    });
    let backends = snapshot.backends.values().map(|backend| {
        let mut backend = Backend::clone(backend);
        backend.endpoints.iter_mut().for_each(|one| one.address.set_ip(over_v6(one.address.ip())));
        Arc::new(backend)
    });
    Snapshot::new(1, listeners, snapshot.routes.iter().cloned(), backends, [])
}

fn facts_of_v6() -> Facts {
    let facts = facts();
    let over = |reach: Reach| match reach {
        Reach::From { source, device } => Reach::From { source: over_v6(source), device },
        other => other,
    };
    Facts {
        addresses: facts.addresses.iter().map(|address| over_v6(*address)).collect(),
        endpoints: facts.endpoints.iter().map(|(at, reach)| (over_v6(*at), over(*reach))).collect(),
        ..facts
    }
}

/// The same without what is userspace's by its kind.
fn ordinary(mut snapshot: Snapshot) -> Snapshot {
    for route in &mut snapshot.routes {
        for one in &mut Arc::make_mut(route).matches {
            one.queries.clear();
            one.headers.retain(|header| matches!(header.value, ValueMatch::Exact(_)));
            if matches!(one.path, PathMatch::Regex(_)) {
                one.path = PathMatch::Prefix("/ab".into());
            }
        }
    }
    snapshot
}

/// `/`, `/api` and `/api/v2`, which decide throughout.
fn nested() -> Snapshot {
    let listener = listener("l", None);
    let prefixes = ["", "/api", "/api/v2"];
    let routes = prefixes.map(|prefix| {
        Arc::new(route(
            &format!("r{prefix}"),
            &[&listener],
            vec![],
            vec![on(PathMatch::Prefix(prefix.into()))],
        ))
    });
    let backends = [1, 2, 3].map(|n| Arc::new(backend(&format!("r{}", prefixes[usize::from(n) - 1]), &[n])));
    Snapshot::new(1, [Arc::new(listener)], routes, backends, [])
}
