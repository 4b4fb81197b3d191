//! `./x soak`: mixed traffic and changes for minutes, after which nothing may have grown.

mod manifest;
mod samples;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use testkit::{Gateway, GatewayBuilder, Lab, Nginx};

use crate::run::{Profile, build_rauta};
use samples::{Sample, Verdict};
use traffic::Traffic;

/// Options of `./x soak`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    soak: Soak,
}

#[derive(Subcommand)]
enum Soak {
    /// Traffic through the kernel tier, with hand-offs, resets and changes of routes in it.
    Kernel(Kernel),
}

#[derive(Args)]
struct Kernel {
    /// How long there is traffic.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

/// Between two looks at the agent, and between two changes of its routes.
const STEP: Duration = Duration::from_secs(2);
/// How long connections may rest in the tables when their clients are gone.
const REST: Duration = Duration::from_secs(90);
/// The least part of the requests that the kernel must decide.
const SHARE_MIN: f64 = 0.8;

/// Runs a soak and prints what it saw.
///
/// # Errors
/// A request failed, or something grew; the error says what.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Soak::Kernel(Kernel { minutes }) = options.soak;
    let program = build_rauta(Profile::Dev)?;
    let lab = Lab::builder().backends(2).build()?;
    let _endpoints = [Nginx::start(&lab, 0)?, Nginx::start(&lab, 1)?];
    let folder = lab.folder().join("soak");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("all.yaml"), manifest::routes(0))?;
    let mut gateway = GatewayBuilder::new(&program, &folder).hook("tc").start(&lab)?;
    let pid = gateway.process().pid();
    let look = || Sample::take(&lab, &program, pid);
    let before = look()?;
    println!("{minutes} minutes of traffic; {}", Sample::HEADER);
    println!("{:>8} {before}", "before");

    let traffic = Traffic::start(&lab, gateway.address());
    let samples = watch(&gateway, &folder, Duration::from_secs(60 * u64::from(minutes)), &look)?;
    let report = traffic.stop();
    ensure!(
        report.failed() == 0,
        "{} of {} requests failed: {:?}, first {}",
        report.failed(),
        report.answered,
        report.failures,
        report.first_failure.unwrap_or_default()
    );
    let after = settle(&look)?;
    println!("{:>8} {after}", "after");
    println!(
        "{} requests answered on {} connections, none failed; the kernel decided {:.1} %",
        report.answered,
        report.connections,
        100.0 * after.kernel_share_since(&before)
    );
    let verdict = Verdict::of(&samples, &before, &after);
    println!("{verdict}");
    ensure!(
        after.kernel_share_since(&before) >= SHARE_MIN,
        "the kernel decided less than {:.0} % of the requests",
        100.0 * SHARE_MIN
    );
    verdict.check()
}

/// Changes the routes and looks at the agent until `time` is over.
fn watch(
    gateway: &Gateway,
    folder: &std::path::Path,
    time: Duration,
    look: &impl Fn() -> Result<Sample>,
) -> Result<Vec<Sample>> {
    let (start, mut samples) = (Instant::now(), Vec::new());
    let mut printed = 0;
    while start.elapsed() < time {
        std::thread::sleep(STEP);
        // In one step, as `kubectl` or an editor would; the name is no manifest's until then.
        let next = gateway.folder().join("next.tmp");
        std::fs::write(&next, manifest::routes(samples.len()))?;
        std::fs::rename(&next, folder.join("all.yaml")).context("cannot change the routes")?;
        let sample = look()?;
        let minute = start.elapsed().as_secs() / 60;
        if minute > printed {
            printed = minute;
            println!("{:>8} {sample}", format!("{minute} min"));
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// What is left when all clients are gone and the tables are empty, or the time for it is over.
fn settle(look: &impl Fn() -> Result<Sample>) -> Result<Sample> {
    let start = Instant::now();
    loop {
        let sample = look()?;
        if sample.connections_in_kernel() == 0 || start.elapsed() > REST {
            return Ok(sample);
        }
        std::thread::sleep(STEP);
    }
}
