//! What was measured, as a table and as JSON.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use testkit::LoadReport;

use super::outage::Outage;
use super::probe::Seen;
use crate::bench::machine::Machine;
use crate::paths::root;

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
    count: usize,
}

/// Everything measured in one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    routes: usize,
    /// Routes a second.
    rate: f64,
    create: Spread,
    live: Spread,
    behind: Spread,
    round: Spread,
    /// Of the agent: from the first event of a change to its being in force in both tiers.
    agent: Vec<(String, Spread)>,
    statuses_s: f64,
    answered: u64,
    failures: Vec<String>,
    slowest_ms: f64,
    base_kib: u64,
    /// Routes, resident KiB, and those that are no file's.
    memory: (usize, u64, u64),
    outage: Option<Outage>,
}

/// Parts of a change, by their names in the log: of one in force, and of the kernel's tables.
const PARTS: [&str; 10] = [
    "total_us",
    "serving_us",
    "waited_us",
    "translated_us",
    "swapped_us",
    "kernel_us",
    "facts_us",
    "compiled_us",
    "written_us",
    "writes",
];

impl Report {
    pub(super) fn new(machine: Machine, routes: usize, base_kib: u64) -> Self {
        Self {
            machine,
            routes,
            rate: 0.0,
            create: Spread::default(),
            live: Spread::default(),
            behind: Spread::default(),
            round: Spread::default(),
            agent: Vec::new(),
            statuses_s: 0.0,
            answered: 0,
            failures: Vec::new(),
            slowest_ms: 0.0,
            base_kib,
            memory: (0, 0, 0),
            outage: None,
        }
    }

    pub(super) fn create(&mut self, calls: Vec<Duration>, took: Duration) {
        self.rate = u32::try_from(calls.len()).map_or(f64::NAN, f64::from) / took.as_secs_f64();
        self.create = spread(calls.into_iter().map(ms).collect());
    }

    pub(super) fn live(&mut self, seen: Seen) {
        self.live = spread(seen.live.into_iter().map(ms).collect());
        self.behind = spread(seen.behind.into_iter().map(ms).collect());
        self.round = spread(seen.rounds.into_iter().map(ms).collect());
    }

    /// What the agent's log says of each change.
    pub(super) fn agent(&mut self, log: &str) {
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |part: &str| {
            let scale = if part == "writes" { 1.0 } else { 1e3 };
            spread(lines.iter().filter_map(|line| line[part].as_f64()).map(|value| value / scale).collect())
        };
        self.agent = PARTS.iter().map(|part| (part.trim_end_matches("_us").to_owned(), of(part))).collect();
    }

    pub(super) fn statuses(&mut self, after: Duration) {
        self.statuses_s = after.as_secs_f64();
    }

    pub(super) fn load(&mut self, seen: &LoadReport) {
        self.answered = seen.answered;
        self.failures = seen.failures.iter().map(|(why, count)| format!("{count} {why:?}")).collect();
        self.failures.extend(seen.first_failure.clone());
        self.slowest_ms = ms(seen.slowest);
    }

    pub(super) fn memory(&mut self, routes: usize, (resident, anonymous): (u64, u64)) {
        self.memory = (routes, resident, anonymous);
    }

    pub(super) fn outage(&mut self, outage: Outage) {
        self.outage = Some(outage);
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let Machine { kernel, processor, cores, memory_mib, load_before, .. } = &self.machine;
        println!(
            "\n{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load before: {load_before}"
        );
        println!("{} HTTPRoutes created, {:.0} a second; milliseconds\n", self.routes, self.rate);
        println!("{:<44}{:>9}{:>9}{:>9}{:>8}", "", "p50", "p99", "max", "count");
        let line = |what: &str, of: &Spread| {
            println!("{what:<44}{:>9.2}{:>9.2}{:>9.2}{:>8}", of.p50, of.p99, of.max, of.count);
        };
        line("create call", &self.create);
        line("from the call to the first 200", &self.live);
        line("of it behind the answer to the call", &self.behind);
        line("(how exact that is: a round of probes)", &self.round);
        for (part, of) in &self.agent {
            line(
                &if part == "total" { "agent: event to in force".to_owned() } else { format!("  {part}") },
                of,
            );
        }
        println!("\nall statuses written {:.1} s after the last route was served", self.statuses_s);
        println!(
            "existing route: {} requests answered, slowest {:.1} ms; failed or wrong: {}",
            self.answered,
            self.slowest_ms,
            if self.failures.is_empty() { "0".to_owned() } else { self.failures.join("; ") }
        );
        let (routes, resident, anonymous) = self.memory;
        println!(
            "memory at {routes} routes: {} MiB resident, {} MiB of it no file's ({} MiB at the start)",
            resident.div_ceil(1024),
            anonymous.div_ceil(1024),
            self.base_kib.div_ceil(1024)
        );
        if let Some(outage) = &self.outage {
            println!(
                "API server away: {} requests answered, {} failed; first change after it in force in {:.2} s",
                outage.answered, outage.failed, outage.change_s
            );
        }
    }

    /// Writes `bench/results/routes.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self) -> Result<PathBuf> {
        let folder = root().join("bench/results");
        fs::create_dir_all(&folder)?;
        let path = folder.join("routes.json");
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn spread(mut all: Vec<f64>) -> Spread {
    all.sort_by(f64::total_cmp);
    let at = |hundredths: usize| {
        all.get((all.len() * hundredths).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    Spread { p50: at(50), p99: at(99), max: at(100), count: all.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of = spread((1..=200).rev().map(f64::from).collect());
        assert!((of.p50 - 100.0).abs() < 1e-9 && (of.p99 - 198.0).abs() < 1e-9, "{of:?}");
        assert!((of.max - 200.0).abs() < 1e-9 && of.count == 200, "{of:?}");
    }
}
