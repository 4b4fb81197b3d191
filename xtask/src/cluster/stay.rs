//! A cluster that stays until it is taken down. One process holds it; it ends as its file in the target folder goes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use testkit::cluster::{Cluster, Program, build};
use testkit::{Lab, until};

use super::images;
use crate::paths;

/// Options of `./x cluster up`.
#[derive(Args)]
pub(crate) struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: u8,
    /// A program that stands for all images of a name; echo-basic and shell are there.
    #[arg(long = "image", value_name = "NAME=PROGRAM", value_parser = images::parse)]
    images: Vec<(String, PathBuf)>,
}

/// What `up` waits for, at most: a busy machine may take its time.
const LIMIT: Duration = Duration::from_secs(300);

/// Builds what is missing, starts the cluster and says how to use it.
pub(super) fn up(options: &Options) -> Result<()> {
    if running().is_some() {
        println!("The cluster is up already (`./x cluster down` takes it away).\n");
        return status();
    }
    build(&Program::CLUSTER)?;
    let _ = fs::remove_dir_all(folder());
    fs::create_dir_all(folder()).with_context(|| format!("cannot make {}", folder().display()))?;
    let log = File::create(folder().join("log"))?;
    // Away from this terminal: what ends here does not end it.
    let mut command = Command::new("setsid");
    command.arg(std::env::current_exe()?).args(["cluster", "serve", "--nodes", &options.nodes.to_string()]);
    for (name, program) in &options.images {
        command.arg("--image").arg(format!("{name}={}", program.display()));
    }
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let ready = until(LIMIT, "the cluster to be up", || {
        if folder().join("guide").exists() {
            return Some(true);
        }
        child.try_wait().ok().flatten().map(|_| false)
    });
    if !matches!(ready, Ok(true)) {
        let log = fs::read_to_string(folder().join("log")).unwrap_or_default();
        bail!("the cluster did not start: {}", log.trim());
    }
    status()
}

/// Takes the cluster away.
pub(super) fn down() -> Result<()> {
    match running() {
        Some(pid) => {
            fs::remove_file(folder().join("pid"))?;
            until(LIMIT, &format!("process {pid} to end"), || (!is_ours(pid)).then_some(()))?;
            println!("The cluster is gone.");
        }
        None => println!("There was no cluster."),
    }
    // What a killed one left behind.
    Lab::sweep()?;
    let _ = fs::remove_dir_all(folder());
    Ok(())
}

/// Says whether it is up.
pub(super) fn status() -> Result<()> {
    match (running(), fs::read_to_string(folder().join("guide"))) {
        (Some(_), Ok(guide)) => print!("{guide}"),
        _ => println!("The cluster is down (`./x cluster up` starts one)."),
    }
    Ok(())
}

/// Holds the cluster.
pub(super) fn serve(options: &Options) -> Result<()> {
    let pid = folder().join("pid");
    fs::write(&pid, std::process::id().to_string())?;
    let cluster = Cluster::start(options.nodes, &images::table(&options.images, &folder())?)?;
    let kubeconfig = folder().join("kubeconfig");
    fs::copy(cluster.control_plane().kubeconfig(), &kubeconfig)?;
    // Renamed when it is whole: its presence says that all is there.
    let new = folder().join("guide.new");
    fs::write(&new, guide(&cluster, &kubeconfig, options.nodes)?)?;
    fs::rename(new, folder().join("guide"))?;
    while pid.exists() {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(cluster);
    Ok(())
}

fn guide(cluster: &Cluster, kubeconfig: &Path, nodes: u8) -> Result<String> {
    let kubectl = Program::Kubectl.path()?;
    let folder = kubectl.parent().context("a program without a folder")?;
    Ok(format!(
        "The cluster is up, with nodes: {nodes}. For kubectl:

  export KUBECONFIG={kubeconfig}
  export PATH={folder}:$PATH
  kubectl get nodes

Nodes, Pods and the API server ({address}:{port}) are reached from its namespaces:

  ip netns exec {prefix}-control curl -i http://POD:PORT/

Programs that make namespaces of their own: nsenter --net=/run/netns/{prefix}-node0 PROGRAM
",
        kubeconfig = kubeconfig.display(),
        folder = folder.display(),
        prefix = cluster.prefix(),
        address = cluster.api_address().0,
        port = cluster.api_address().1,
    ))
}

fn folder() -> PathBuf {
    // Absolute: kubectl runs anywhere.
    let target = paths::target();
    std::path::absolute(&target).unwrap_or(target).join("cluster")
}

/// The process that holds the cluster.
fn running() -> Option<u32> {
    let pid = fs::read_to_string(folder().join("pid")).ok()?.parse().ok()?;
    is_ours(pid).then_some(pid)
}

/// Process ids come again: it must be one of this program.
fn is_ours(pid: u32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0).skip(1);
    words.next() == Some(b"cluster") && words.next() == Some(b"serve")
}
