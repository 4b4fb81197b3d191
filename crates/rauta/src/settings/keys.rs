//! Every setting: its name, what it means, how it is read and shown.

use std::path::{Path, PathBuf};

use super::parse::{
    ANY, Expected, LOOPBACK, address, address_or_off, boolean, bytes, count, duration, listen, network,
    ports, show_bytes, show_duration,
};
use super::{Forward, OnExit, Policy, Settings};

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in the file, with dots between the levels.
    pub(crate) name: &'static str,
    /// What it means, in a few words.
    pub(crate) help: &'static str,
    /// Whether it is a list.
    pub(crate) is_list: bool,
    set: fn(&mut Settings, &[&str]) -> Result<(), Expected>,
    show: fn(&Settings) -> Vec<String>,
}

impl Key {
    /// Reads `values` (exactly one unless the key is a list) into `settings`.
    pub(crate) fn set(&self, settings: &mut Settings, values: &[&str]) -> Result<(), Expected> {
        (self.set)(settings, values)
    }

    /// The value as it would stand in the file.
    pub(crate) fn show(&self, settings: &Settings) -> String {
        let values = (self.show)(settings);
        if self.is_list { format!("[{}]", values.join(", ")) } else { values.join("") }
    }

    /// The environment's name: `timeouts.headerRead` is `RAUTA_TIMEOUTS_HEADER_READ`.
    pub(crate) fn variable(&self) -> String {
        let mut variable = String::from("RAUTA_");
        for c in self.name.chars() {
            match c {
                '.' => variable.push('_'),
                c if c.is_ascii_uppercase() => variable.extend(['_', c]),
                c => variable.push(c.to_ascii_uppercase()),
            }
        }
        variable
    }
}

/// The key called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// A key with one value, kept in a field.
macro_rules! one {
    ($name:literal, $help:literal, $($field:ident).+, $read:expr, $show:expr) => {
        Key {
            name: $name,
            help: $help,
            is_list: false,
            set: |settings, values| {
                settings.$($field).+ = $read(values.first().copied().unwrap_or_default())?;
                Ok(())
            },
            show: |settings| vec![$show(&settings.$($field).+)],
        }
    };
}

/// A key with any number of values, kept in a field.
macro_rules! list {
    ($name:literal, $help:literal, $($field:ident).+, $read:expr) => {
        Key {
            name: $name,
            help: $help,
            is_list: true,
            set: |settings, values| {
                settings.$($field).+ = values.iter().map(|value| $read(value)).collect::<Result<_, Expected>>()?;
                Ok(())
            },
            show: |settings| settings.$($field).+.iter().map(ToString::to_string).collect(),
        }
    };
}

