use anyhow::Result;
use clap::Args;
use testkit::cluster::{Program, build};

use crate::run::{cargo, pass};

/// Crates with tests that need an API server, behind their feature `cluster-tests`.
const CRATES: &[&str] = &["testkit"];

/// Options of `./x cluster test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this crate's.
    #[arg(short, long)]
    package: Option<String>,
    /// Passed on to the test programs: a part of a test's name, --nocapture...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the programs and runs the test target `cluster` of each crate that has one.
pub(crate) fn run(options: &Options) -> Result<()> {
    build(&Program::ALL)?;
    let chosen = CRATES.iter().filter(|name| options.package.as_deref().is_none_or(|only| only == **name));
    for name in chosen {
        let mut command = cargo(&["test", "--locked", "-p", name, "--features", "cluster-tests"]);
        command.args(["--test", "cluster", "--"]).args(&options.arguments);
        pass(command)?;
    }
    Ok(())
}
