//! Medians, ratios, the table and the JSON file.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::contenders::Contender;
use super::machine::Machine;
use crate::paths::root;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) requests_per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// User and system time of the gateway's processes. What the kernel does for them in interrupts is not in it.
    pub(super) gateway_cpu_s_per_100k: f64,
    /// The whole machine: load, endpoint, wires, interrupts.
    pub(super) machine_cpu_s_per_100k: f64,
    pub(super) body_mb_per_s: f64,
    pub(super) errors: u64,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) network: String,
    pub(super) scenario: String,
    pub(super) contender: String,
    pub(super) median: Figures,
    pub(super) rounds: Vec<Figures>,
}

/// Everything measured in one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    rounds: u32,
    seconds: u64,
    versions: BTreeMap<String, String>,
    missing: Vec<String>,
    rows: Vec<Row>,
}

impl Figures {
    /// The median of each figure; errors are added up.
    pub(super) fn median(all: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(all.iter().map(figure).collect());
        Self {
            requests_per_s: of(|f| f.requests_per_s),
            p50_us: of(|f| f.p50_us),
            p99_us: of(|f| f.p99_us),
            gateway_cpu_s_per_100k: of(|f| f.gateway_cpu_s_per_100k),
            machine_cpu_s_per_100k: of(|f| f.machine_cpu_s_per_100k),
            body_mb_per_s: of(|f| f.body_mb_per_s),
            errors: all.iter().map(|f| f.errors).sum(),
        }
    }
}

impl Report {
    /// An empty one.
    pub(super) fn new(machine: Machine, rounds: u32, seconds: u64) -> Self {
        let (versions, missing, rows) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { machine, rounds, seconds, versions, missing, rows }
    }

    /// Writes down who takes part, and who cannot.
    pub(super) fn note_contenders(&mut self, contenders: &[Contender], missing: Vec<String>) {
        self.versions = contenders
            .iter()
            .filter(|contender| contender.process.is_some())
            .map(|contender| (contender.name.to_owned(), contender.version.clone()))
            .collect();
        self.missing = missing;
    }

    /// Adds a line.
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let Machine { kernel, processor, cores, memory_mib, load_before, .. } = &self.machine;
        println!(
            "\n{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load before: {load_before}"
        );
        for version in self.versions.values() {
            println!("  {version}");
        }
        for missing in &self.missing {
            println!("  not measured, because not installed: {missing}");
        }
        println!("wrk -t2 -c32, {} s; medians of {} interleaved rounds", self.seconds, self.rounds);
        println!(
            "CPU: seconds per 100,000 requests; of the gateway's processes, and of the machine beyond direct"
        );
        let mut heading = String::new();
        for row in &self.rows {
            let next = format!("{} ({})", row.scenario, row.network);
            if heading != next {
                println!(
                    "\n{next:<48}\n  {:<9}{:>10}{:>10}{:>12}{:>10}{:>10}{:>10}{:>12}{:>8}",
                    "", "req/s", "x direct", "x best peer", "p50 us", "p99 us", "CPU", "CPU-direct", "errors"
                );
                heading = next;
            }
            println!("{}", self.line(row));
        }
    }

    /// Writes `bench/results/NAME.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, name: &str) -> Result<PathBuf> {
        let folder = root().join("bench/results");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }

    /// Figures with failed requests in them are no figures.
    ///
    /// # Errors
    /// Names the lines with errors.
    pub(super) fn check(&self) -> Result<()> {
        let bad: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.median.errors > 0)
            .map(|row| {
                format!("{} ({}), {}: {}", row.scenario, row.network, row.contender, row.median.errors)
            })
            .collect();
        if !bad.is_empty() {
            bail!("requests failed: {}", bad.join("; "));
        }
        Ok(())
    }

    fn line(&self, row: &Row) -> String {
        let others = || {
            self.rows
                .iter()
                .filter(|other| (&other.network, &other.scenario) == (&row.network, &row.scenario))
        };
        let direct = others().find(|other| other.contender == "direct").map(|other| &other.median);
        let best_peer = others()
            .filter(|other| !["direct", "rauta"].contains(&other.contender.as_str()))
            .map(|other| other.median.requests_per_s)
            .fold(0.0, f64::max);
        let Figures {
            requests_per_s,
            p50_us,
            p99_us,
            gateway_cpu_s_per_100k,
            machine_cpu_s_per_100k,
            errors,
            ..
        } = row.median;
        let is_direct = row.contender == "direct";
        let ratio =
            |value: f64, to: f64| if to > 0.0 { format!("{:.2}", value / to) } else { "-".to_owned() };
        let cpu = |value: f64| if is_direct { "-".to_owned() } else { format!("{value:.2}") };
        format!(
            "  {:<9}{requests_per_s:>10.0}{:>10}{:>12}{p50_us:>10.0}{p99_us:>10.0}{:>10}{:>12}{errors:>8}",
            row.contender,
            ratio(requests_per_s, direct.map_or(0.0, |direct| direct.requests_per_s)),
            if is_direct { "-".to_owned() } else { ratio(requests_per_s, best_peer) },
            cpu(gateway_cpu_s_per_100k),
            cpu(machine_cpu_s_per_100k - direct.map_or(0.0, |direct| direct.machine_cpu_s_per_100k)),
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(vec![]).abs() < 1e-9);
    }

    fn row(contender: &str, rate: f64, cpu: f64, errors: u64) -> Row {
        let figures = Figures {
            requests_per_s: rate,
            p50_us: 100.0,
            p99_us: 200.0,
            gateway_cpu_s_per_100k: 1.0,
            machine_cpu_s_per_100k: cpu,
            body_mb_per_s: 1.0,
            errors,
        };
        Row {
            network: "on".into(),
            scenario: "small".into(),
            contender: contender.into(),
            median: figures.clone(),
            rounds: vec![figures],
        }
    }

    #[test]
    fn ratios_are_to_direct_and_to_the_best_peer() {
        let mut report = Report::new(Machine::look(), 1, 1);
        for row in [
            row("direct", 1000.0, 3.0, 0),
            row("rauta", 500.0, 5.5, 0),
            row("nginx", 400.0, 6.0, 0),
            row("envoy", 250.0, 9.0, 2),
        ] {
            report.add(row);
        }
        let line: Vec<String> = report.line(&report.rows[1]).split_whitespace().map(str::to_owned).collect();
        assert_eq!(line, ["rauta", "500", "0.50", "1.25", "100", "200", "1.00", "2.50", "0"]);
        assert!(report.check().unwrap_err().to_string().contains("envoy: 2"));
    }
}
