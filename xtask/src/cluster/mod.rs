//! `./x cluster`: Kubernetes in network namespaces.

mod conformance;
mod dns;
mod images;
mod own;
mod stay;
mod test;

use anyhow::Result;
use clap::Subcommand;
use testkit::cluster::{Program, build};

/// What to do with the cluster.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build what it consists of and the conformance suite, where they are not built yet (cold: many minutes).
    Build {
        /// Only etcd, the API server and kubectl.
        #[arg(long)]
        control_plane: bool,
    },
    /// Start a cluster that stays, and say how to use it.
    Up(stay::Options),
    /// Take it away again, with whatever runs in it.
    Down,
    /// Say whether it is up, and how to use it.
    Status,
    /// Run the tests that need an API server, and the conformance suite against RAUTA.
    Test(test::Options),
    /// Run the conformance suite of the Gateway API against a gateway in a cluster of its own.
    Conformance(conformance::Options),
    /// Stands for CoreDNS in the conformance suite.
    #[command(hide = true)]
    Dns,
    /// The process behind `up`.
    #[command(hide = true)]
    Serve(stay::Options),
}

/// Does it.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Build { control_plane: true } => build(&Program::CONTROL_PLANE),
        Command::Build { control_plane: false } => {
            build(&Program::CLUSTER)?;
            build(&[Program::Conformance])
        }
        Command::Dns => dns::serve(53),
        Command::Up(options) => stay::up(options),
        Command::Down => stay::down(),
        Command::Status => stay::status(),
        Command::Test(options) => test::run(options),
        Command::Conformance(options) => conformance::run(options),
        Command::Serve(options) => stay::serve(options),
    }
}
