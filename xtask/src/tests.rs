use anyhow::Result;
use clap::Args;

use crate::run::{cargo, pass};

/// Options of `./x test` and `./x cluster test`.
#[derive(Args)]
#[group(id = "tests")]
pub(crate) struct Options {
    /// Only this crate.
    #[arg(short, long)]
    pub(crate) package: Option<String>,
    /// Passed on to the test programs: a part of a test's name, --nocapture...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Runs every test there is. The kernel programs are required: a machine that cannot build them fails here.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = cargo(&["test", "--locked"]);
    match &options.package {
        Some(package) => command.args(["-p", package]),
        // One failure is to hide no other.
        None => command.args(["--workspace", "--no-fail-fast"]),
    };
    if !options.arguments.is_empty() {
        command.arg("--").args(&options.arguments);
    }
    command.env("RAUTA_EBPF", "required");
    pass(command)
}
