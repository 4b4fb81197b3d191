//! What one packet costs in the kernel programs, by kind of packet.
//!
//! Many connections go through the same life, packet by packet, through the loaded programs (`BPF_PROG_TEST_RUN`): first all
//! send their SYN, then all their request, and so on. Each run is of one packet and changes the maps as it would in the
//! kernel, so that no packet is measured twice on the same state; the kernel says how long it took. What is shown are medians
//! over all connections, less what a frame takes that the first look at it lets go: the price of measuring.
//!
//! Needs root. Prints a table, or one JSON object with `--json`; `--object FILE` measures the programs of that object instead of
//! the built-in ones, to compare two versions. `--connections N` takes so many, `--rounds N` so often.
#![allow(clippy::unwrap_used, reason = "a panic is how a bench reports")]
#![allow(clippy::print_stdout, reason = "a bench speaks on standard output")]
#![allow(clippy::cast_possible_truncation, reason = "frames and numbers of benches are short")]

mod conversation;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use conversation::Kind;
use support::program::Program;
use support::{settings, tables};
use wire::Settings;

/// Connections in a round, unless `--connections` says otherwise: their records do not fit the innermost caches, as on a busy
/// gateway.
const CONNECTIONS: u16 = 512;
/// Rounds, each with connections of its own.
const ROUNDS: u16 = 6;

/// Nanoseconds of each run, by kind.
type Samples = BTreeMap<Kind, Vec<u64>>;

fn main() {
    let mut program = match argument("--object") {
        Some(path) => {
            let object = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            Program::load_object(&loader::patched_of(&object).unwrap())
        }
        None => Program::load(),
    };
    let compiled = tables::compile(&tables::snapshot());
    // Enough ports for all legs to one endpoint.
    program.set(&Settings { port_first: 10_000, port_count: 50_000, ..settings() });
    program.apply(&kernel::diff(&kernel::Tables::default(), &compiled.tables));
    let mut samples = Samples::new();
    let connections = argument("--connections").map_or(CONNECTIONS, |count| count.parse().unwrap());
    let rounds = argument("--rounds").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    // The first round warms up.
    for round in 0..=rounds {
        if round == 1 {
            samples.clear();
        }
        conversation::round(&mut program, &mut samples, 10_000 + round * connections, connections);
    }
    let rows: Vec<Row> = Kind::ALL.iter().filter_map(|&kind| Row::of(kind, &mut samples)).collect();
    if std::env::args().any(|argument| argument == "--json") {
        let rows: Vec<String> = rows.iter().map(Row::json).collect();
        println!("{{\"kinds\":[{}]}}", rows.join(","));
        return;
    }
    println!("{:<52}{:>8}{:>8}{:>8}{:>9}", "ns per packet", "median", "p10", "p90", "packets");
    rows.iter().for_each(|row| println!("{}", row.line()));
}

/// The word behind `name` on the command line.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// One line of the table.
struct Row {
    kind: Kind,
    median: u64,
    p10: u64,
    p90: u64,
    packets: usize,
}

impl Row {
    fn of(kind: Kind, samples: &mut Samples) -> Option<Self> {
        let nothing =
            if kind == Kind::Nothing { 0 } else { percentile(samples.get_mut(&Kind::Nothing)?, 50) };
        let taken = samples.get_mut(&kind)?;
        let of = |taken: &mut Vec<u64>, percent| percentile(taken, percent).saturating_sub(nothing);
        let (median, p10, p90) = (of(taken, 50), of(taken, 10), of(taken, 90));
        Some(Self { kind, median, p10, p90, packets: taken.len() })
    }

    fn line(&self) -> String {
        let Self { kind, median, p10, p90, packets } = self;
        format!("{:<52}{median:>8}{p10:>8}{p90:>8}{packets:>9}", kind.name())
    }

    fn json(&self) -> String {
        let Self { kind, median, p10, p90, packets } = self;
        let name = kind.name();
        format!(
            "{{\"kind\":\"{name}\",\"median_ns\":{median},\"p10_ns\":{p10},\"p90_ns\":{p90},\"packets\":{packets}}}"
        )
    }
}

fn percentile(taken: &mut [u64], percent: usize) -> u64 {
    taken.sort_unstable();
    taken.get((taken.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0)
}
