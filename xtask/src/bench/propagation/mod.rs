//! `./x bench propagation`: how long a change of a file takes to be in force, in userspace and in the kernel's maps.

mod agent;
mod manifests;
mod table;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use testkit::Lab;

use super::machine::Machine;
use crate::run::{Profile, build_rauta};
use agent::Agent;
use manifests::{Edit, Layout, Manifests};
use table::{Report, Row};

/// Options of `./x bench propagation`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many HTTPRoutes there are.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000,10000")]
    routes: Vec<usize>,
    /// Changes of each kind in each setting.
    #[arg(long, default_value_t = 50)]
    changes: usize,
    /// Leave the kernel tier out: for kernels that do not have what it needs.
    #[arg(long)]
    userspace_only: bool,
    /// Measure this binary instead of building one: to compare two versions.
    #[arg(long, value_name = "FILE")]
    rauta: Option<PathBuf>,
}

/// Between two changes: what an earlier one left to be done is done, and what it took out of use has mostly rested.
const PAUSE: Duration = Duration::from_millis(60);

/// Measures and prints the table; writes it as JSON, too.
pub(crate) fn run(options: &Options) -> Result<()> {
    let rauta = match &options.rauta {
        Some(binary) => binary.canonicalize().with_context(|| format!("no binary {}", binary.display()))?,
        None => build_rauta(Profile::Release)?,
    };
    ensure!(options.changes > 0, "--changes must be 1 or more");
    let hook = if options.userspace_only { "off" } else { "tc" };
    let mut report = Report::new(Machine::look(), options.changes);
    for &routes in &options.routes {
        for layout in [Layout::ManyFiles, Layout::OneFile] {
            eprintln!("{routes} routes, {layout}");
            measure(&mut report, &rauta, hook, routes, layout, options.changes)?;
        }
    }
    report.print();
    let path = report.write()?;
    println!("\nWritten to {}.", path.strip_prefix(crate::paths::root()).unwrap_or(&path).display());
    Ok(())
}

fn measure(
    report: &mut Report,
    rauta: &std::path::Path,
    hook: &str,
    routes: usize,
    layout: Layout,
    changes: usize,
) -> Result<()> {
    let lab = Lab::builder().build()?;
    let mut manifests = Manifests::write(lab.folder(), routes, layout)?;
    let mut agent = Agent::start(&lab, rauta, hook, manifests.folder())?;
    report.note_memory(routes, layout, agent.memory_kib()?);
    for edit in Edit::ALL {
        let mut changed = Vec::with_capacity(changes);
        for turn in 0..changes {
            sleep(PAUSE);
            let written = manifests.edit(edit, turn)?;
            changed.push(agent.wait_for_change(written)?);
        }
        report.add(Row::new(routes, layout, edit, changed));
    }
    Ok(())
}
