//! Two nodes with an agent each, an API server, and a client on their segment.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testkit::cluster::{Client, ControlPlane};
use testkit::{Addresses, GATEWAY_PORT, Lab, Nginx, Process, exec, until};

use super::super::objects::{GATEWAY_API, create_gateway, create_service, named, of};

/// The only address of the pool, on the segment of the nodes.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 100);
const NODES: [&str; 2] = ["node-0", "node-1"];
const LIMIT: Duration = Duration::from_secs(60);
/// How long one attempt waits for its connection, and for its answer: the next one is the sooner made.
const ATTEMPT_MAX: Duration = Duration::from_millis(50);

/// What dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// The agent alone, by SIGKILL: its address stays on the interface, and so do its kernel programs, which go on.
    Agent,
    /// The agent, and the node's wire with it.
    Node,
}

impl Death {
    pub(super) const ALL: [Self; 2] = [Self::Agent, Self::Node];
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Agent => "the announcing agent, by SIGKILL",
            Self::Node => "the announcing node: agent and wire at once",
        })
    }
}

pub(super) struct World {
    lab: Lab,
    control: ControlPlane,
    _nginx: Nginx,
    rauta: PathBuf,
    hook: &'static str,
    nodes: [Process; 2],
}

impl World {
    /// The API server and the client are in the lab's gateway, the nodes its first two endpoints, the third an endpoint.
    pub(super) fn new(rauta: &Path, hook: &'static str) -> Result<Self> {
        let lab = Lab::builder().backends(3).build()?;
        let control = ControlPlane::start_in(lab.gateway())?;
        let nginx = Nginx::start(&lab, 2)?;
        fill(control.client(), nginx.address())?;
        let nodes = [start(&lab, &control, rauta, hook, 0)?, start(&lab, &control, rauta, hook, 1)?];
        let world = Self { lab, control, _nginx: nginx, rauta: rauta.to_owned(), hook, nodes };
        world.until_settled()?;
        Ok(world)
    }

    /// The longest time without an answer from the death of the announcing node to an answer of the other one. At the
    /// end that lives again which died.
    pub(super) fn die(&mut self, death: Death) -> Result<Duration> {
        let node = self.announcing().context("no node, or both, announce the address")?;
        let since = Instant::now();
        if matches!(death, Death::Node) {
            self.wire(node, "down")?;
        }
        self.nodes[node].kill()?;
        let (mut answered, mut longest) = (since, Duration::ZERO);
        loop {
            ensure!(since.elapsed() < LIMIT, "no answer of the other node\n{}", self.nodes[1 - node].log());
            let is_taken_over = self.says(1 - node);
            if self.is_answered()? {
                longest = longest.max(answered.elapsed());
                answered = Instant::now();
                if is_taken_over {
                    break;
                }
            }
        }
        if matches!(death, Death::Node) {
            self.wire(node, "up")?;
        }
        self.nodes[node] = start(&self.lab, &self.control, &self.rauta, self.hook, node)?;
        self.until_settled()?;
        ensure!(self.announcing() == Some(1 - node), "the address has not stayed at the other node");
        Ok(longest)
    }

    /// Plugs a node's wire in, or out.
    fn wire(&self, node: usize, state: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["link", "set", &format!("b{node}"), state]);
        let output = exec(Some(self.lab.switch()), ip, LIMIT)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until both nodes take part, one of them announces the address, and it answers.
    fn until_settled(&self) -> Result<()> {
        let is_settled = || {
            let takes_part = |node: &usize| {
                self.lease(*node).is_some_and(|lease| lease["spec"]["holderIdentity"] == NODES[*node])
                    && self.nodes[*node].log().contains("applied")
            };
            (self.is_answered().ok()? && [0, 1].iter().all(takes_part) && self.announcing().is_some())
                .then_some(())
        };
        let settled = until(LIMIT, "both nodes to take part", is_settled);
        settled.with_context(|| self.nodes.iter().map(Process::log).collect::<Vec<_>>().join("\n----\n"))
    }

    /// The one node whose Lease says that it announces the address.
    fn announcing(&self) -> Option<usize> {
        match [0, 1].map(|node| self.says(node)) {
            [true, false] => Some(0),
            [false, true] => Some(1),
            _ => None,
        }
    }

    /// Whether a node's Lease says that it announces the address.
    fn says(&self, node: usize) -> bool {
        let annotations = self.lease(node).map(|lease| lease["metadata"]["annotations"].clone());
        annotations.is_some_and(|all| all["rauta.io/announces"] == ADDRESS.to_string())
    }

    fn lease(&self, node: usize) -> Option<Value> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/rauta/leases/rauta-node-{}", NODES[node]);
        self.control.client().get(&path).ok()
    }

    /// Whether an attempt has an answer.
    fn is_answered(&self) -> Result<bool> {
        let attempt = || -> std::io::Result<bool> {
            let address = SocketAddr::from((ADDRESS, GATEWAY_PORT));
            let mut stream = TcpStream::connect_timeout(&address, ATTEMPT_MAX)?;
            stream.set_read_timeout(Some(ATTEMPT_MAX))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(answer == *b"HTTP/1.1 200")
        };
        Ok(self.lab.gateway().run(attempt)?.unwrap_or(false))
    }
}

/// What the agents read.
fn fill(client: &Client, endpoint: SocketAddr) -> Result<()> {
    client.create("/api/v1/namespaces", &named("rauta", json!({})))?;
    create_gateway(client, "shop", GATEWAY_PORT)?;
    create_service(client, "shop", "web", endpoint)?;
    let rule = json!({"backendRefs": [{"name": "web", "port": 80}]});
    let spec = json!({"spec": {"parentRefs": [{"name": "web"}], "rules": [rule]}});
    client.create(&format!("{GATEWAY_API}/namespaces/shop/httproutes"), &of("HTTPRoute", "web", spec))?;
    Ok(())
}

/// Starts the agent of a node.
fn start(lab: &Lab, control: &ControlPlane, rauta: &Path, hook: &str, node: usize) -> Result<Process> {
    let inside = fs::read_to_string(control.kubeconfig_inside())?;
    // The server's certificate has its other names.
    let server = "server: https://127.0.0.1:";
    if !inside.contains(server) {
        bail!("the kubeconfig names another server: {inside}");
    }
    let outside = format!("tls-server-name: localhost\n    server: https://{}:", Addresses::GATEWAY_BACK);
    let kubeconfig = lab.folder().join(format!("kubeconfig-{node}"));
    fs::write(&kubeconfig, inside.replace(server, &outside))?;
    let mut command = Command::new(rauta);
    command.args(["run", "--kubernetes", "--hook", hook, "--admin", "off", "--metrics", "off", "--set"]);
    command.arg(format!("addresses.pool={ADDRESS}")).arg("--kubeconfig").arg(kubeconfig);
    command.env("POD_NAMESPACE", "rauta").env("NODE_NAME", NODES[node]);
    command.arg("--socket").arg(lab.folder().join(format!("{node}.sock")));
    if hook != "off" {
        command.env("RAUTA_DATAPLANE_PIN_ROOT", lab.bpffs()?.join(NODES[node]));
    }
    lab.spawn(lab.backend(node), NODES[node], command)
}
