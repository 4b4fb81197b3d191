//! The agent's settings: one YAML file, then `RAUTA_*` environment, then flags; the later wins.
//!
//! [`keys::KEYS`] is the one list of what can be set: the file's names, the variables, the defaults and
//! `--print-config` all come from it.

pub(crate) mod env;
pub(crate) mod file;
pub(crate) mod flags;
pub(crate) mod keys;
pub(crate) mod merge;
mod older_kernel;
pub(crate) mod parse;
pub(crate) mod rooms;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use addresses::AddressRange;
use model::{Balancing, CertificateId};
use telemetry::access::Target;
use telemetry::log::Format;
use translate::DefaultListener;

pub(crate) use merge::load;
pub(crate) use rooms::{Room, TableSettings};

/// Where Gateways of a cluster can be reached.
#[derive(Clone, Debug)]
pub(crate) struct AddressSettings {
    /// What the status of Gateways says that have no address of their own; none: those of the nodes that run an agent.
    pub(crate) nodes: Vec<IpAddr>,
    /// What the status of Ingresses says; none: what is known.
    pub(crate) ingresses: Vec<String>,
    /// The Service that brings the traffic, whose addresses it says instead.
    pub(crate) service: Option<ServiceName>,
    /// Of these each Gateway is given its own; none: they listen on all addresses of the node.
    pub(crate) pool: Vec<AddressRange>,
    /// Where this node announces addresses of the pool.
    pub(crate) announce_on: AnnounceOn,
    /// How often it says that it lives, and how long others are believed to without saying so.
    pub(crate) heartbeat: Duration,
    pub(crate) heartbeat_timeout: Duration,
}

impl Default for AddressSettings {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            ingresses: Vec::new(),
            service: None,
            pool: Vec::new(),
            announce_on: AnnounceOn::DefaultRoute,
            heartbeat: Duration::from_millis(400),
            heartbeat_timeout: Duration::from_millis(1200),
        }
    }
}

/// A Service of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Where addresses of the pool are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnnounceOn {
    /// On the interface with the default route.
    DefaultRoute,
    /// On this one.
    Interface(String),
    /// Nowhere: the network brings them by other means.
    Nothing,
}

/// Everything that can be set, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: DefaultListener,
    /// None: nobody chose it, and it is [`DefaultListener::https`].
    pub(crate) listen_https: Option<DefaultListener>,
    /// Where clients reach it; none: at its own port.
    pub(crate) https_port: Option<u16>,
    pub(crate) default_certificate: Option<CertificateId>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) socket: PathBuf,
    /// How the API server is reached; none: as a Pod or by the user's own kubeconfig.
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) addresses: AddressSettings,
    pub(crate) log_level: String,
    pub(crate) log_format: Format,
    pub(crate) proxy: proxy::Config,
    pub(crate) access_log: AccessLogSettings,
    /// Where spans go, if they are recorded.
    pub(crate) collector: Option<otlp::Collector>,
    pub(crate) forwarded_headers: bool,
    /// The key of sessions, the same for all gateways; none: one for this process.
    pub(crate) session_key_file: Option<PathBuf>,
    pub(crate) maglev_table_size: u32,
    /// None: endpoints from files may be on this machine, those from an API server may not.
    pub(crate) allow_local_endpoints: Option<bool>,
    pub(crate) dataplane: DataplaneSettings,
}

/// The access log.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogSettings {
    /// None: there is none.
    pub(crate) target: Option<Target>,
    pub(crate) format: telemetry::access::Format,
    pub(crate) sample_one_in: u64,
    /// One in so many of the requests that the kernel decides; none of them.
    pub(crate) kernel_one_in: Option<u32>,
    /// Whether the kernel leaves all requests to userspace, so that none is missing.
    pub(crate) is_complete: bool,
}

