//! `./x soak`: mixed traffic and changes for minutes, after which nothing may have grown.

mod manifest;
mod samples;
mod scenes;
mod traffic;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use nix::sys::signal::Signal;
use testkit::{Gateway, GatewayBuilder, Lab, Nginx};

use crate::run::{Profile, build_rauta};
use samples::{Sample, Verdict};
use scenes::{Act, Scene};
use traffic::Traffic;

/// Options of `./x soak`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    soak: Soak,
}

#[derive(Subcommand)]
enum Soak {
    /// Traffic through the kernel tiers, with hand-offs and resets in it, while routes change, endpoints hang, end and begin, and agents
    /// follow each other.
    Kernel(Kernel),
}

#[derive(Args)]
struct Kernel {
    /// How long there is traffic.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Where the kernel programs are.
    #[arg(long, value_enum, default_value_t = Hook::Tc)]
    hook: Hook,
    /// Legs wait for the next client.
    #[arg(long)]
    pool: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hook {
    Tc,
    Xdp,
}

impl Hook {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        }
    }
}

/// Between two looks at the agent, and between two changes of its routes.
const STEP: Duration = Duration::from_secs(2);
/// How long connections may rest in the tables when their clients are gone.
const REST: Duration = Duration::from_secs(90);
/// The least part of the requests that the kernel must decide.
const SHARE_MIN: f64 = 0.8;
/// How long an agent may take to hand its sockets over and to end.
const SUCCESSION: Duration = Duration::from_secs(60);

/// Runs a soak and prints what it saw.
///
/// # Errors
/// A request failed, or something grew; the error says what.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Soak::Kernel(Kernel { minutes, hook, pool }) = &options.soak;
    let lab = Lab::builder().backends(2).build()?;
    let mut stage = Stage::new(&lab, hook.as_str(), *pool)?;
    let before = stage.look()?;
    let with_pool = if *pool { ", with a pool" } else { "" };
    println!("{minutes} minutes of traffic, hook {}{with_pool}; {}", hook.as_str(), Sample::HEADER);
    println!("{:>8} {before}", "before");

    let traffic = Traffic::start(&lab, stage.gateway.address());
    let samples = stage.play(Duration::from_secs(60 * u64::from(*minutes)))?;
    let report = traffic.stop();
    ensure!(
        report.failed() == 0,
        "{} of {} requests failed: {:?}, first {}",
        report.failed(),
        report.answered,
        report.failures,
        report.first_failure.unwrap_or_default()
    );
    let after = stage.settle()?;
    println!("{:>8} {after}", "after");
    println!(
        "{} requests answered on {} connections, none failed; the kernel decided {:.1} %",
        report.answered,
        report.connections,
        100.0 * after.kernel_share_since(&before)
    );
    println!(
        "{} changes, {} restarts of endpoints, {} of the agent",
        samples.len(),
        stage.ended,
        stage.agents
    );
    // What never happened has no series.
    let pooled = stage.gateway.metric("rauta_kernel_events_total", "reason=\"pooled\"").unwrap_or(0.0);
    println!("{pooled:.0} requests went over legs of other clients");
    ensure!(*pool == (pooled > 0.5), "legs wait for the next client if they are to, and only then");
    let verdict = Verdict::of(&samples, &before, &after);
    println!("{verdict}");
    ensure!(
        after.kernel_share_since(&before) >= SHARE_MIN,
        "the kernel decided less than {:.0} % of the requests",
        100.0 * SHARE_MIN
    );
    verdict.check()
}

/// The agent and the endpoints, and what becomes of them.
struct Stage<'l> {
    lab: &'l Lab,
    program: PathBuf,
    hook: &'l str,
    pool: bool,
    folder: PathBuf,
    endpoints: [Nginx; 2],
    gateway: Gateway,
    /// What agents that are gone have counted.
    past: Sample,
    /// Endpoints that were ended, and agents that were replaced.
    ended: u32,
    agents: u32,
}

