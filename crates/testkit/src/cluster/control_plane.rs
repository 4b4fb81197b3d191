//! etcd and kube-apiserver in a network namespace.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::build::gateway_api_crds;
use super::client::Client;
use super::credentials::{ADMIN, Credentials};
use super::forward::Forward;
use super::programs::Program;
use crate::lab::sweep;
use crate::{Lab, Netns, Process, until};

/// The API server's port, in its namespace.
pub const API_PORT: u16 = 6443;

/// How long the API server may take to be ready: 3 s by itself, more beside a build.
const READY: Duration = Duration::from_secs(120);

/// An API server with its store, RBAC on, the definitions of the Gateway API (v1.6.1, experimental channel) and of RAUTA
/// applied. Everything stops when it is dropped, also by a panic; what a killed run leaves behind goes as the next lab is
/// built.
///
/// It listens on port 6443 of every address of its namespace, where [`Self::kubeconfig_inside`] leads to it. From
/// outside it is reached by a port of the loopback: [`Self::url`], [`Self::kubeconfig`].
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// let control = testkit::cluster::ControlPlane::start()?;
/// let namespaces = control.client().get("/api/v1/namespaces")?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the API server before its store.
    api_server: Process,
    _etcd: Process,
    forward: Forward,
    credentials: Credentials,
    client: Client,
    netns: Netns,
    folder: tempfile::TempDir,
    /// The namespace goes with us.
    owned: bool,
}

impl ControlPlane {
    /// Starts it in a namespace of its own; the programs must be there (`./x cluster build`).
    ///
    /// # Errors
    /// Not root; the programs are not built; one of them ends or is not ready, and then with its output.
    pub fn start() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        Lab::sweep()?;
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rauta-{}-c{count}-control", std::process::id());
        let netns = Netns::create(&name).context("a control plane runs in a namespace, which needs root")?;
        Self::start_with(&netns, &[], true).inspect_err(|_| sweep::delete(&name))
    }

    /// Starts it in `netns`, whose ports 6443, 2379 and 2380 must be free: beside the gateway of a [`Lab`], for one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(netns: &Netns) -> Result<Self> {
        Self::start_with(netns, &[], false)
    }

    /// `addresses` are more of the API server's own, for its certificate.
    pub(super) fn start_with(netns: &Netns, addresses: &[&str], owned: bool) -> Result<Self> {
        let prefix = format!("rauta-{}-cluster-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let credentials = Credentials::write(folder.path())?;
        let etcd = start_etcd(netns, folder.path())?;
        let mut subjects = vec!["127.0.0.1", "localhost", "kubernetes.default.svc"];
        subjects.extend(addresses);
        credentials.server("api-server", &subjects)?;
        let forward = Forward::start(netns, API_PORT)?;
        credentials.kubeconfig("kubeconfig", &format!("https://{}", forward.address()), ADMIN)?;
        credentials.kubeconfig("kubeconfig-inside", &inside(), ADMIN)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT));
        let client = Client::new(address, Some(netns.clone()), &credentials.ca, ADMIN.token)?;
        let mut api_server = spawn_api_server(netns, folder.path())?;
        wait_ready(&mut api_server, &client)?;
        apply_definitions(&client)?;
        Ok(Self {
            api_server,
            _etcd: etcd,
            forward,
            credentials,
            client,
            netns: netns.clone(),
            folder,
            owned,
        })
    }

    /// Where the API server is for programs outside of its namespace: `https://127.0.0.1:PORT`. Stays the same when the
    /// API server is stopped and started; connections made meanwhile are closed at once.
    pub fn url(&self) -> String {
        format!("https://{}", self.forward.address())
    }

    /// The administrator's kubeconfig for programs outside of the namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.credentials.path("kubeconfig")
    }

    /// The administrator's kubeconfig for programs in the namespace.
    pub fn kubeconfig_inside(&self) -> PathBuf {
        self.credentials.path("kubeconfig-inside")
    }

    /// Writes a kubeconfig for the service account `namespace/name` (which must exist), for programs in the namespace or
    /// outside: what the account's roles allow, and nothing else.
    ///
    /// # Errors
    /// There is no such account.
    pub fn kubeconfig_for(&self, namespace: &str, name: &str, inside_netns: bool) -> Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = serde_json::json!({"spec": {"expirationSeconds": 86_400}});
        let answer = self.client.create(&path, &request)?;
        let token = answer["status"]["token"].as_str().context("an answer without a token")?;
        let url = if inside_netns { inside() } else { self.url() };
        let file = self.credentials.path(&format!("kubeconfig-{namespace}-{name}-{inside_netns}"));
        std::fs::write(&file, super::credentials::kubeconfig(&url, &self.credentials.path("ca.pem"), token))?;
        Ok(file)
    }

    /// Applies a manifest of several objects; of each, name and namespace come first of what is indented by two.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        apply_documents(&self.client, manifest)
    }

    /// A client that may do everything.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace it runs in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its folder: keys, logs, the store. Removed with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority of its programs.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// `kubectl` as the administrator, to be given arguments and run from anywhere.
    ///
    /// # Errors
    /// It is not built.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(Program::Kubectl.path()?);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.folder.path());
        Ok(command)
    }

    /// Kills the API server alone, as if its machine had gone: connections are closed, new ones refused.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop_api_server(&mut self) -> Result<()> {
        self.api_server.kill().map(drop)
    }

    /// Starts the API server again, with all that it had stored, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_api_server(&mut self) -> Result<()> {
        self.api_server = spawn_api_server(&self.netns, self.folder.path())?;
        wait_ready(&mut self.api_server, &self.client)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.owned {
            // Fields are dropped after this; a process that is dead already is fine for them.
            sweep::delete(self.netns.name());
        }
    }
}

