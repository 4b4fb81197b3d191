use anyhow::Result;
use clap::Args;
use testkit::cluster::{Program, build};

use super::conformance;
use crate::run::{cargo, pass};
use crate::tests;

/// Of the crates with tests that need an API server.
const FEATURES: &str = "testkit/cluster-tests,rauta/cluster-tests,xtask/cluster-tests";

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
        let mut command = cargo(&["test", "--locked", "--test", "cluster"]);
        match package {
            Some(package) => command.args(["-p", package, "--features", "cluster-tests"]),
            // The same selection as that of `./x test`: another one would build dependencies anew, with other features.
            None => command.args(["--workspace", "--no-fail-fast", "--features", FEATURES]),
        };
        command.arg("--").args(arguments);
        pass(command)?;
    }
    if package.is_none() && arguments.is_empty() {
        conformance::run(&conformance::Options::own(options.tier.unwrap_or(1)))?;
    }
    Ok(())
}
