use anyhow::Result;
use clap::Args;
use testkit::cluster::{Program, build};

use super::conformance;
use crate::run::{cargo, pass};
use crate::tests;

/// Crates with tests that need an API server, behind their feature `cluster-tests`.
const CRATES: &[&str] = &["testkit", "rauta", "xtask"];

/// Options of `./x cluster test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only the conformance suite, with this tier at most: 3 is without kernel programs.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3), conflicts_with_all = ["package", "arguments"])]
    tier: Option<u8>,
    #[command(flatten)]
    tests: tests::Options,
}

/// Builds the programs, runs the test target `cluster` of each crate that has one, and the conformance suite; of a crate or of named
/// tests only those.
pub(crate) fn run(options: &Options) -> Result<()> {
    build(&Program::CLUSTER)?;
    build(&[Program::Helm])?;
    let tests::Options { package, arguments } = &options.tests;
    if options.tier.is_none() {
        for name in CRATES.iter().filter(|name| package.as_deref().is_none_or(|only| only == **name)) {
            let mut command = cargo(&["test", "--locked", "-p", name, "--features", "cluster-tests"]);
            command.args(["--test", "cluster", "--"]).args(arguments);
            pass(command)?;
        }
    }
    if package.is_none() && arguments.is_empty() {
        conformance::run(&conformance::Options::own(options.tier.unwrap_or(1)))?;
    }
    Ok(())
}