impl<'l> Stage<'l> {
    fn new(lab: &'l Lab, hook: &'l str, pool: bool) -> Result<Self> {
        let program = build_rauta(Profile::Dev)?;
        let endpoints = [Nginx::start(lab, 0)?, Nginx::start(lab, 1)?];
        let folder = lab.folder().join("soak");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("all.yaml"), manifest::routes(0, [true; 2]))?;
        let gateway = gateway(&program, &folder, hook, pool).start(lab)?;
        Ok(Self {
            lab,
            program,
            hook,
            pool,
            folder,
            endpoints,
            gateway,
            past: Sample::default(),
            ended: 0,
            agents: 0,
        })
    }

    fn look(&mut self) -> Result<Sample> {
        let pid = self.gateway.process().pid();
        Ok(Sample::take(self.lab, &self.program, pid)?.behind(&self.past))
    }

    /// Changes the routes, restarts the endpoints and the agent, and looks at it, until `time` is over.
    fn play(&mut self, time: Duration) -> Result<Vec<Sample>> {
        let (start, mut samples) = (Instant::now(), Vec::new());
        let mut printed = 0;
        while start.elapsed() < time {
            std::thread::sleep(STEP);
            self.act(samples.len())?;
            let sample = self.look()?;
            let minute = start.elapsed().as_secs() / 60;
            if minute > printed {
                printed = minute;
                println!("{:>8} {sample}", format!("{minute} min"));
            }
            samples.push(sample);
        }
        // All back, or the tables would not empty.
        self.endpoints.iter_mut().try_for_each(revive)?;
        Ok(samples)
    }

    fn act(&mut self, step: usize) -> Result<()> {
        let scene = Scene::of(step);
        let endpoint = &mut self.endpoints[scene.endpoint];
        match scene.act {
            Act::Nothing => {}
            Act::Hang => {
                endpoint.process().signal(Signal::SIGSTOP)?;
                std::thread::sleep(STEP / 2);
                endpoint.process().signal(Signal::SIGCONT)?;
            }
            Act::End => {
                endpoint.kill()?;
                self.ended += 1;
            }
            Act::Begin => revive(endpoint)?,
            Act::Succeed => self.succeed()?,
        }
        // In one step, as `kubectl` or an editor would; the name is no manifest's until then.
        let next = self.gateway.folder().join("next.tmp");
        std::fs::write(&next, manifest::routes(step, scene.ready()))?;
        std::fs::rename(&next, self.folder.join("all.yaml")).context("cannot change the routes")
    }

    /// Another agent takes over, with the sockets of the one that ends.
    fn succeed(&mut self) -> Result<()> {
        self.past = self.look()?;
        let next = gateway(&self.program, &self.folder, self.hook, self.pool)
            .arguments(&["--upgrade"])
            .start(self.lab)?;
        let mut old = std::mem::replace(&mut self.gateway, next);
        let status = old.process().wait(SUCCESSION)?;
        ensure!(status.success(), "the agent that was replaced ended with {status}:\n{}", old.log());
        self.agents += 1;
        self.gateway.wait_ready()
    }

    /// What is left when all clients are gone and the tables are empty, or the time for it is over.
    fn settle(&mut self) -> Result<Sample> {
        let start = Instant::now();
        loop {
            let sample = self.look()?;
            if sample.connections_in_kernel() == 0 || start.elapsed() > REST {
                return Ok(sample);
            }
            std::thread::sleep(STEP);
        }
    }
}

fn gateway(program: &Path, folder: &Path, hook: &str, pool: bool) -> GatewayBuilder {
    let idle = if pool { "4s" } else { "off" };
    GatewayBuilder::new(program, folder).hook(hook).env("RAUTA_DATAPLANE_POOL_IDLE", idle)
}

fn revive(endpoint: &mut Nginx) -> Result<()> {
    if endpoint.process().ended().is_some() { endpoint.restart() } else { Ok(()) }
}