/// All settings, in the order of the manual.
pub(crate) static KEYS: &[Key] = &[
    one!(
        "listen",
        "where Ingresses and RoutingRules without a Gateway are served",
        listen,
        listen,
        show_listen
    ),
    one!("admin", "address of the status page, /healthz and /readyz, or off", admin, admin, show_address),
    one!("metrics", "address of /metrics, or off", metrics, metrics, show_address),
    one!("socket", "the control socket", socket, path, show_path),
    one!("threads", "proxy threads", proxy.threads, count, ToString::to_string),
    one!("connectionsMax", "client connections at once", proxy.connections_max, count, ToString::to_string),
    one!("udpSessionsMax", "UDP sessions at once", proxy.udp_sessions_max, count, ToString::to_string),
    one!("log.level", "error, warn, info, debug, trace, or directives", log_level, log_level, Clone::clone),
    one!("log.format", "text or json", log_format, log_format, ToString::to_string),
    one!(
        "timeouts.headerRead",
        "first to last byte of a request head",
        proxy.timeouts.header_read,
        duration,
        shown
    ),
    one!("timeouts.stall", "a client that stops sending or taking", proxy.timeouts.stall, duration, shown),
    one!("timeouts.connect", "connecting to an endpoint", proxy.timeouts.connect, duration, shown),
    one!("timeouts.idle", "a connection without a request", proxy.timeouts.idle, duration, shown),
    one!("timeouts.poolIdle", "an idle connection to an endpoint", proxy.timeouts.pool_idle, duration, shown),
    one!(
        "timeouts.tunnelIdle",
        "a connection that was upgraded (WebSocket) and is silent",
        proxy.timeouts.tunnel_idle,
        duration,
        shown
    ),
    one!(
        "timeouts.l4Idle",
        "a TCP or TLS connection that is passed on",
        proxy.timeouts.l4_idle,
        duration,
        shown
    ),
    one!("timeouts.udpIdle", "a UDP session", proxy.timeouts.udp_idle, duration, shown),
    one!("timeouts.drain", "requests in flight when stopping", proxy.timeouts.drain, duration, shown),
    one!(
        "limits.headBytes",
        "a request or response head",
        proxy.limits.head_bytes_max,
        head_bytes,
        shown_bytes
    ),
    one!("limits.targetBytes", "a request target", proxy.limits.target_bytes_max, bytes, shown_bytes),
    one!("limits.headers", "header lines", proxy.limits.headers_max, count, ToString::to_string),
    one!("limits.trailerBytes", "a trailer section", proxy.limits.trailer_bytes_max, bytes, shown_bytes),
    list!("trustedProxies", "networks whose forwarding headers are believed", proxy.trusted_proxies, network),
    one!(
        "forwardedHeaders",
        "add X-Forwarded-For and -Proto",
        forwarded_headers,
        boolean,
        ToString::to_string
    ),
    one!(
        "sessionKeyFile",
        "the key of session persistence, the same on all gateways, or off",
        session_key_file,
        path_or_off,
        show_path_or_off
    ),
    one!(
        "balancing.maglevTableSize",
        "slots of a Maglev table unless a rule says otherwise, a prime",
        maglev_table_size,
        maglev_table_size,
        ToString::to_string
    ),
    one!("endpoints.allowLocal", "loopback endpoints", allow_local_endpoints, boolean, ToString::to_string),
    one!(
        "dataplane.hook",
        "kernel programs: auto, xdp, tc or off",
        dataplane.hook,
        hook,
        ToString::to_string
    ),
    list!("dataplane.interfaces", "interfaces for them; none named: all", dataplane.interfaces, interface),
    one!("dataplane.pinRoot", "where they are pinned", dataplane.pin_root, path, show_path),
    one!("dataplane.onExit", "detach or keep them", dataplane.on_exit, on_exit, show_on_exit),
    one!(
        "dataplane.forward",
        "how the kernel sends on: redirect, or off",
        dataplane.forward,
        forward,
        show_forward
    ),
    one!(
        "dataplane.policy",
        "network policy, which redirecting passes by: ignore or respect",
        dataplane.policy,
        policy,
        show_policy
    ),
    one!(
        "dataplane.snat.ports",
        "ports of the kernel's connections to endpoints",
        dataplane.snat_ports,
        ports,
        ToString::to_string
    ),
    list!(
        "dataplane.snat.addresses",
        "their own addresses; none of a family: as routes say",
        dataplane.snat_addresses,
        address
    ),
    one!(
        "dataplane.heartbeatTimeout",
        "how long they route without an agent",
        dataplane.heartbeat_timeout,
        duration,
        shown
    ),
    one!(
        "dataplane.idleTimeout",
        "a connection in the kernel without a request",
        dataplane.idle_timeout,
        duration,
        shown
    ),
    one!(
        "dataplane.redrawAfter",
        "requests after which a connection's backend is drawn anew",
        dataplane.redraw_after,
        redraw_after,
        ToString::to_string
    ),
    one!(
        "dataplane.closeAfter",
        "requests after which userspace closes a connection that the kernel gave it",
        dataplane.close_after,
        requests,
        ToString::to_string
    ),
    one!(
        "dataplane.maxFlows",
        "connections in the kernel at once",
        dataplane.max_flows,
        max_flows,
        ToString::to_string
    ),
    one!(
        "dataplane.routeMetrics",
        "routes that have kernel metrics of their own, 0 for none",
        dataplane.route_metrics,
        counted_routes,
        ToString::to_string
    ),
    one!(
        "dataplane.endpointMetrics",
        "endpoints that have kernel metrics of their own, 0 for none",
        dataplane.endpoint_metrics,
        counted_endpoints,
        ToString::to_string
    ),
    one!(
        "dataplane.affinity.entries",
        "clients whose endpoint is remembered, on routes that want it",
        dataplane.affinity_entries,
        affinity_entries,
        ToString::to_string
    ),
];

