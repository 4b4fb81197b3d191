//! `rauta demo`: a gateway at work in this process, on loopback, without any privilege.

mod client;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use proxy::Gateway;
use telemetry::Metrics;

use super::echo;
use crate::output::{has_colour, print};
use crate::view::{self, tables};
use client::{Answer, Client};

/// Requests to the route that is shared by two endpoints.
const REQUESTS: usize = 40;

/// Starts endpoints and a gateway, sends requests, prints what happened. Fails if anything is not as it says.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let endpoints = ["red", "blue", "green"].map(Endpoint::start);
    let [red, blue, green] = endpoints.map(|endpoint| endpoint.map(|endpoint| endpoint.address));
    let (red, blue, green) = (red?, blue?, green?);
    let gateway_at = free_address()?;
    let folder = std::env::temp_dir().join(format!("rauta-demo-{}", std::process::id()));
    let manifests = Folder::make(&folder, &manifest(red, blue, green))?;
    let options = translate::Options {
        default_listener: translate::DefaultListener {
            addresses: vec![gateway_at.ip()],
            port: gateway_at.port(),
        },
        ..translate::Options::for_files()
    };
    let loaded = files::load_once(std::slice::from_ref(&manifests.0), options);
    ensure!(
        loaded.diagnostics.is_empty(),
        "the demo's own manifests are not right: {:?}",
        loaded.diagnostics
    );

    let config = proxy::Config { threads: 1, ..proxy::Config::default() };
    let metrics = Metrics::new(config.threads);
    let gateway = Gateway::start(config, metrics)?;
    let problems = gateway.apply(loaded.snapshot.clone());
    ensure!(
        problems.is_empty(),
        "{}",
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    );

    print(&format!(
        "Three endpoints (rauta echo) and a gateway on http://{gateway_at}, all in this process.\n\n\
         The rules, from two RoutingRules as they would stand in a file:\n\n{}\n",
        tables::routes(&view::routes(&loaded.snapshot), false).to_text(has_colour())
    ))?;

    print("One request to each, and one that no rule takes:\n\n")?;
    for (path, header, status, endpoint) in [
        ("/shop/cart", None, 200, None),
        ("/shop/cart", Some("x-beta: yes"), 200, Some("green")),
        ("/elsewhere", None, 404, None),
    ] {
        let answer = Client::connect(gateway_at)?.get(path, header)?;
        show(path, header, &answer)?;
        ensure!(answer.status == status, "GET {path} was answered {} instead of {status}", answer.status);
        let is_right = endpoint.is_none_or(|wanted| answer.endpoint.as_deref() == Some(wanted));
        ensure!(is_right, "GET {path} went to {:?}", answer.endpoint);
    }

    let mut client = Client::connect(gateway_at)?;
    let mut seen = [0_usize; 2];
    for _ in 0..REQUESTS {
        let answer = client.get("/shop/", None)?;
        match answer.endpoint.as_deref() {
            Some("red") => seen[0] += 1,
            Some("blue") => seen[1] += 1,
            other => anyhow::bail!("GET /shop/ went to {other:?}"),
        }
    }
    print(&format!(
        "\n{REQUESTS} more to /shop/ on one connection: {} to red, {} to blue (weights 3 to 1).\n\n\
         What the gateway knows of its endpoints now:\n\n{}\n\
         Next: `rauta echo` runs such an endpoint, `rauta run -f FOLDER` serves manifests and watches them,\n\
         `rauta check`, `rauta status` and `rauta explain request URL` look at what is served.\n\
         With root, `./x demo` in the source tree shows the same with network namespaces and nginx.\n",
        seen[0],
        seen[1],
        tables::backends(&view::live_backends(&gateway.state()), false).to_text(has_colour())
    ))?;
    ensure!(seen[0] > seen[1], "the weights had no effect: {} to red, {} to blue", seen[0], seen[1]);
    Ok(ExitCode::SUCCESS)
}

fn show(path: &str, header: Option<&str>, answer: &Answer) -> anyhow::Result<()> {
    let header = header.map(|header| format!("  ({header})")).unwrap_or_default();
    let from = answer.endpoint.as_deref().map_or("the gateway", |endpoint| endpoint);
    let took = answer.took.as_micros();
    print(&format!(
        "  GET {:<32} -> {} from {from:<12} {took:>6} us\n",
        format!("{path}{header}"),
        answer.status
    ))?;
    Ok(())
}

fn manifest(red: SocketAddr, blue: SocketAddr, green: SocketAddr) -> String {
    format!(
        "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: shop}}\nspec:\n  \
         match: {{path: {{type: Prefix, value: /shop}}}}\n  \
         backends:\n  - {{endpoint: \"{red}\", weight: 3}}\n  - {{endpoint: \"{blue}\", weight: 1}}\n\
         ---\n\
         apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: shop-beta}}\nspec:\n  \
         match:\n    path: {{type: Prefix, value: /shop}}\n    headers: [{{name: x-beta, value: \"yes\"}}]\n  \
         backends:\n  - {{endpoint: \"{green}\", weight: 1}}\n"
    )
}

/// An address of the gateway's own. Another program could take the port before the gateway does; it would say so.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(echo::bind(SocketAddr::new(crate::settings::parse::LOOPBACK, 0))?.1)
}

struct Endpoint {
    address: SocketAddr,
}

impl Endpoint {
    /// Starts an echo on a thread of its own; it ends with the process.
    fn start(name: &'static str) -> anyhow::Result<Self> {
        let (listener, address) = echo::bind(SocketAddr::new(crate::settings::parse::LOOPBACK, 0))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("echo-{name}")).spawn(move || {
            runtime.block_on(async {
                // Ends only when the listener cannot be used; the demo then fails by itself.
                let _ = echo::serve(listener, name.into()).await;
            });
        })?;
        Ok(Self { address })
    }
}

/// A folder that is removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn make(path: &Path, manifest: &str) -> anyhow::Result<Self> {
        std::fs::create_dir(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        let folder = Self(path.to_owned());
        std::fs::write(path.join("rules.yaml"), manifest)?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long the demo waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