impl Default for AccessLogSettings {
    fn default() -> Self {
        Self {
            target: None,
            format: Default::default(),
            sample_one_in: 1,
            kernel_one_in: Some(100),
            is_complete: false,
        }
    }
}

/// The kernel's part.
#[derive(Clone, Debug)]
pub(crate) struct DataplaneSettings {
    pub(crate) hook: loader::Hook,
    pub(crate) xdp_mode: loader::XdpMode,
    pub(crate) interfaces: Vec<String>,
    pub(crate) pin_root: PathBuf,
    pub(crate) on_exit: OnExit,
    pub(crate) forward: Forward,
    pub(crate) policy: Policy,
    pub(crate) snat_ports: PortRange,
    /// Where the kernel's connections to endpoints come from; none of a family: what its routes say.
    pub(crate) snat_addresses: Vec<IpAddr>,
    pub(crate) heartbeat_timeout: Duration,
    /// How long connections may be silent.
    pub(crate) ends: loader::Limits,
    pub(crate) redraw_after: u32,
    /// How long a leg to an endpoint waits for the next client; zero: not at all.
    pub(crate) pool_idle: Duration,
    /// How many of them wait, by endpoint and kind of client.
    pub(crate) pool_legs: u32,
    /// Requests after which userspace closes a connection, while the kernel routes; 0: never.
    pub(crate) close_after: usize,
    pub(crate) max_flows: u32,
    /// How many routes and endpoints have series of their own in the kernel.
    pub(crate) route_metrics: u32,
    pub(crate) endpoint_metrics: u32,
    /// Clients that are remembered, in both tiers.
    pub(crate) affinity_entries: u32,
    /// Tables of routes.
    pub(crate) tables: TableSettings,
}

/// How the kernel sends packets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// From device to device, past the host's stack.
    Redirect,
    /// Not at all: userspace serves everything.
    Off,
}

/// What becomes of endpoints behind network policy, which redirected packets pass by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// As `Respect` where somebody is known to enforce it on this host, else as `Ignore`.
    Auto,
    /// There is none, or it need not hold for the gateway.
    Ignore,
    /// Userspace serves them: its packets go through the stack.
    Respect,
}

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl PortRange {
    /// Whether the two have a port in common.
    pub(crate) const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Default for DataplaneSettings {
    fn default() -> Self {
        let loader::Options { pin_root, interfaces, hook, xdp_mode, max_flows, affinity_entries, .. } =
            loader::Options::default();
        Self {
            hook,
            xdp_mode,
            interfaces,
            pin_root,
            on_exit: OnExit::Detach,
            forward: Forward::Redirect,
            policy: Policy::Auto,
            // Below Linux's ephemeral ports (32768 on), above those that services usually have.
            snat_ports: PortRange { first: 10_240, last: 32_767 },
            snat_addresses: Vec::new(),
            heartbeat_timeout: Duration::from_secs(30),
            ends: loader::Limits::default(),
            redraw_after: 32,
            pool_idle: Duration::ZERO,
            pool_legs: 64,
            close_after: 100,
            max_flows,
            route_metrics: 0,
            endpoint_metrics: 0,
            affinity_entries,
            tables: TableSettings::default(),
        }
    }
}

/// What becomes of the kernel programs when the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnExit {
    /// They are removed.
    Detach,
    /// They stay for the next agent.
    Keep,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: DefaultListener::default(),
            listen_https: None,
            https_port: None,
            default_certificate: None,
            admin: Some(SocketAddr::new(parse::LOOPBACK, 9901)),
            metrics: Some(SocketAddr::new(parse::ANY, 9900)),
            socket: default_socket(),
            kubeconfig: None,
            addresses: AddressSettings::default(),
            log_level: "info".to_owned(),
            log_format: Format::Text,
            proxy: proxy::Config::default(),
            access_log: AccessLogSettings::default(),
            collector: None,
            forwarded_headers: true,
            session_key_file: None,
            maglev_table_size: Balancing::MAGLEV_TABLE_SIZE_DEFAULT,
            allow_local_endpoints: None,
            dataplane: DataplaneSettings::default(),
        }
    }
}