fn admin(text: &str) -> Result<Option<std::net::SocketAddr>, Expected> {
    address_or_off(text, LOOPBACK)
}

fn metrics(text: &str) -> Result<Option<std::net::SocketAddr>, Expected> {
    address_or_off(text, ANY)
}

fn path(text: &str) -> Result<PathBuf, Expected> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(Expected("an absolute path")) }
}

fn path_or_off(text: &str) -> Result<Option<PathBuf>, Expected> {
    match text {
        "off" => Ok(None),
        _ => path(text).map(Some).map_err(|_| Expected("an absolute path, or off")),
    }
}

fn log_level(text: &str) -> Result<String, Expected> {
    let expected = Expected("error, warn, info, debug, trace, off, or directives such as info,proxy=debug");
    telemetry::log::check_filter(text).map(|()| text.to_owned()).map_err(|_| expected)
}

fn log_format(text: &str) -> Result<telemetry::log::Format, Expected> {
    text.parse().map_err(|_| Expected("text or json"))
}

fn head_bytes(text: &str) -> Result<usize, Expected> {
    // The scanner's offsets are 16 bits wide.
    let fits = |bytes: &usize| (1024..=65_535).contains(bytes);
    bytes(text).ok().filter(fits).ok_or(Expected("a size from 1KiB to 65535"))
}

fn maglev_table_size(text: &str) -> Result<u32, Expected> {
    let expected = Expected("a prime from 251 to 65537, such as 4099 or 65537");
    text.parse().ok().filter(|slots| translate::is_maglev_table_size(*slots)).ok_or(expected)
}

fn hook(text: &str) -> Result<loader::Hook, Expected> {
    text.parse().map_err(|_| Expected("auto, xdp, tc or off"))
}

fn interface(text: &str) -> Result<String, Expected> {
    // IFNAMSIZ with its closing zero, and what the kernel refuses in names (dev_valid_name).
    let fits = !text.is_empty() && text.len() < 16 && !text.contains(|c: char| c == '/' || c.is_whitespace());
    if fits { Ok(text.to_owned()) } else { Err(Expected("names of interfaces such as eth0")) }
}

fn on_exit(text: &str) -> Result<OnExit, Expected> {
    match text {
        "detach" => Ok(OnExit::Detach),
        "keep" => Ok(OnExit::Keep),
        _ => Err(Expected("detach or keep")),
    }
}

fn forward(text: &str) -> Result<Forward, Expected> {
    match text {
        "redirect" => Ok(Forward::Redirect),
        "off" => Ok(Forward::Off),
        _ => Err(Expected("redirect or off")),
    }
}

fn policy(text: &str) -> Result<Policy, Expected> {
    match text {
        "ignore" => Ok(Policy::Ignore),
        "respect" => Ok(Policy::Respect),
        _ => Err(Expected("ignore or respect")),
    }
}

fn requests(text: &str) -> Result<usize, Expected> {
    text.parse().ok().ok_or(Expected("a whole number, or 0 for never"))
}

fn redraw_after(text: &str) -> Result<u32, Expected> {
    text.parse().ok().filter(|requests| *requests > 0).ok_or(Expected("a whole number above zero"))
}

fn max_flows(text: &str) -> Result<u32, Expected> {
    // The upper end is some 450 bytes each: half a gigabyte.
    let fits = |flows: &u32| (1024..=1 << 20).contains(flows);
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 1024 to 1048576"))
}

fn counted_routes(text: &str) -> Result<u32, Expected> {
    let fits = |routes: &u32| (*routes as usize) < wire::ROUTE_ACTIONS_MAX;
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 0 to 16383"))
}

