//! `./x bench`: the gateway beside others, measured in one run on one machine.

mod contenders;
mod failover;
mod h2load;
mod http;
mod load;
mod machine;
mod objects;
mod profile;
mod programs;
mod propagation;
mod report;
mod routes;
mod wrk;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::run::cargo;

/// Options of `./x bench`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// HTTP/1.1, TLS, HTTP/2 and gRPC through RAUTA, nginx, haproxy, Envoy, hyper and Pingora, and past them.
    Http(http::Options),
    /// What one packet costs in the kernel programs, by kind of packet.
    Programs(programs::Options),
    /// How long a change of a file takes to be in force, by number of routes.
    Propagation(propagation::Options),
    /// How long a new HTTPRoute of a real API server takes to be served, while thousands come.
    Routes(routes::Options),
    /// How long an address of the pool does not answer when the node dies that announces it.
    Failover(failover::Options),
    /// The benches there are.
    List,
}

/// Runs a bench.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.bench {
        Bench::Http(options) => http::run(options),
        Bench::Programs(options) => programs::run(options),
        Bench::Propagation(options) => propagation::run(options),
        Bench::Routes(options) => routes::run(options),
        Bench::Failover(options) => failover::run(options),
        Bench::List => list(),
    }
}

fn list() -> Result<()> {
    println!(
        "./x bench http               RAUTA in both tiers and five other gateways side by side (about half an hour)"
    );
    println!("./x bench http --quick       one short round (about a minute)");
    println!("./x bench http --profile     where the userspace tier's time goes (perf)");
    println!(
        "./x bench programs           nanoseconds of each kind of packet in the kernel programs (seconds)"
    );
    println!("./x bench propagation        from a change of a file to the kernel's maps (about 5 minutes)");
    println!("./x bench routes             HTTPRoutes created on a real API server (about 2 minutes)");
    println!("./x bench routes --outage 60 and what the API server's absence costs");
    println!(
        "./x bench failover           from the death of an announcing node to the next answer (about 3 minutes)"
    );
    let output = cargo(&["metadata", "--format-version", "1", "--locked", "--no-deps"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_bench =
                target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"));
            if let (true, Some(package), Some(bench)) =
                (is_bench, package["name"].as_str(), target["name"].as_str())
            {
                println!("cargo bench -p {package} --bench {bench}");
            }
        }
    }
    Ok(())
}
