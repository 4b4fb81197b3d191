//! `./x bench routes`: HTTPRoutes are created on a real API server, and it is seen how long each takes to be served.

mod creators;
mod outage;
mod probe;
mod table;
mod world;

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use testkit::cluster::{Program, build};
use testkit::{Addresses, Load, until};

use super::machine::Machine;
use crate::run::{Profile, build_rauta};
use creators::Pace;
use table::Report;
use world::World;

/// Options of `./x bench routes`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many HTTPRoutes are created.
    #[arg(long, default_value_t = 3000)]
    routes: usize,
    /// How many there are when memory is looked at.
    #[arg(long, default_value_t = 5000)]
    memory_at: usize,
    /// Clients that create them.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Routes a second; without it as many as the API server takes.
    #[arg(long)]
    rate: Option<f64>,
    /// Then the API server is killed for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    outage: Option<u64>,
    /// Leave the kernel tier out.
    #[arg(long)]
    userspace_only: bool,
    /// Measure this binary instead of building one: to compare two versions.
    #[arg(long, value_name = "FILE")]
    rauta: Option<PathBuf>,
}

/// Statuses of all routes are written within this time.
const STATUSES_MAX: Duration = Duration::from_secs(300);
/// Connections of the load on the existing route, and the pause of each after an answer.
const LOAD: (usize, Duration) = (8, Duration::from_millis(10));
/// The agent looks for idle memory every five seconds.
const SETTLED: Duration = Duration::from_secs(12);

/// Measures and prints the table; writes it as JSON, too.
pub(crate) fn run(options: &Options) -> Result<()> {
    let rauta = match &options.rauta {
        Some(binary) => binary.canonicalize().with_context(|| format!("no binary {}", binary.display()))?,
        None => build_rauta(Profile::Release)?,
    };
    ensure!(options.clients > 0 && options.routes > 0, "--clients and --routes must be 1 or more");
    build(&[Program::Etcd, Program::ApiServer])?;
    let mut world = World::start(&rauta, if options.userspace_only { "off" } else { "tc" })?;
    let (_, base) = world.memory_kib()?;
    let mut report = Report::new(Machine::look(), options.routes, base);
    let load = load(&world);
    let pace = Pace { clients: options.clients, rate: options.rate };
    let logged = world.rauta.log().len();
    let (live, calls, took) = create(&world, 0..options.routes, pace)?;
    let created = Instant::now();
    report.create(calls, took);
    report.live(live);
    report.agent(world.rauta.log().get(logged..).unwrap_or_default());
    until(STATUSES_MAX, "the statuses of all routes", || {
        (world.routes_with_status().ok()? > options.routes).then_some(())
    })?;
    report.statuses(created.elapsed());
    let seen = load.stop();
    report.load(&seen);
    if options.memory_at > options.routes {
        create(&world, options.routes..options.memory_at, pace)?;
        until(STATUSES_MAX, "the statuses of all routes", || {
            (world.routes_with_status().ok()? > options.memory_at).then_some(())
        })?;
    }
    std::thread::sleep(SETTLED);
    report.memory(options.memory_at.max(options.routes), world.memory_kib()?);
    if let Some(seconds) = options.outage {
        report.outage(outage::run(&mut world, Duration::from_secs(seconds))?);
    }
    report.print();
    let path = report.write()?;
    println!("\nWritten to {}.", path.strip_prefix(crate::paths::root()).unwrap_or(&path).display());
    Ok(())
}

/// Requests for the route that is there from the beginning: all of them must be answered by its endpoint.
fn load(world: &World) -> Load {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", world::EXISTING.0);
    let (connections, pause) = LOAD;
    Load::paced(world.client(), Addresses::gateway_socket(), connections, pause, &request, |answer| {
        answer.status == 200 && answer.endpoint() == Some("b0")
    })
}

/// Creates routes and waits until all are served: what was seen of that, how long each call took, and all of them.
fn create(
    world: &World,
    numbers: std::ops::Range<usize>,
    pace: Pace,
) -> Result<(probe::Seen, Vec<Duration>, Duration)> {
    let (tell, told) = mpsc::channel();
    scope(|scope| {
        let probing = scope
            .spawn(move || probe::watch(world.client(), Addresses::gateway_socket(), world::NEW.1, &told));
        let begun = Instant::now();
        let calls = creators::create(world.control.client(), numbers, pace, &tell)?;
        let took = begun.elapsed();
        drop(tell);
        match probing.join() {
            Ok(seen) => Ok((seen?, calls, took)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
