//! A whole cluster: control plane, controllers, scheduler, nodes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::control_plane::{API_PORT, ControlPlane};
use super::credentials::{ADMIN, CONTROLLERS, SCHEDULER};
use super::node::{Images, Nodes, network};
use super::programs::Program;
use crate::lab::sweep;
use crate::{Lab, Netns, Process};

/// Those that Pods, Services and Deployments need, and no others.
const CONTROLLERS_ON: &str = "deployment-controller,replicaset-controller,daemonset-controller,\
    statefulset-controller,job-controller,endpointslice-controller,endpoints-controller,\
    endpointslice-mirroring-controller,serviceaccount-controller,serviceaccount-token-controller,\
    namespace-controller,garbage-collector-controller,root-ca-certificate-publisher-controller,\
    node-lifecycle-controller,pod-garbage-collector-controller,disruption-controller,\
    validatingadmissionpolicy-status-controller";

/// A cluster whose Pods are programs of this machine, each in a network namespace of its own. Everything goes when it is
/// dropped.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use testkit::cluster::{Cluster, Images, Program};
/// let images = Images::default().with("echo-basic", Program::EchoBasic.path()?);
/// let cluster = Cluster::start(2, &images)?;
/// let pods = cluster.control_plane().client().get("/api/v1/pods")?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: programs of Pods, controllers, the API server, and last all namespaces.
    nodes: Option<Nodes>,
    managers: Vec<Process>,
    control: ControlPlane,
    prefix: String,
}

impl Cluster {
    /// Starts `nodes` nodes, on which the programs of `images` can run; the programs must be there (`./x cluster build`).
    ///
    /// # Errors
    /// As [`ControlPlane::start`]; `ip` fails.
    pub fn start(nodes: u8, images: &Images) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        Lab::sweep()?;
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("rauta-{}-k{count}", std::process::id());
        Self::start_as(&prefix, nodes, images).inspect_err(|_| {
            // The first error is the one that counts.
            let _ = sweep::remove(&prefix);
        })
    }

    fn start_as(prefix: &str, nodes: u8, images: &Images) -> Result<Self> {
        let netns = Netns::create(&format!("{prefix}-control"));
        let netns = netns.context("a cluster runs in namespaces, which needs root")?;
        network::control(&netns)?;
        let control = ControlPlane::start_with(&netns, &[&network::CONTROL.to_string()], false)?;
        let mut cluster = Self { nodes: None, managers: Vec::new(), control, prefix: prefix.to_owned() };
        cluster.managers.push(cluster.start_controllers()?);
        cluster.managers.push(cluster.start_scheduler()?);
        cluster.nodes = Some(Nodes::start(&cluster.control, prefix, nodes, images)?);
        Ok(cluster)
    }

    /// Its API server.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control
    }

    /// The same, to stop and start it.
    pub fn control_plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.control
    }

    /// What the names of its namespaces begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The API server's address as Pods see it.
    pub fn api_address(&self) -> (Ipv4Addr, u16) {
        (network::CONTROL, API_PORT)
    }

    /// Writes the administrator's kubeconfig for programs in the namespaces of nodes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig_of_nodes(&self) -> Result<PathBuf> {
        let url = format!("https://{}:{API_PORT}", network::CONTROL);
        self.control.credentials().kubeconfig("kubeconfig-nodes", &url, ADMIN)
    }

    fn start_controllers(&self) -> Result<Process> {
        let credentials = self.control.credentials();
        let kubeconfig = credentials.kubeconfig("kubeconfig-controllers", &self.inside(), CONTROLLERS)?;
        let mut command = Command::new(Program::ControllerManager.path()?);
        command.args([
            &format!("--kubeconfig={}", kubeconfig.display()),
            &format!("--controllers={CONTROLLERS_ON}"),
            "--allocate-node-cidrs=false",
            "--leader-elect=false",
            &format!("--root-ca-file={}", credentials.path("ca.pem").display()),
            &format!(
                "--service-account-private-key-file={}",
                credentials.path("service-accounts-key.pem").display()
            ),
            "--bind-address=127.0.0.1",
        ]);
        Process::spawn(Some(self.control.netns()), "kube-controller-manager", command, self.control.folder())
    }

    fn start_scheduler(&self) -> Result<Process> {
        let credentials = self.control.credentials();
        let kubeconfig = credentials.kubeconfig("kubeconfig-scheduler", &self.inside(), SCHEDULER)?;
        let mut command = Command::new(Program::Scheduler.path()?);
        command.args([
            &format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]);
        Process::spawn(Some(self.control.netns()), "kube-scheduler", command, self.control.folder())
    }

    fn inside(&self) -> String {
        format!("https://127.0.0.1:{API_PORT}")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes = None;
        self.managers.clear();
        // With them go the processes of the control plane; its fields are dropped after this.
        if let Err(error) = sweep::remove(&self.prefix) {
            eprintln!("cluster: cannot remove the namespaces {}-*: {error:#}", self.prefix);
        }
    }
}
