use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// How `rauta` is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; what the tests use.
    Dev,
    /// For measuring.
    Release,
}

/// `cargo`, in the root of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root()).args(arguments);
    command
}

/// Runs `command` with our own input and output.
///
/// # Errors
/// It cannot be started or does not succeed.
pub(crate) fn pass(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Builds the `rauta` binary and says where it is.
///
/// # Errors
/// It does not compile.
pub(crate) fn build_rauta(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--quiet", "--locked", "-p", "rauta"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    pass(command)?;
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    Ok(paths::target().join(folder).join("rauta"))
}

/// `rauta doctor`.
///
/// # Errors
/// As the program says.
pub(crate) fn doctor(arguments: &[String]) -> Result<()> {
    let mut command = Command::new(build_rauta(Profile::Dev)?);
    command.arg("doctor").args(arguments);
    pass(command)
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}
