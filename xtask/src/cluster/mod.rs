//! `./x cluster`: Kubernetes in network namespaces.

mod test;

use anyhow::Result;
use clap::Subcommand;
use testkit::cluster::{Program, build};

/// What to do with the cluster.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build what it consists of, where it is not built yet (cold: about ten minutes).
    Build {
        /// Only etcd, the API server and kubectl.
        #[arg(long)]
        control_plane: bool,
    },
    /// Run the tests that need an API server.
    Test(test::Options),
}

/// Builds or tests.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Build { control_plane: true } => build(&Program::CONTROL_PLANE),
        Command::Build { control_plane: false } => build(&Program::ALL),
        Command::Test(options) => test::run(options),
    }
}
