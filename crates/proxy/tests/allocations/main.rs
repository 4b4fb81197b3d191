//! What a request on a connection that stays costs in allocations: a ratchet.
//!
//! The counts are those of the gateway's thread alone. `RAUTA_ALLOCATION_PLACES=1` prints where they come from.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of a test, and what they found"
)]

mod counting;
mod loads;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// The counts that were accepted.
const FILE: &str = "tests/allocations/accepted.txt";
/// Set to anything, the counts are written down.
const UPDATE: &str = "RAUTA_UPDATE_ALLOCATIONS";
/// Set to anything, places are printed.
const PLACES: &str = "RAUTA_ALLOCATION_PLACES";

/// Pools, buffers and tables have grown by then.
const WARM_UP: usize = 200;
const BATCHES: usize = 10;
const BATCH: u32 = 100;
/// What is done now and then, however long a batch takes: another allocation of each request is more.
const SLACK: f64 = 0.5;

#[test]
fn requests_allocate_no_more_than_they_did() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    let accepted = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|count| count.parse::<f64>().ok())
    };
    let (mut counted, mut wrong) = (String::new(), String::new());
    for (name, start) in loads::ALL {
        let (lab, mut ask) = start();
        ask();
        counting::watch("rauta-proxy-0");
        let count = count(&mut *ask);
        if std::env::var_os(PLACES).is_some() {
            show_places(name, &mut *ask);
        }
        drop((ask, lab));
        writeln!(counted, "{name}: {}", count.round()).unwrap();
        if !accepted(name).is_some_and(|most| count <= most + SLACK) {
            writeln!(wrong, "  {name}: {count:.2}, accepted are {:?}", accepted(name)).unwrap();
        }
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, counted).unwrap();
        return;
    }
    assert!(
        wrong.is_empty(),
        "requests allocate more than they did:\n{wrong}\
         {PLACES}=1 shows where. If it is meant, accept it: \
         {UPDATE}=1 cargo test -p proxy --test allocations, and commit {FILE}."
    );
}

/// Allocations of a request: of some batches the one with the least, since whether two frames arrive together is
/// chance, and so is whether a housekeeping falls into a batch.
fn count(ask: &mut dyn FnMut()) -> f64 {
    (0..WARM_UP).for_each(|_| ask());
    let batch = |_| {
        let before = counting::count();
        (0..BATCH).for_each(|_| ask());
        counting::count() - before
    };
    let least = (0..BATCHES).map(batch).min().unwrap();
    f64::from(u32::try_from(least).unwrap()) / f64::from(BATCH)
}

fn show_places(name: &str, ask: &mut dyn FnMut()) {
    counting::look(true);
    (0..BATCH).for_each(|_| ask());
    println!("{name}, {BATCH} requests:");
    for (count, place) in counting::look(false) {
        println!("{count:6}x {place}");
    }
}
