//! `rauta run`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tracing::warn;

use super::check::missing;
use crate::cli::RunArgs;
use crate::{agent, output, settings};

/// Runs the agent until it is told to stop.
pub(crate) fn run(args: &RunArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let effective = settings::load(&args.settings, socket, std::env::vars_os()).context("bad settings")?;
    if args.print_config {
        output::print(&effective.to_yaml())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.kubernetes {
        bail!("--kubernetes is not in this version: give manifests with `rauta run -f PATH`");
    }
    if args.files.is_empty() {
        bail!("nothing to serve: give manifests with `rauta run -f PATH` (files or folders)");
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
    agent::run(settings, args.files.clone(), start, &limiter)?;
    Ok(ExitCode::SUCCESS)
}
