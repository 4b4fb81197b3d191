//! Medians, ratios, the table and the JSON file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Result, bail};
use serde::Serialize;

use super::contenders::{Contender, DIRECT, Tier};
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

/// The time of the kernel programs under one load.
#[derive(Debug, Serialize)]
pub(super) struct ProgramCost {
    pub(super) network: String,
    pub(super) scenario: String,
    pub(super) contender: String,
    pub(super) ns_per_packet: f64,
    pub(super) packets_per_request: f64,
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
    programs: Vec<ProgramCost>,
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
        let (versions, missing, rows, programs) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Self { machine, rounds, seconds, versions, missing, rows, programs }
    }

    /// Writes down who takes part, and who cannot.
    pub(super) fn note_contenders(&mut self, contenders: &[Contender<'_>], missing: Vec<String>) {
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

    /// Adds what the kernel programs cost.
    pub(super) fn add_programs(&mut self, cost: ProgramCost) {
        self.programs.push(cost);
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        let Machine { kernel, processor, cores, memory_mib, load_before, .. } = &self.machine;
        println!(
            "\n{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load before: {load_before}"
        );
        for version in self.versions.values().collect::<BTreeSet<_>>() {
            println!("  {version}");
        }
        for missing in &self.missing {
            println!("  not measured, because not installed: {missing}");
        }
        println!(
            "wrk and h2load with 2 threads, 32 connections where not said otherwise, {} s; medians of {} interleaved rounds",
            self.seconds, self.rounds
        );
        println!("CPU: seconds per 100,000 requests, of the gateway's processes");
        println!("CPU-direct: the same of the whole machine less that of direct, kernel tier included");
        let mut heading = String::new();
        for row in &self.rows {
            let next = format!("{} ({})", row.scenario, row.network);
            if heading != next {
                println!("\n{next}");
                for cost in self.programs_of(row) {
                    println!("{cost}");
                }
                println!("{}", headings());
                heading = next;
            }
            println!("{}", self.line(row));
        }
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
        let direct = others().find(|other| other.contender == DIRECT).map(|other| &other.median);
        let peers = || others().filter(|other| is_peer(&other.contender)).map(|other| &other.median);
        let best_peer = peers().map(|peer| peer.requests_per_s).fold(0.0, f64::max);
        let beyond_direct = |figures: &Figures| {
            figures.machine_cpu_s_per_100k - direct.map_or(0.0, |direct| direct.machine_cpu_s_per_100k)
        };
        let least_cpu = peers().map(beyond_direct).reduce(f64::min).unwrap_or(0.0);
        let Figures { requests_per_s, p50_us, p99_us, gateway_cpu_s_per_100k, errors, .. } = row.median;
        let ratio =
            |value: f64, to: f64| if to > 0.0 { format!("{:.2}", value / to) } else { "-".to_owned() };
        let gateway = |text: String| if row.contender == DIRECT { "-".to_owned() } else { text };
        let beyond = beyond_direct(&row.median);
        format!(
            "  {:<18}{requests_per_s:>9.0}{:>10}{:>13}{p50_us:>9.0}{p99_us:>9.0}{:>8}{:>12}{:>13}{errors:>8}",
            row.contender,
            ratio(requests_per_s, direct.map_or(0.0, |direct| direct.requests_per_s)),
            gateway(ratio(requests_per_s, best_peer)),
            gateway(format!("{gateway_cpu_s_per_100k:.2}")),
            gateway(format!("{beyond:.2}")),
            gateway(ratio(beyond, least_cpu)),
        )
    }

    /// What the programs cost under the row's load, a line for each tier.
    fn programs_of(&self, row: &Row) -> Vec<String> {
        let is_same = |cost: &&ProgramCost| (&cost.network, &cost.scenario) == (&row.network, &row.scenario);
        let line = |ProgramCost { contender, ns_per_packet, packets_per_request, .. }: &ProgramCost| {
            format!(
                "  programs of {contender}: {ns_per_packet:.0} ns per packet, {packets_per_request:.1} packets and {:.2} us per request",
                ns_per_packet * packets_per_request / 1e3
            )
        };
        self.programs.iter().filter(is_same).map(line).collect()
    }
}

/// Whether that is a gateway of others.
fn is_peer(contender: &str) -> bool {
    contender != DIRECT
        && contender != Tier::Userspace.name()
        && Tier::KERNEL.iter().all(|tier| contender != tier.name())
}

/// Writes `bench/results/NAME.json`, and says so.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(name: &str, report: &impl Serialize) -> Result<()> {
    let folder = root().join("bench/results");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(report)? + "\n")?;
    println!("\nWritten to {}.", path.strip_prefix(root()).unwrap_or(&path).display());
    Ok(())
}

fn headings() -> String {
    format!(
        "  {:<18}{:>9}{:>10}{:>13}{:>9}{:>9}{:>8}{:>12}{:>13}{:>8}",
        "",
        "req/s",
        "x direct",
        "x best peer",
        "p50 us",
        "p99 us",
        "CPU",
        "CPU-direct",
        "x least peer",
        "errors"
    )
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
            row(DIRECT, 1000.0, 3.0, 0),
            row(Tier::Xdp.name(), 900.0, 3.5, 0),
            row(Tier::Userspace.name(), 500.0, 5.5, 0),
            row("nginx", 400.0, 5.0, 0),
            row("envoy", 250.0, 9.0, 2),
        ] {
            report.add(row);
        }
        let words = |index: usize| {
            let line = report.line(&report.rows[index]);
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words(0), ["direct", "1000", "1.00", "-", "100", "200", "-", "-", "-", "0"]);
        let kernel = ["RAUTA", "XDP", "900", "0.90", "2.25", "100", "200", "1.00", "0.50", "0.25", "0"];
        assert_eq!(words(1), kernel);
        let userspace =
            ["RAUTA", "userspace", "500", "0.50", "1.25", "100", "200", "1.00", "2.50", "1.25", "0"];
        assert_eq!(words(2), userspace);
        assert_eq!(headings().len(), report.line(&report.rows[1]).len());
        assert!(report.check().unwrap_err().to_string().contains("envoy: 2"));
    }

    #[test]
    fn programs_are_told_beside_their_load() {
        let mut report = Report::new(Machine::look(), 1, 1);
        report.add_programs(ProgramCost {
            network: "on".into(),
            scenario: "small".into(),
            contender: Tier::Tc.name().into(),
            ns_per_packet: 500.0,
            packets_per_request: 4.0,
        });
        let told = report.programs_of(&row(DIRECT, 1.0, 1.0, 0));
        assert_eq!(told, ["  programs of RAUTA TC: 500 ns per packet, 4.0 packets and 2.00 us per request"]);
        let other = Row { network: "off".into(), ..row(DIRECT, 1.0, 1.0, 0) };
        assert!(report.programs_of(&other).is_empty());
    }
}
