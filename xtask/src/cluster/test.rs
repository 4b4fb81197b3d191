use anyhow::Result;
use testkit::cluster::{Program, build};

use crate::run::{cargo, pass};
use crate::tests::Options;

/// Crates with tests that need an API server, behind their feature `cluster-tests`.
const CRATES: &[&str] = &["testkit", "rauta", "xtask"];

/// Builds the programs and runs the test target `cluster` of each crate that has one.
pub(crate) fn run(options: &Options) -> Result<()> {
    build(&Program::CLUSTER)?;
    build(&[Program::Helm])?;
    let chosen = CRATES.iter().filter(|name| options.package.as_deref().is_none_or(|only| only == **name));
    for name in chosen {
        let mut command = cargo(&["test", "--locked", "-p", name, "--features", "cluster-tests"]);
        command.args(["--test", "cluster", "--"]).args(&options.arguments);
        pass(command)?;
    }
    Ok(())
}