fn counted_endpoints(text: &str) -> Result<u32, Expected> {
    let fits = |endpoints: &u32| (*endpoints as usize) < wire::ENDPOINTS_MAX;
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 0 to 16383"))
}

fn affinity_entries(text: &str) -> Result<u32, Expected> {
    // The upper end is some 110 bytes each.
    let fits = |entries: &u32| (1024..=1 << 22).contains(entries);
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 1024 to 4194304"))
}

fn show_listen(listen: &translate::DefaultListener) -> String {
    match listen.addresses.first() {
        Some(address) => std::net::SocketAddr::new(*address, listen.port).to_string(),
        None => format!(":{}", listen.port),
    }
}

fn show_address(address: &Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}

fn show_path_or_off(path: &Option<PathBuf>) -> String {
    path.as_deref().map_or_else(|| "off".to_owned(), show_path)
}

fn shown(value: &std::time::Duration) -> String {
    show_duration(*value)
}

fn shown_bytes(value: &usize) -> String {
    show_bytes(*value)
}

fn show_on_exit(on_exit: &OnExit) -> String {
    match on_exit {
        OnExit::Detach => "detach".to_owned(),
        OnExit::Keep => "keep".to_owned(),
    }
}

fn show_forward(forward: &Forward) -> String {
    match forward {
        Forward::Redirect => "redirect".to_owned(),
        Forward::Off => "off".to_owned(),
    }
}

fn show_policy(policy: &Policy) -> String {
    match policy {
        Policy::Ignore => "ignore".to_owned(),
        Policy::Respect => "respect".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn variables_are_in_capitals_with_underscores() {
        let variable = |name| find(name).map(Key::variable);
        assert_eq!(variable("timeouts.headerRead").as_deref(), Some("RAUTA_TIMEOUTS_HEADER_READ"));
        assert_eq!(variable("listen").as_deref(), Some("RAUTA_LISTEN"));
        let all: BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(all.len(), KEYS.len());
    }

    #[test]
    fn every_default_reads_back_as_itself() {
        let defaults = Settings::default();
        for key in KEYS {
            let shown = (key.show)(&defaults);
            let mut settings = Settings::default();
            let values: Vec<&str> = shown.iter().map(String::as_str).collect();
            key.set(&mut settings, &values)
                .unwrap_or_else(|error| panic!("{}: {shown:?}: {error}", key.name));
            assert_eq!((key.show)(&settings), shown, "{}", key.name);
        }
    }

    #[test]
    fn bad_values_are_refused_with_what_they_should_be() {
        for (name, value) in [
            ("listen", "x"),
            ("admin", "nowhere"),
            ("socket", "relative"),
            ("threads", "0"),
            ("log.level", "loud"),
            ("log.format", "xml"),
            ("timeouts.idle", "5"),
            ("limits.headBytes", "1MiB"),
            ("trustedProxies", "10.0.0.0/99"),
            ("forwardedHeaders", "maybe"),
            ("sessionKeyFile", "keys/session"),
            ("balancing.maglevTableSize", "4098"),
            ("balancing.maglevTableSize", "65539"),
            ("balancing.maglevTableSize", "241"),
            ("dataplane.hook", "iptables"),
            ("dataplane.interfaces", "a name much too long"),
            ("dataplane.onExit", "explode"),
            ("dataplane.forward", "stack"),
            ("dataplane.policy", "perhaps"),
            ("dataplane.snat.ports", "32767-10240"),
            ("dataplane.snat.ports", "80-10000"),
            ("dataplane.snat.addresses", "10.0.0.0/8"),
            ("dataplane.redrawAfter", "0"),
            ("dataplane.maxFlows", "100"),
            ("dataplane.routeMetrics", "16384"),
            ("dataplane.endpointMetrics", "-1"),
            ("dataplane.affinity.entries", "100"),
        ] {
            let key = find(name).unwrap();
            assert!(key.set(&mut Settings::default(), &[value]).is_err(), "{name}: {value}");
        }
    }
}
