//! `./x bench http`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use testkit::{Connection, CpuTime, Offloads, RunTimes, machine_cpu, tree_cpu};

use super::contenders::{self, Contender, Stage, Tier};
use super::load::{self, Load, precise};
use super::machine::Machine;
use super::profile;
use super::report::{self, Figures, ProgramCost, Report, Row};
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
    /// Only loads with this text in their names, such as `TLS` or `128 B`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    load: String,
    /// Measure this binary instead of building one: to compare two versions.
    #[arg(long, value_name = "FILE")]
    rauta: Option<PathBuf>,
}

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
        return profile::run(&rauta, load::SMALL);
    }
    let (rounds, time) = if options.quick { (1, 1) } else { (options.rounds.max(1), options.seconds.max(1)) };
    let settings: &[(&str, Offloads)] = if options.quick {
        &[("offloads on", Offloads::ON)]
    } else {
        &[("offloads on", Offloads::ON), ("offloads off", Offloads::OFF)]
    };
    let loads: Vec<Load> =
        load::ALL.iter().filter(|load| load.name.contains(&options.load)).copied().collect();
    ensure!(
        !loads.is_empty(),
        "no load has {:?} in its name; there are: {}",
        options.load,
        load::ALL.iter().map(|load| load.name).collect::<Vec<_>>().join(", ")
    );
    let mut report = Report::new(Machine::look(), rounds, time);
    let kernel = !options.userspace_only;
    let bench = Bench { rauta, kernel, rounds, time: Duration::from_secs(time), loads };
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
    loads: Vec<Load>,
}

fn measure(report: &mut Report, network: &str, offloads: Offloads, bench: &Bench) -> Result<()> {
    // Each kernel tier has a network of the same shape to itself: its programs would cost the others something.
    let tiers: &[Tier] = if bench.kernel { &Tier::KERNEL } else { &[] };
    let stage = Stage::new(offloads, &bench.loads)?;
    let stages = tiers.iter().map(|_| Stage::new(offloads, &[])).collect::<Result<Vec<_>>>()?;
    let (mut contenders, missing) = contenders::start(&stage.lab, &bench.rauta)?;
    for (at, (tier, stage)) in tiers.iter().zip(&stages).enumerate() {
        contenders.insert(1 + at, contenders::start_rauta(&stage.lab, &bench.rauta, *tier)?);
    }
    report.note_contenders(&contenders, missing);
    for contender in &contenders {
        check_bodies(contender, &bench.loads)?;
    }
    let mut measured: BTreeMap<(usize, usize), Vec<Figures>> = BTreeMap::new();
    let start = Instant::now();
    for round in 1..=bench.rounds {
        for (l, load) in bench.loads.iter().enumerate() {
            for (c, contender) in contenders.iter().enumerate() {
                let Some(address) = contender.takes(*load) else { continue };
                eprintln!(
                    "[{:4.0} s] {network}, round {round} of {}: {}, {}",
                    start.elapsed().as_secs_f64(),
                    bench.rounds,
                    load.name,
                    contender.name
                );
                measured.entry((l, c)).or_default().push(once(bench, contender, address, *load)?);
            }
        }
    }
    for ((l, c), figures) in measured {
        report.add(Row {
            network: network.to_owned(),
            scenario: bench.loads[l].name.to_owned(),
            contender: contenders[c].name.to_owned(),
            median: Figures::median(&figures),
            rounds: figures,
        });
    }
    for contender in contenders.iter().filter(|contender| contender.is_kernel()) {
        for load in &bench.loads {
            if let Some(address) = contender.takes(*load) {
                report.add_programs(program_cost(bench, contender, address, (network, *load))?);
            }
        }
    }
    Ok(())
}

/// Each contender must give the same bytes before its speed counts.
fn check_bodies(contender: &Contender<'_>, loads: &[Load]) -> Result<()> {
    for load in loads {
        let Some(address) = contender.takes(*load) else { continue };
        if load.protocol.is_secured() {
            // The load itself is the check: `wrk` and `h2load` count each status that is not 200.
            continue;
        }
        let answer = Connection::open(contender.lab.client(), address)
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

fn once(bench: &Bench, contender: &Contender<'_>, address: SocketAddr, load: Load) -> Result<Figures> {
    let gateway = || match &contender.process {
        Some(process) => tree_cpu(process.pid()),
        None => Ok(CpuTime::default()),
    };
    let tiers_before = tiers(bench, contender)?;
    let (gateway_before, machine_before) = (gateway()?, machine_cpu()?);
    let lab = contender.lab;
    let seen = load::run(lab, address, load, bench.time)?;
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
    if contender.is_kernel() { Tiers::ask(contender.lab, &bench.rauta).map(Some) } else { Ok(None) }
}

/// The time of the programs under a load. Apart from the rounds, since measuring it costs some of it.
fn program_cost(
    bench: &Bench,
    contender: &Contender<'_>,
    address: SocketAddr,
    (network, load): (&str, Load),
) -> Result<ProgramCost> {
    let lab = contender.lab;
    let measuring = RunTimes::measure().context("the kernel does not measure the time of its programs")?;
    let before = Tiers::ask(lab, &bench.rauta)?;
    load::run(lab, address, load, PROGRAMS_TIME)?;
    let seen = Tiers::ask(lab, &bench.rauta)?.since(before);
    drop(measuring);
    ensure!(
        seen.packets > 0 && seen.kernel > 0,
        "{}: the kernel has measured {} packets of {} requests",
        load.name,
        seen.packets,
        seen.kernel
    );
    Ok(ProgramCost {
        network: network.to_owned(),
        scenario: load.name.to_owned(),
        contender: contender.name.to_owned(),
        ns_per_packet: seen.ns_per_packet(),
        packets_per_request: precise(seen.packets) / precise(seen.kernel),
    })
}
