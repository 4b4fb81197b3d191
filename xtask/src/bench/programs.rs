//! `./x bench programs`: what one packet costs in the kernel programs, by kind of packet.

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::report;
use crate::run::cargo;

/// Options of `./x bench programs`.
#[derive(Args)]
pub(crate) struct Options {}

/// What the bench of the loader prints.
#[derive(Debug, Deserialize)]
struct Measured {
    kinds: Vec<Kind>,
}

/// A kind of packet. Nanoseconds of one run of the programs, less what measuring takes.
#[derive(Debug, Deserialize, Serialize)]
struct Kind {
    kind: String,
    median_ns: u64,
    p10_ns: u64,
    p90_ns: u64,
    packets: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    kinds: Vec<Kind>,
}

/// Measures and prints the table; writes it as JSON, too.
pub(crate) fn run(_: &Options) -> Result<()> {
    let machine = Machine::look();
    let output =
        cargo(&["bench", "--quiet", "--locked", "-p", "loader", "--bench", "programs", "--", "--json"])
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the bench of the programs failed: it needs root and a kernel that can route"
    );
    let Measured { kinds } = serde_json::from_slice(&output.stdout).context("the bench printed no JSON")?;
    let report = Report { machine, kinds };
    report.print();
    report::write("programs", &report)
}

impl Report {
    fn print(&self) {
        let Machine { kernel, processor, cores, load_before, .. } = &self.machine;
        println!("\n{processor}, {cores} cores, Linux {kernel}; load before: {load_before}");
        println!("ns in the programs, one packet a run, less the price of measuring (first line)");
        println!("  {:<52}{:>8}{:>8}{:>8}{:>9}", "", "median", "p10", "p90", "packets");
        for Kind { kind, median_ns, p10_ns, p90_ns, packets } in &self.kinds {
            println!("  {kind:<52}{median_ns:>8}{p10_ns:>8}{p90_ns:>8}{packets:>9}");
        }
    }
}
