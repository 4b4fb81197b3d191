//! An API server, the agent on it with the rights that the guide names, two endpoints.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::cluster::ControlPlane;
use testkit::{Addresses, GATEWAY_PORT, Lab, Netns, Nginx, Process};

use super::super::objects::{GATEWAY_API, create_gateway, create_service, of};
use crate::paths;

const NAMESPACE: &str = "shop";
/// The host of the route that is there from the beginning, and its Service.
pub(super) const EXISTING: (&str, &str) = ("existing.test", "web");
/// The Service of the routes that come, and what its endpoint is called.
pub(super) const NEW: (&str, &str) = ("other", "b1");

/// All that is measured, and what it needs.
pub(super) struct World {
    // Dropped in this order: the agent before the API server, the network last.
    pub(super) rauta: Process,
    pub(super) control: ControlPlane,
    _endpoints: [Nginx; 2],
    pub(super) lab: Lab,
}

impl World {
    /// Starts everything, and waits until the agent answers.
    pub(super) fn start(program: &Path, hook: &str) -> Result<Self> {
        let lab = Lab::builder().backends(2).build()?;
        let control = ControlPlane::start_in(lab.gateway())?;
        let endpoints = [Nginx::start(&lab, 0)?, Nginx::start(&lab, 1)?];
        let guide = std::fs::read_to_string(paths::root().join("docs/guide/kubernetes.md"))?;
        let roles = guide.split("```yaml\n").nth(1).and_then(|text| text.split("```").next());
        control.apply(roles.context("the guide names no roles")?)?;
        let client = control.client();
        create_gateway(client, NAMESPACE, GATEWAY_PORT)?;
        for (name, endpoint) in [EXISTING.1, NEW.0].into_iter().zip(&endpoints) {
            create_service(client, NAMESPACE, name, endpoint.address())?;
        }
        client.create(&routes(), &route(EXISTING.0, EXISTING.1))?;
        let rauta = agent(&lab, &control, program, hook)?;
        Ok(Self { rauta, control, _endpoints: endpoints, lab })
    }

    /// Where clients are.
    pub(super) fn client(&self) -> &Netns {
        self.lab.client()
    }

    /// How many HTTPRoutes have a status.
    pub(super) fn routes_with_status(&self) -> Result<usize> {
        let list = self.control.client().get(&routes())?;
        let items = list["items"].as_array().context("no list of routes")?;
        let is_written = |route: &&Value| route["status"]["parents"][0]["conditions"].is_array();
        Ok(items.iter().filter(is_written).count())
    }

    /// Lines of `/proc/PID/status` in KiB: what is resident, and what of it is no file's.
    pub(super) fn memory_kib(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.rauta.pid()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            anyhow::Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
        };
        Ok((of("VmRSS:")?, of("RssAnon:")?))
    }
}

/// The collection of the routes.
pub(super) fn routes() -> String {
    format!("{GATEWAY_API}/namespaces/{NAMESPACE}/httproutes")
}

/// A route of one host to a Service, as a user would write it.
pub(super) fn route(host: &str, service: &str) -> Value {
    let rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": service, "port": 80}],
    });
    let spec = json!({"hostnames": [host], "parentRefs": [{"name": "web"}], "rules": [rule]});
    of("HTTPRoute", host, json!({"spec": spec}))
}

fn agent(lab: &Lab, control: &ControlPlane, program: &Path, hook: &str) -> Result<Process> {
    let mut command = Command::new(program);
    command.args(["run", "--kubernetes", "--hook", hook, "--admin", "127.0.0.1:9901", "--metrics", "off"]);
    command.args(["--threads", "2", "--log-format", "json", "--log-level", "info,rauta=debug"]);
    command.env("POD_NAMESPACE", "rauta").arg("--kubeconfig");
    command.arg(control.kubeconfig_for("rauta", "agent", true)?);
    command.arg("--socket").arg(lab.folder().join("rauta.sock"));
    if hook != "off" {
        command.env("RAUTA_DATAPLANE_PIN_ROOT", lab.bpffs()?.join("pins"));
    }
    let mut rauta = lab.spawn(lab.gateway(), "rauta", command)?;
    let ask = || {
        let mut connection = testkit::Connection::open(lab.client(), Addresses::gateway_socket()).ok()?;
        (connection.get(EXISTING.0, "/").ok()?.status == 200).then_some(())
    };
    rauta.wait_for(Duration::from_secs(60), "the first route to be served", ask)?;
    Ok(rauta)
}