fn inside() -> String {
    format!("https://127.0.0.1:{API_PORT}")
}

fn start_etcd(netns: &Netns, folder: &Path) -> Result<Process> {
    let mut command = Command::new(Program::Etcd.path()?);
    command.arg("--data-dir").arg(folder.join("etcd")).args([
        // What is lost with the machine is a test's.
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--log-level=warn",
    ]);
    // The API server waits for it.
    Process::spawn(Some(netns), "etcd", command, folder)
}

fn spawn_api_server(netns: &Netns, folder: &Path) -> Result<Process> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut command = Command::new(Program::ApiServer.path()?);
    command.args([
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        &format!("--secure-port={API_PORT}"),
        // Without an interface of its own a namespace has no other that can be announced.
        "--advertise-address=10.90.0.1",
        &format!("--tls-cert-file={}", file("api-server.pem")),
        &format!("--tls-private-key-file={}", file("api-server-key.pem")),
        &format!("--token-auth-file={}", file("tokens.csv")),
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/108",
        "--service-account-issuer=https://kubernetes.default.svc",
        &format!("--service-account-key-file={}", file("service-accounts.pem")),
        &format!("--service-account-signing-key-file={}", file("service-accounts-key.pem")),
        "--kubelet-preferred-address-types=InternalIP",
        &format!("--kubelet-certificate-authority={}", file("ca.pem")),
        "--endpoint-reconciler-type=none",
        "--profiling=false",
    ]);
    Process::spawn(Some(netns), "kube-apiserver", command, folder)
}

fn wait_ready(api_server: &mut Process, client: &Client) -> Result<()> {
    api_server.wait_for(READY, "the API server to be ready", || client.text("/readyz").ok())?;
    Ok(())
}

/// Applies our definitions and the Gateway API's, and waits until they are served.
fn apply_definitions(client: &Client) -> Result<()> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/crds");
    for folder in [gateway_api_crds()?, ours] {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let manifest = std::fs::read_to_string(&path)?;
                apply_documents(client, &manifest)
                    .with_context(|| format!("cannot apply {}", path.display()))?;
            }
        }
    }
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    until(READY, "the definitions to be served", || {
        let list = client.get(path).ok()?;
        list["items"].as_array()?.iter().all(is_established).then_some(())
    })
}

fn apply_documents(client: &Client, manifest: &str) -> Result<()> {
    for document in manifest.split("\n---") {
        let field = |field: &str| document.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
        let (Some(version), Some(kind)) = (field("apiVersion:"), field("kind:")) else { continue };
        let name = field("  name:").context("an object without a name")?.trim_matches('"');
        let root = if version.contains('/') { "apis" } else { "api" };
        let place =
            field("  namespace:").map(|namespace| format!("namespaces/{namespace}/")).unwrap_or_default();
        let plural = match kind {
            "ValidatingAdmissionPolicy" => "validatingadmissionpolicies".to_owned(),
            kind => format!("{}s", kind.to_ascii_lowercase()),
        };
        client.apply(&format!("/{root}/{version}/{place}{plural}/{name}"), document)?;
    }
    Ok(())
}

fn is_established(definition: &serde_json::Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    })
}
