//! `./x demo`: the gateway at work, for a person to read. Everything shown is checked; the first thing that is not as
//! it should be ends the demo with an error.

mod changes;
mod kernel;
mod print;
mod scenes;
mod trace;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use testkit::{Gateway, GatewayBuilder, Lab, Load, Nginx, Response};

use crate::paths::root;
use crate::run::{Profile, build_rauta};
use print::Printer;

/// A request of the shop that any endpoint may answer, in one piece: an endpoint that dies has answered or has not.
const SHOP: &str = "GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
/// Clients of the load, each on a connection of its own.
const LOAD_CONNECTIONS: u8 = 8;
/// How long anything in the demo may take before it counts as broken.
const LIMIT: Duration = Duration::from_secs(15);

/// Options of `./x demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Keep everything running at the end, until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// Who routes: the kernel where it can (tc), or userspace alone (off).
    #[arg(long, value_enum, default_value_t = Hook::Tc)]
    hook: Hook,
}

/// Where requests are routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hook {
    /// Programs at the TC hook; what they leave is userspace's.
    Tc,
    /// No programs.
    Off,
}

/// The stage: fields go in this order, the lab last.
struct Stage {
    gateway: Gateway,
    endpoints: Vec<Nginx>,
    hook: Hook,
    program: PathBuf,
    lab: Lab,
}

/// Plays the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let print = Printer::new();
    print.note("Building rauta (the development profile: `./x test` shares it, and the demo is about what, not how fast)");
    let program = build_rauta(Profile::Dev)?;
    let mut stage = set(program, options.hook)?;
    scenes::topology(&print);
    if stage.hook == Hook::Tc {
        kernel::wait_for_routes(&stage)?;
    }
    scenes::routes(&print, &stage)?;
    scenes::requests(&print, &stage)?;
    scenes::distribution(&print, &stage)?;
    changes::live_edit(&print, &stage)?;
    changes::bad_edit(&print, &mut stage)?;
    changes::drained_endpoint(&print, &mut stage)?;
    changes::dead_endpoint(&print, &mut stage)?;
    if stage.hook == Hook::Tc {
        kernel::cost(&print, &stage)?;
        kernel::share(&print, &stage)?;
    }
    scenes::counters(&print, &stage)?;
    if options.keep {
        scenes::keep(&print, &stage)?;
    }
    drop(stage);
    scenes::next(&print);
    Ok(())
}

/// Three nginx, and the gateway on a copy of `examples/quickstart`, which the demo edits.
fn set(program: PathBuf, hook: Hook) -> Result<Stage> {
    let lab = Lab::builder().backends(3).build()?;
    let endpoints = (0..3).map(|index| Nginx::start(&lab, index)).collect::<Result<_>>()?;
    let manifests = lab.folder().join("quickstart");
    fs::create_dir(&manifests)?;
    for entry in fs::read_dir(root().join("examples/quickstart")).context("examples/quickstart is missing")? {
        let entry = entry?;
        fs::copy(entry.path(), manifests.join(entry.file_name()))?;
    }
    // Pins are in the lab's own BPF file system, and go with it.
    let hook_name = if hook == Hook::Tc { "tc" } else { "off" };
    let gateway = GatewayBuilder::new(&program, manifests).hook(hook_name).start(&lab)?;
    Ok(Stage { gateway, endpoints, hook, program, lab })
}

impl Stage {
    fn manifest(&self, name: &str) -> PathBuf {
        self.lab.folder().join("quickstart").join(name)
    }

    /// Keep-alive clients that never retry.
    fn load(&self) -> Load {
        let is_right = |answer: &Response| answer.text().starts_with("endpoint=");
        let connections = usize::from(LOAD_CONNECTIONS);
        Load::start(self.lab.client(), self.gateway.address(), connections, SHOP, is_right)
    }
}
