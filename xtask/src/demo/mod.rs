//! `./x demo`: the gateway at work, for a person to read. Everything shown is checked; the first thing that is not as
//! it should be ends the demo with an error.

mod print;
mod scenes;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use testkit::{Gateway, GatewayBuilder, Lab, Nginx};

use crate::paths::root;
use crate::run::{Profile, build_rauta};
use print::Printer;

/// Options of `./x demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Keep everything running at the end, until Enter is pressed.
    #[arg(long)]
    keep: bool,
}

/// The stage: fields go in this order, the lab last.
struct Stage {
    gateway: Gateway,
    endpoints: Vec<Nginx>,
    lab: Lab,
}

/// Plays the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let print = Printer::new();
    print.note("Building rauta (the development profile: `./x test` shares it, and the demo is about what, not how fast)");
    let program = build_rauta(Profile::Dev)?;
    let mut stage = set(&program)?;
    scenes::topology(&print);
    scenes::routes(&print, &stage)?;
    scenes::requests(&print, &stage)?;
    scenes::distribution(&print, &stage)?;
    scenes::live_edit(&print, &stage)?;
    scenes::bad_edit(&print, &mut stage)?;
    scenes::dead_endpoint(&print, &mut stage)?;
    scenes::counters(&print, &stage)?;
    if options.keep {
        scenes::keep(&print, &stage)?;
    }
    drop(stage);
    scenes::next(&print);
    Ok(())
}

/// Three nginx, and the gateway on a copy of `examples/quickstart`, which the demo edits.
fn set(program: &Path) -> Result<Stage> {
    let lab = Lab::builder().backends(3).build()?;
    let endpoints = (0..3).map(|index| Nginx::start(&lab, index)).collect::<Result<_>>()?;
    let manifests = lab.folder().join("quickstart");
    fs::create_dir(&manifests)?;
    for entry in fs::read_dir(root().join("examples/quickstart")).context("examples/quickstart is missing")? {
        let entry = entry?;
        fs::copy(entry.path(), manifests.join(entry.file_name()))?;
    }
    let pins = lab.bpffs()?.join("rauta").display().to_string();
    let gateway = GatewayBuilder::new(program, manifests)
        .hook("auto")
        .env("RAUTA_DATAPLANE_PIN_ROOT", &pins)
        .start(&lab)?;
    Ok(Stage { gateway, endpoints, lab })
}
