//! `rauta run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use tracing::warn;

use super::check::missing;
use super::linger;
use crate::cli::RunArgs;
use crate::{agent, output, settings};

/// Runs the agent until it is told to stop.
pub(crate) fn run(args: &RunArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let effective = settings::load(&args.settings, socket, std::env::vars_os()).context("bad settings")?;
    if args.print_config {
        output::print(&effective.to_yaml())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.files.is_empty() && !args.kubernetes {
        bail!(
            "nothing to serve: give manifests with `rauta run -f PATH` (files or folders), or take a cluster's objects with \
             `rauta run --kubernetes`"
        );
    }
    if let Some(missing) = missing(&args.files) {
        bail!(
            "{} does not exist or cannot be read: give an existing file or folder with -f",
            missing.display()
        );
    }
    let settings = &effective.settings;
    let limiter = telemetry::log::init(settings.log_format, &settings.log_level).context("cannot log")?;
    for variable in &effective.unknown_variables {
        warn!("the variable {variable} is no setting; `rauta run --print-config` lists them");
    }
    let start = if args.upgrade { agent::Start::Upgrade } else { agent::Start::Alone };
    let source = match args.kubernetes {
        true => agent::Source::Cluster(Box::new(connect(settings.kubeconfig.as_deref())?)),
        false => agent::Source::Files(args.files.clone()),
    };
    let end = agent::run(settings, source, start, &limiter)?;
    if args.linger && end == agent::End::TakenOver {
        linger::become_idle()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How the cluster is reached.
pub(super) fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<kubernetes::Connection> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(kubernetes::connect(kubeconfig))?)
}
