//! RAUTA as the gateway of the conformance suite: installed by its chart, each Gateway with an address of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::cluster::{Cluster, Program, build};
use testkit::exec;

use crate::agent::Tiers;
use crate::paths;
use crate::run::{cargo, pass};

/// Addresses on the nodes' segment that no node has.
const POOL: &str = "10.90.0.64-10.90.0.253";
/// For the suite's test of addresses that Gateways ask for: one of the pool, and one that nobody has.
pub(super) const ADDRESSES: [&str; 2] = ["--usable-address=10.90.0.253", "--unusable-address=192.0.2.1"];
const NAMESPACE: &str = "rauta";
/// A busy machine may take its time.
const LIMIT: Duration = Duration::from_secs(240);

/// The installed gateway.
pub(super) struct Own<'a> {
    cluster: &'a Cluster,
    /// What it keeps on the node: nodes share the machine's bpf file system and its folders.
    pins: PathBuf,
    run: PathBuf,
}

impl<'a> Own<'a> {
    /// Builds the program that stands for the chart's image.
    pub(super) fn build() -> Result<PathBuf> {
        build(&[Program::Helm])?;
        // As part of the workspace: alone its dependencies would be built anew, with other features.
        pass(cargo(&["build", "--locked", "--workspace", "--bin", "rauta"]))?;
        let program = paths::target().join("debug/rauta");
        fs::canonicalize(&program).with_context(|| format!("there is no {}", program.display()))
    }

    /// Installs the chart, and waits until its Pod is ready.
    pub(super) fn install(cluster: &'a Cluster, kernel: bool) -> Result<Self> {
        let prefix = cluster.prefix();
        let pins = PathBuf::from(format!("/sys/fs/bpf/{prefix}"));
        let own = Self { cluster, pins, run: cluster.control_plane().folder().join("run") };
        let values = [
            format!("host.pinFolder={}", own.pins.display()),
            format!("host.runFolder={}", own.run.display()),
            format!("kernel.enabled={kernel}"),
            // The lab has applied them.
            "crds.install=false".to_owned(),
            format!("settings.addresses.pool={{{POOL}}}"),
            "settings.addresses.interface=eth0".to_owned(),
        ];
        let mut helm = Command::new(Program::Helm.path()?);
        helm.args(["install", "rauta", "deploy/helm/rauta", "--namespace", NAMESPACE, "--create-namespace"]);
        helm.args(values.iter().flat_map(|value| ["--set", value]));
        own.ask(helm)?;
        own.kubectl(&["rollout", "status", "daemonset/rauta", "--timeout=200s"])?;
        Ok(own)
    }

    /// How many of its requests the kernel has answered.
    pub(super) fn tiers(&self) -> Result<Tiers> {
        Tiers::parse(&self.kubectl(&["exec", "daemonset/rauta", "--", "rauta", "status", "-o", "json"])?)
    }

    /// What it has counted.
    pub(super) fn metrics(&self) -> Result<String> {
        let address = self.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].status.hostIP}"])?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", &format!("http://{address}:9900/metrics")]);
        let output = exec(Some(self.cluster.control_plane().netns()), curl, Duration::from_secs(10))?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut command = self.cluster.control_plane().kubectl()?;
        command.args(["--namespace", NAMESPACE]).args(words);
        self.ask(command)
    }

    fn ask(&self, mut command: Command) -> Result<String> {
        let control = self.cluster.control_plane();
        command
            .env("KUBECONFIG", control.kubeconfig())
            .env("HOME", control.folder())
            .current_dir(paths::root());
        let output = exec(None, command, LIMIT)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        // While its Pod is there, so that it takes its programs away.
        let mut helm = match Program::Helm.path() {
            Ok(path) => Command::new(path),
            Err(_) => return,
        };
        helm.args(["uninstall", "rauta", "--namespace", NAMESPACE, "--wait"]);
        if let Err(error) = self.ask(helm) {
            eprintln!("the gateway is not uninstalled: {error:#}");
        }
        let _ = fs::remove_dir_all(&self.pins);
    }
}
