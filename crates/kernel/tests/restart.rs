//! An agent that starts again takes over what it would write anyway, and believes nothing of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use dataplane::lookup::Decision;
use kernel::{Compiled, Compiler, REST, Tables, Write, diff};
use model::{Mirror, Snapshot};
use support::generate::{Dice, Generated, request, snapshot};
use support::{decide, facts, mixed, scanned, socket, with_backends};

/// The same with some rules that copy a share of their requests.
fn with_copies(dice: &mut Dice, mut snapshot: Snapshot) -> Snapshot {
    for route in &mut snapshot.routes {
        let numerator = dice.below(4) as u32;
        if numerator > 0 && route.filters.is_empty() {
            let Some(backend) = snapshot.backends.keys().next().cloned() else { break };
            Arc::make_mut(route).filters.mirrors =
                vec![Mirror { backend, numerator, denominator: 4, form: None }];
        }
    }
    snapshot
}

/// Another snapshot that shares most of the first.
fn changed(dice: &mut Dice, old: &Snapshot) -> Snapshot {
    let new = with_backends(&mixed(dice, old));
    if dice.one_in(2) { with_copies(dice, new) } else { new }
}

/// An agent that has lived through some changes, with nothing that rests any more.
struct Lived {
    compiler: Compiler,
    /// What it has written: arrays keep what nobody needs any more.
    found: Tables,
    snapshot: Snapshot,
    now: Duration,
}

impl Lived {
    fn new(dice: &mut Dice) -> Self {
        let snapshot = with_backends(&snapshot(dice));
        let (compiler, found) = (Compiler::new(), Tables::default());
        let mut lived = Self { compiler, found, snapshot, now: Duration::ZERO };
        for _ in 0..1 + dice.below(3) {
            // Some changes come when what was before has gone, so that its numbers are others'.
            let again = if dice.one_in(2) { 4 } else { 1 };
            lived.live(again, REST / 2);
            lived.snapshot = changed(dice, &lived.snapshot);
        }
        lived.live(4, REST);
        lived
    }

    fn live(&mut self, times: usize, step: Duration) {
        for _ in 0..times {
            let writes = self.compiler.update(&self.snapshot, &facts(), self.now).writes;
            writes.iter().for_each(|write| assert!(self.found.apply(write)));
            self.now += step;
        }
    }
}

/// Of each request the route that the kernel takes.
fn decisions(compiled: &Compiled, requests: &[Generated]) -> Vec<Option<String>> {
    let name = |request: &Generated| {
        let read = scanned(request, None, &compiled.tables)?;
        match decide(&compiled.tables, socket(&compiled.tables, request.address, request.port), &read) {
            Decision::Tier3(_) => None,
            Decision::Route { action } => Some(compiled.routes[&action].to_string()),
        }
    };
    requests.iter().map(name).collect()
}

#[test]
fn without_a_change_nothing_is_written() {
    let (mut entries, mut copies) = (0, 0);
    for seed in 0..150 {
        let mut dice = Dice(seed << 32 | 11);
        let Lived { found, snapshot, .. } = Lived::new(&mut dice);
        entries += found.routes.len() + found.prefixes.len();
        copies += found.copies.len();
        let mut again = Compiler::resume(found);
        for at in [Duration::ZERO, REST, 3 * REST] {
            let update = again.update(&snapshot, &facts(), at);
            assert_eq!(update.writes, vec![], "seed {seed} at {at:?}");
        }
        assert_eq!(again.update(&snapshot, &facts(), 3 * REST).again, None);
    }
    assert!(entries > 1000 && copies > 100, "{entries} entries, {copies} shares");
}

#[test]
fn a_change_costs_what_it_costs_without_a_restart() {
    let (mut running, mut restarted) = (0, 0);
    for seed in 0..150 {
        let mut dice = Dice(seed << 32 | 12);
        let Lived { mut compiler, found, snapshot: first, now } = Lived::new(&mut dice);
        let second = changed(&mut dice, &first);
        let mut again = Compiler::resume(found.clone());
        let mut live = found.clone();
        for at in [Duration::ZERO, REST, 3 * REST] {
            let writes = again.update(&second, &facts(), at).writes;
            restarted += writes.len();
            writes.iter().for_each(|write| assert!(live.apply(write)));
            running += compiler.update(&second, &facts(), now + at).writes.len();
        }
        assert!(diff(&live, &again.tables()).is_empty());
    }
    assert!(restarted <= running * 11 / 10, "{restarted} writes, {running} without a restart");
}

/// What somebody else wrote, an older version left, or was lost.
fn spoilt(dice: &mut Dice, found: &Tables) -> Tables {
    let mut spoilt = Tables::default();
    for mut write in diff(&Tables::default(), found) {
        if dice.one_in(12) {
            continue;
        }
        let is_key = dice.one_in(3);
        let bytes = if is_key { &mut write.key } else { write.value.as_mut().unwrap() };
        if dice.one_in(8) {
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bytes.len().min(32));
                bytes[at] = dice.below(256) as u8;
            }
        }
        // Keys of arrays are their places: none is behind the end.
        if write.key.len() == 4 {
            let at = u32::from_ne_bytes(write.key[..].try_into().unwrap()) % 4096;
            write.key = at.to_ne_bytes().to_vec();
        }
        spoilt.apply(&write);
    }
    spoilt
}

#[test]
fn what_is_found_is_not_believed() {
    let (mut decided, mut writes_made) = (0, 0);
    for seed in 0..150 {
        let mut dice = Dice(seed << 32 | 13);
        let Lived { found, snapshot, .. } = Lived::new(&mut dice);
        let found = spoilt(&mut dice, &found);
        let (mut again, mut fresh) = (Compiler::resume(found.clone()), Compiler::new());
        let mut live = found;
        let mut apply = |writes: &[Write]| {
            writes_made += writes.len();
            writes.iter().for_each(|write| assert!(live.apply(write), "{write:?}"));
        };
        for at in [Duration::ZERO, REST, 3 * REST] {
            apply(&again.update(&snapshot, &facts(), at).writes);
        }
        apply(&again.update(&snapshot, &facts(), 5 * REST).writes);
        [Duration::ZERO, REST].into_iter().for_each(|at| drop(fresh.update(&snapshot, &facts(), at)));
        let (again, fresh) =
            (again.compile(&snapshot, &facts(), 5 * REST), fresh.compile(&snapshot, &facts(), 2 * REST));
        // All that a look-up begins with is as wanted, and nothing is beside it; entries of arrays that nobody points at may be anything.
        assert!(diff(&live, &again.tables).is_empty(), "seed {seed}: not all was written");
        let roots = |tables: &Tables| {
            let paths = (tables.routes.clone(), tables.prefixes.clone());
            (tables.vips.clone(), tables.hosts.clone(), paths, tables.names.clone(), tables.members.clone())
        };
        assert!(roots(&live) == roots(&again.tables), "seed {seed}: something is left");
        let requests: Vec<_> = (0..30).map(|_| request(&mut dice, &snapshot)).collect();
        let expected = decisions(&fresh, &requests);
        decided += expected.iter().flatten().count();
        assert_eq!(decisions(&Compiled { tables: live, ..again }, &requests), expected, "seed {seed}");
    }
    assert!(decided > 500 && writes_made > 500, "{decided} decided, {writes_made} writes");
}
