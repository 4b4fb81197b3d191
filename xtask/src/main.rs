//! The work behind `./x`, the one door to this repository: demo, test, bench, soak, lab, kernels, cluster, tidy.
#![allow(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

mod agent;
mod bench;
mod cluster;
mod demo;
mod fuzz;
mod image;
mod kernels;
mod lab;
mod manifests;
mod paths;
mod run;
mod soak;
mod tests;
mod tidy;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The work behind ./x.
#[derive(Parser)]
#[command(
    name = "x",
    bin_name = "./x",
    version,
    about = "The one door to this repository",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show the gateway at work in a network of its own: a minute, then everything is gone again.
    Demo(demo::Options),
    /// Build everything, kernel programs included, and run all tests (root: they make network namespaces).
    Test(tests::Options),
    /// Measure the gateway beside others in the same network.
    Bench(bench::Options),
    /// Traffic for minutes, after which nothing may have grown.
    Soak(soak::Options),
    /// Say what this machine can do for the gateway.
    Doctor {
        /// Passed on to `rauta doctor`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A network to play with that stays until it is taken down.
    Lab {
        #[command(subcommand)]
        command: lab::Command,
    },
    /// A Kubernetes of its own, from pinned Go modules, without containers.
    Cluster {
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Run the cases of every kernel on Debian's kernels, in virtual machines.
    Kernels(kernels::Options),
    /// Write an image for container runtimes, without one.
    Image(image::Options),
    /// Write what is made of the Helm chart: deploy/rauta.yaml; and our definitions into it.
    Manifests(manifests::Options),
    /// Check layers, licences, sources and versions of dependencies, sizes of files.
    Tidy,
    /// Fuzz a parser with libFuzzer or, without a nightly toolchain, with random input.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => tests::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Doctor { arguments } => run::doctor(&arguments),
        Task::Lab { command } => lab::run(&command),
        Task::Cluster { command } => cluster::run(&command),
        Task::Kernels(options) => kernels::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Manifests(options) => manifests::run(&options),
        Task::Tidy => tidy::run(),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("x: {error:#}");
            ExitCode::FAILURE
        }
    }
}