impl Settings {
    /// Where Ingresses are served over HTTPS.
    pub(crate) fn listen_https(&self) -> DefaultListener {
        self.listen_https.clone().unwrap_or_else(DefaultListener::https)
    }

    /// How objects from files are understood under these settings.
    pub(crate) fn translate_options(&self) -> translate::Options {
        translate::Options {
            default_listener: self.listen.clone(),
            default_https: self.listen_https(),
            https_port: self.https_port,
            redirects_by_default: self.listen_https.is_some() || self.https_port.is_some(),
            default_certificate: self.default_certificate.clone(),
            allow_local_endpoints: self.allow_local_endpoints.unwrap_or(true),
            forwarded_headers: self.forwarded_headers,
            maglev_table_size: self.maglev_table_size,
            ..translate::Options::for_files()
        }
    }

    /// The same of objects from an API server.
    ///
    /// Endpoints on this machine are for whoever may write its files, not for everybody who may write to the API server.
    pub(crate) fn cluster_options(&self) -> translate::Options {
        let translate::Options { allow_local_endpoints, standalone, .. } = translate::Options::for_cluster();
        translate::Options {
            allow_local_endpoints: self.allow_local_endpoints.unwrap_or(allow_local_endpoints),
            standalone,
            ..self.translate_options()
        }
    }

    /// How the userspace tier runs under these settings.
    pub(crate) fn proxy_config(&self) -> proxy::Config {
        let affinity_entries = usize::try_from(self.dataplane.affinity_entries).unwrap_or(usize::MAX);
        let mut config = proxy::Config { affinity_entries, ..self.proxy.clone() };
        config.floating = self.addresses.pool.iter().copied().collect();
        // A span belongs to a trace.
        config.ids.trace_context |= self.collector.is_some();
        config
    }

    /// How the kernel programs are loaded under these settings.
    pub(crate) fn loader_options(&self) -> loader::Options {
        older_kernel::older(loader::Options {
            pin_root: self.dataplane.pin_root.clone(),
            interfaces: self.dataplane.interfaces.clone(),
            hook: self.dataplane.hook,
            xdp_mode: self.dataplane.xdp_mode,
            max_flows: self.dataplane.max_flows,
            counted_routes: self.dataplane.route_metrics,
            counted_endpoints: self.dataplane.endpoint_metrics,
            affinity_entries: self.dataplane.affinity_entries,
            tables: self.dataplane.tables.first(),
            ..loader::Options::default()
        })
    }

    /// Why userspace serves every request: what the kernel does to none is asked for each.
    pub(crate) fn userspace(&self) -> Option<kernel::Why> {
        let ids = &self.proxy.ids;
        if ids.request_id_header.is_some() {
            return Some(kernel::Why::RequestId);
        }
        if ids.trace_context || self.collector.is_some() {
            return Some(kernel::Why::Tracing);
        }
        let access = &self.access_log;
        (access.target.is_some() && access.is_complete).then_some(kernel::Why::AccessLog)
    }

    /// How long a stop may take: draining, and a little for the rest.
    pub(crate) fn stop_grace(&self) -> Duration {
        self.proxy.timeouts.drain + Duration::from_secs(5)
    }
}

/// The settings file that is read when none is named, if it is there.
pub(crate) const DEFAULT_FILE: &str = "/etc/rauta/rauta.yaml";

/// `/run/rauta/rauta.sock` for root; else in `$XDG_RUNTIME_DIR`, else in a folder of the user's own among the temporary
/// files.
fn default_socket() -> PathBuf {
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/rauta/rauta.sock");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_absolute()) {
        Some(folder) => Path::new(&folder).join("rauta.sock"),
        None => std::env::temp_dir().join(format!("rauta-{uid}")).join("rauta.sock"),
    }
}
