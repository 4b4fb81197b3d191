//! `./x bench http`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use testkit::{Connection, CpuTime, Lab, Nginx, Offloads, RunTimes, machine_cpu, tree_cpu};

use super::contenders::{self, Contender, KERNEL, Tier};
use super::machine::Machine;
use super::profile;
use super::report::{self, Figures, ProgramCost, Report, Row};
use super::wrk::{self, Load, precise};
use crate::agent::{self, Tiers};
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
    /// Leave the kernel tier out: for kernels that do not have what it needs.
    #[arg(long)]
    userspace_only: bool,
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

/// The least part of the requests that the kernel must decide in a measurement of the kernel tier.
const KERNEL_SHARE_MIN: f64 = 0.99;
/// How long each scenario runs for the time of the programs.
const PROGRAMS_TIME: Duration = Duration::from_secs(1);

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
    let bench = Bench { rauta, kernel: !options.userspace_only, rounds, time: Duration::from_secs(time) };
    for (name, offloads) in settings {
        measure(&mut report, name, *offloads, &bench)?;
    }
    report.print();
    report::write("http", &report)?;
    report.check()
}

struct Bench {
    rauta: PathBuf,
    kernel: bool,
    rounds: u32,
    time: Duration,
}

fn measure(report: &mut Report, network: &str, offloads: Offloads, bench: &Bench) -> Result<()> {
    // The kernel tier has a network of the same shape to itself: its programs would cost the others something.
    let (lab, kernel_lab) =
        (Lab::builder().offloads(offloads).build()?, Lab::builder().offloads(offloads).build()?);
    let _endpoints = [Nginx::start(&lab, 0)?, Nginx::start(&kernel_lab, 0)?];
    let (mut contenders, missing) = contenders::start(&lab, &bench.rauta)?;
    if bench.kernel {
        contenders.insert(1, contenders::start_rauta(&kernel_lab, &bench.rauta, Tier::Kernel)?);
    }
    report.note_contenders(&contenders, missing);
    for contender in &contenders {
        check_bodies(contender)?;
    }
    let mut measured: BTreeMap<(usize, usize), Vec<Figures>> = BTreeMap::new();
    let start = Instant::now();
    for round in 1..=bench.rounds {
        for (s, (scenario, load)) in SCENARIOS.iter().enumerate() {
            for (c, contender) in contenders.iter().enumerate() {
                eprintln!(
                    "[{:4.0} s] {network}, round {round} of {}: {scenario}, {}",
                    start.elapsed().as_secs_f64(),
                    bench.rounds,
                    contender.name
                );
                measured.entry((s, c)).or_default().push(once(bench, contender, *load)?);
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
    for contender in contenders.iter().filter(|contender| contender.name == KERNEL) {
        for (scenario, load) in SCENARIOS {
            report.add_programs(program_cost(bench, contender, (network, scenario), *load)?);
        }
    }
    Ok(())
}

/// Each contender must give the same bytes before its speed counts.
fn check_bodies(contender: &Contender<'_>) -> Result<()> {
    for (_, load) in SCENARIOS {
        let answer = Connection::open(contender.lab.client(), contender.address)
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

fn once(bench: &Bench, contender: &Contender<'_>, load: Load) -> Result<Figures> {
    let gateway = || match &contender.process {
        Some(process) => tree_cpu(process.pid()),
        None => Ok(CpuTime::default()),
    };
    let tiers_before = tiers(bench, contender)?;
    let (gateway_before, machine_before) = (gateway()?, machine_cpu()?);
    let lab = contender.lab;
    let seen = wrk::run(lab.client(), lab.folder(), contender.address, load, bench.time)?;
    let (gateway_cpu, machine_cpu) = (gateway()?.since(gateway_before), machine_cpu()?.since(machine_before));
    ensure!(seen.requests > 0, "{}: not one request to {} was answered", contender.name, load.path);
    let tiers = tiers(bench, contender)?.zip(tiers_before).map(|(after, before)| after.since(before));
    if let Some(tiers) = tiers {
        ensure!(
            tiers.kernel_share() >= KERNEL_SHARE_MIN,
            "{}: the kernel decided {:.1} % of {} requests to {} only; what became of the others:\n{}",
            contender.name,
            tiers.kernel_share() * 100.0,
            tiers.requests(),
            load.path,
            agent::ask(lab, &bench.rauta, &["drops"])?
        );
    }
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

/// Requests by tier so far; None for contenders without kernel programs.
fn tiers(bench: &Bench, contender: &Contender<'_>) -> Result<Option<Tiers>> {
    if contender.name == KERNEL { Tiers::ask(contender.lab, &bench.rauta).map(Some) } else { Ok(None) }
}

/// The time of the programs under a load. Apart from the rounds, since measuring it costs some of it.
fn program_cost(
    bench: &Bench,
    contender: &Contender<'_>,
    (network, scenario): (&str, &str),
    load: Load,
) -> Result<ProgramCost> {
    let lab = contender.lab;
    let measuring = RunTimes::measure().context("the kernel does not measure the time of its programs")?;
    let before = Tiers::ask(lab, &bench.rauta)?;
    wrk::run(lab.client(), lab.folder(), contender.address, load, PROGRAMS_TIME)?;
    let seen = Tiers::ask(lab, &bench.rauta)?.since(before);
    drop(measuring);
    ensure!(
        seen.packets > 0 && seen.kernel > 0,
        "{scenario}: the kernel has measured {} packets of {} requests",
        seen.packets,
        seen.kernel
    );
    Ok(ProgramCost {
        network: network.to_owned(),
        scenario: scenario.to_owned(),
        ns_per_packet: seen.ns_per_packet(),
        packets_per_request: precise(seen.packets) / precise(seen.kernel),
    })
}
