//! `./x bench http`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use testkit::{Connection, CpuTime, Lab, Nginx, Offloads, machine_cpu, tree_cpu};

use super::contenders::{self, Contender};
use super::machine::Machine;
use super::profile;
use super::report::{Figures, Report, Row};
use super::wrk::{self, Load, precise};
use crate::run::{Profile, build_rauta};

/// Options of `./x bench http`.
#[derive(Args)]
pub(crate) struct Options {
    /// One round of a second each, offloads on.
    #[arg(long)]
    quick: bool,
    /// Rounds; the medians count.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds a measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only show where RAUTA's time goes under small keep-alive requests (needs perf).
    #[arg(long)]
    profile: bool,
    /// Measure this binary instead of building one: to compare two versions.
    #[arg(long, value_name = "FILE")]
    rauta: Option<PathBuf>,
}

/// What is measured: name and load.
const SCENARIOS: &[(&str, Load)] = &[
    ("keep-alive 128 B", Load { path: "/128", body: 128, close: false }),
    ("connection per request 128 B", Load { path: "/128", body: 128, close: true }),
    ("keep-alive 16 KiB", Load { path: "/16k", body: 16 * 1024, close: false }),
    ("keep-alive 1 MB", Load { path: "/1m", body: 1_000_000, close: false }),
];

/// Measures and prints the table; writes it as JSON, too.
pub(crate) fn run(options: &Options) -> Result<()> {
    let rauta = match &options.rauta {
        Some(binary) => binary.canonicalize().with_context(|| format!("no binary {}", binary.display()))?,
        None => build_rauta(Profile::Release)?,
    };
    if options.profile {
        return profile::run(&rauta, SCENARIOS[0].1);
    }
    let (rounds, time) = if options.quick { (1, 1) } else { (options.rounds.max(1), options.seconds.max(1)) };
    let settings: &[(&str, Offloads)] = if options.quick {
        &[("offloads on", Offloads::ON)]
    } else {
        &[("offloads on", Offloads::ON), ("offloads off", Offloads::OFF)]
    };
    let mut report = Report::new(Machine::look(), rounds, time);
    for (name, offloads) in settings {
        measure(&mut report, name, *offloads, &rauta, rounds, Duration::from_secs(time))?;
    }
    report.print();
    let path = report.write("http")?;
    println!("\nWritten to {}.", path.strip_prefix(crate::paths::root()).unwrap_or(&path).display());
    report.check()
}

fn measure(
    report: &mut Report,
    network: &str,
    offloads: Offloads,
    rauta: &Path,
    rounds: u32,
    time: Duration,
) -> Result<()> {
    let lab = Lab::builder().offloads(offloads).build()?;
    let _endpoint = Nginx::start(&lab, 0)?;
    let (contenders, missing) = contenders::start(&lab, rauta)?;
    report.note_contenders(&contenders, missing);
    for contender in &contenders {
        check_bodies(&lab, contender)?;
    }
    let mut measured: BTreeMap<(usize, usize), Vec<Figures>> = BTreeMap::new();
    let start = Instant::now();
    for round in 1..=rounds {
        for (s, (scenario, load)) in SCENARIOS.iter().enumerate() {
            for (c, contender) in contenders.iter().enumerate() {
                eprintln!(
                    "[{:4.0} s] {network}, round {round} of {rounds}: {scenario}, {}",
                    start.elapsed().as_secs_f64(),
                    contender.name
                );
                measured.entry((s, c)).or_default().push(once(&lab, contender, *load, time)?);
            }
        }
    }
    for ((s, c), figures) in measured {
        report.add(Row {
            network: network.to_owned(),
            scenario: SCENARIOS[s].0.to_owned(),
            contender: contenders[c].name.to_owned(),
            median: Figures::median(&figures),
            rounds: figures,
        });
    }
    Ok(())
}

/// Each contender must give the same bytes before its speed counts.
fn check_bodies(lab: &Lab, contender: &Contender) -> Result<()> {
    for (_, load) in SCENARIOS {
        let answer = Connection::open(lab.client(), contender.address)
            .and_then(|mut connection| connection.get("bench.example", load.path))
            .with_context(|| format!("{}: GET {}", contender.name, load.path))?;
        let length = u64::try_from(answer.body.len())?;
        ensure!(
            answer.status == 200 && length == load.body && answer.endpoint() == Some("b0"),
            "{}: GET {} gives {} with {length} bytes, not 200 with {}",
            contender.name,
            load.path,
            answer.status,
            load.body
        );
    }
    Ok(())
}

fn once(lab: &Lab, contender: &Contender, load: Load, time: Duration) -> Result<Figures> {
    let gateway = || match &contender.process {
        Some(process) => tree_cpu(process.pid()),
        None => Ok(CpuTime::default()),
    };
    let (gateway_before, machine_before) = (gateway()?, machine_cpu()?);
    let seen = wrk::run(lab.client(), lab.folder(), contender.address, load, time)?;
    let (gateway_cpu, machine_cpu) = (gateway()?.since(gateway_before), machine_cpu()?.since(machine_before));
    ensure!(seen.requests > 0, "{}: not one request to {} was answered", contender.name, load.path);
    let per_100k = |cpu: CpuTime| cpu.total().as_secs_f64() * 1e5 / precise(seen.requests);
    Ok(Figures {
        requests_per_s: seen.rate(),
        p50_us: seen.p50_us,
        p99_us: seen.p99_us,
        gateway_cpu_s_per_100k: per_100k(gateway_cpu),
        machine_cpu_s_per_100k: per_100k(machine_cpu),
        body_mb_per_s: precise(seen.bytes) / (precise(seen.duration_us)),
        errors: seen.errors,
    })
}
