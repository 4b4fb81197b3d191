//! RAUTA itself, in either tier.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Addresses, BACKEND_PORT, Connection, Lab, until};

use super::super::machine::said;
use super::{Contender, Ports, certificate, launch};
use crate::agent::Tiers;

/// Where RAUTA routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Tier {
    Userspace,
    /// In the kernel, at the TC hook.
    Tc,
    /// At the XDP hook.
    Xdp,
    /// At the TC hook, with legs that wait for the next client.
    Pool,
}

impl Tier {
    /// Those in which the kernel decides.
    pub(in super::super) const KERNEL: [Self; 3] = [Self::Tc, Self::Xdp, Self::Pool];

    /// What the table calls it.
    pub(in super::super) const fn name(self) -> &'static str {
        match self {
            Self::Userspace => "RAUTA userspace",
            Self::Tc => "RAUTA TC",
            Self::Xdp => "RAUTA XDP",
            Self::Pool => "RAUTA TC, pool",
        }
    }
}

/// Starts RAUTA. Programs see every packet of their interfaces, so the kernel tier gets a lab of its own.
///
/// # Errors
/// It does not start, or its kernel tier does not serve.
pub(in super::super) fn start<'l>(lab: &'l Lab, program: &Path, tier: Tier) -> Result<Contender<'l>> {
    let folder = lab.folder().join("bench-manifests");
    fs::create_dir_all(&folder)?;
    let rule = format!(
        "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: bench, namespace: default}}\nspec:\n  \
         match: {{path: {{type: Prefix, value: /}}}}\n  backends: [{{endpoint: \"{}\", weight: 100}}]\n",
        Addresses::backend_socket(0)
    );
    fs::write(folder.join("rule.yaml"), rule)?;
    let (hook, secured) = match tier {
        Tier::Userspace => ("off", Some(8443)),
        Tier::Tc | Tier::Pool => ("tc", None),
        Tier::Xdp => ("xdp", None),
    };
    if secured.is_some() {
        fs::write(folder.join("secured.yaml"), secured_manifest()?)?;
    }
    let mut command = Command::new(program);
    command.arg("run").arg("-f").arg(&folder).arg("--socket").arg(lab.folder().join("rauta.sock"));
    command.args(["--listen", "0.0.0.0:8080", "--threads", "2", "--hook", hook]);
    command.args(["--admin", "127.0.0.1:9901", "--metrics", "127.0.0.1:9900"]);
    if tier != Tier::Userspace {
        command.env("RAUTA_DATAPLANE_PIN_ROOT", lab.bpffs()?.join("pins"));
    }
    if tier == Tier::Pool {
        command.env("RAUTA_DATAPLANE_POOL_IDLE", "4s");
    }
    let version = said(&program.display().to_string(), &["--version"]);
    let mut contender = launch(lab, tier.name(), version, Ports { plain: 8080, secured }, command)?;
    contender.tier = Some(tier);
    if contender.is_kernel() {
        wait_for_the_kernel(&contender, program)?;
    }
    Ok(contender)
}

/// Endpoints enter the kernel's tables a moment after the agent is ready.
fn wait_for_the_kernel(contender: &Contender<'_>, program: &Path) -> Result<()> {
    let mut last = String::new();
    let served = until(Duration::from_secs(10), "a request to be decided in the kernel", || {
        let decided = || -> Result<bool> {
            let before = Tiers::ask(contender.lab, program)?;
            Connection::open(contender.lab.client(), contender.address)?.get("bench.example", "/128")?;
            Ok(Tiers::ask(contender.lab, program)?.since(before).kernel > 0)
        };
        decided()
            .unwrap_or_else(|error| {
                last = format!("{error:#}");
                false
            })
            .then_some(())
    });
    served.with_context(|| {
        format!("the bench needs the kernel tier (`--userspace-only` measures without it) {last}")
    })
}

/// A listener for HTTPS, with everything to endpoint 0 but calls, which go to endpoint 1.
fn secured_manifest() -> Result<String> {
    let (chain, key) = certificate::pair()?;
    let block = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let service = |name: &str, protocol: &str, index: u8| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{ports: [{{name: main, port: 80, targetPort: {BACKEND_PORT}, appProtocol: {protocol}}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{name: main, port: {BACKEND_PORT}, protocol: TCP}}]\n\
             endpoints: [{{addresses: [\"{}\"], conditions: {{ready: true}}}}]\n",
            Addresses::backend(index)
        )
    };
    let route = |kind: &str, service: &str, matches: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {service}, namespace: default}}\n\
             spec:\n  parentRefs: [{{name: bench}}]\n  hostnames: [bench.example]\n  \
             rules: [{{{matches}backendRefs: [{{name: {service}, port: 80}}]}}]\n"
        )
    };
    Ok(format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: rauta}}\n\
         spec: {{controllerName: rauta.io/gateway-controller}}\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: bench, namespace: default}}\n\
         spec:\n  gatewayClassName: rauta\n  \
         listeners: [{{name: https, protocol: HTTPS, port: 8443, tls: {{certificateRefs: [{{name: bench}}]}}}}]\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: bench, namespace: default}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}{}{}{}{}",
        block(&chain),
        block(&key),
        service("web", "http", 0),
        service("calls", "kubernetes.io/h2c", 1),
        route("HTTPRoute", "web", ""),
        route("GRPCRoute", "calls", "matches: [{method: {service: grpc.testing.TestService}}], "),
    ))
}
