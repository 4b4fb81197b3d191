//! What the compiler of kernel tables needs to know of this machine.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use anyhow::Context;
use kernel::{Facts, Reach};
use loader::machine::{Route, Routes, Way, local_addresses};
use model::Snapshot;

use crate::settings::{DataplaneSettings, Forward, PortRange};

/// The machine, as far as it was asked.
pub(super) struct Machine {
    routes: Routes,
    addresses: Vec<IpAddr>,
    /// Asked once, until something changes.
    ways: HashMap<IpAddr, Route>,
    is_stale: bool,
}

impl Machine {
    pub(super) fn new() -> anyhow::Result<Self> {
        let routes = Routes::open().context("cannot ask for routes")?;
        Ok(Self { routes, addresses: Vec::new(), ways: HashMap::new(), is_stale: true })
    }

    /// What was learned may be wrong now.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }

    /// What the compiler needs, the ways that the kernel may use, and why it may not forward at all. `hooked`: devices that have
    /// our program; `is_policed`: whether network policy is to hold for what leaves by them.
    pub(super) fn facts(
        &mut self,
        snapshot: &Snapshot,
        settings: &DataplaneSettings,
        hooked: &BTreeSet<u32>,
        is_policed: bool,
    ) -> anyhow::Result<(Facts, Vec<Way>, Option<String>)> {
        if self.is_stale {
            self.addresses = local_addresses().context("cannot list the addresses of this machine")?;
            self.ways.clear();
            self.is_stale = false;
        }
        let mut endpoints = HashMap::new();
        let mut used = Vec::new();
        let known = snapshot.backends.values().flat_map(|backend| &backend.endpoints);
        for address in known.flat_map(|endpoint| endpoint.addresses()).map(|address| address.ip()) {
            if endpoints.contains_key(&address) {
                continue;
            }
            let route = match self.ways.get(&address) {
                Some(route) => *route,
                None => {
                    let found = self.routes.to(address);
                    let route = found.with_context(|| format!("cannot ask for the route to {address}"))?;
                    self.ways.insert(address, route);
                    route
                }
            };
            let route = from_pool(route, address, &settings.snat_addresses);
            let reach = reach(route, is_policed, hooked);
            if let (Reach::From { .. }, Route::Out(way)) = (reach, route) {
                used.push(way);
            }
            endpoints.insert(address, reach);
        }
        let obstacle = obstacle(settings, ephemeral_ports(), snapshot)
            .or_else(|| foreign_address(settings, &self.addresses));
        let addresses = self.addresses.clone();
        let facts = Facts { forwarding: obstacle.is_none(), addresses, endpoints, ..Facts::default() };
        Ok((facts, used, obstacle))
    }
}

/// The way with an address of the pool as its source, if that has one of the endpoint's family: each endpoint has one of them.
fn from_pool(route: Route, endpoint: IpAddr, pool: &[IpAddr]) -> Route {
    let Route::Out(way) = route else { return route };
    let same: Vec<_> = pool.iter().filter(|address| address.is_ipv4() == endpoint.is_ipv4()).collect();
    let octets = match endpoint {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let turn = octets.iter().map(|&octet| usize::from(octet)).sum::<usize>();
    match turn.checked_rem(same.len()).and_then(|at| same.get(at)) {
        Some(&&source) => Route::Out(Way { source, ..way }),
        None => route,
    }
}

/// An address of the pool that replies would not come to.
fn foreign_address(settings: &DataplaneSettings, addresses: &[IpAddr]) -> Option<String> {
    let foreign = settings.snat_addresses.iter().find(|address| !addresses.contains(address))?;
    Some(format!(
        "dataplane.snat.addresses has {foreign}, which no interface of this host has: add it to one, or take it out"
    ))
}

fn reach(route: Route, is_policed: bool, hooked: &BTreeSet<u32>) -> Reach {
    match route {
        Route::Local => Reach::HostLocal,
        Route::None => Reach::NoRoute,
        Route::Out(way) if !hooked.contains(&way.device) => Reach::NoHook,
        Route::Out(_) if is_policed => Reach::Policy,
        Route::Out(way) => Reach::From { source: way.source, device: way.device },
    }
}

/// Why the kernel may not forward at all.
pub(super) fn obstacle(
    settings: &DataplaneSettings,
    ephemeral: Option<PortRange>,
    snapshot: &Snapshot,
) -> Option<String> {
    if settings.forward == Forward::Off {
        return Some("dataplane.forward is off".to_owned());
    }
    let ours = settings.snat_ports;
    if let Some(theirs) = ephemeral.filter(|theirs| ours.overlaps(*theirs)) {
        return Some(format!(
            "dataplane.snat.ports {ours} and the host's own ports {theirs} (net.ipv4.ip_local_port_range) have some in \
             common, and answers to the one would go to the other: change one of them"
        ));
    }
    let within = |port: u16| ours.overlaps(PortRange { first: port, last: port });
    let listener = snapshot.listeners.values().find(|listener| within(listener.port))?;
    Some(format!(
        "listener {} has port {}, which is among dataplane.snat.ports {ours}: change one of them",
        listener.id, listener.port
    ))
}

/// The ports that the host's sockets take when they do not care which.
pub(super) fn ephemeral_ports() -> Option<PortRange> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(|port| port.parse().ok());
    Some(PortRange { first: ports.next()??, last: ports.next()?? })
}

/// The largest segments that clients may be promised over IPv4 and IPv6: what fits through the narrowest way to an endpoint
/// with the longest forwarded headers inserted.
pub(super) fn segment_sizes(ways: &[Way]) -> (u16, u16) {
    // `X-Forwarded-For: 255.255.255.255` and `X-Forwarded-Proto: http` with their line ends, of even length; the same with
    // an IPv6 address of 39 characters.
    const INSERTED: (u32, u32) = (60, 84);
    // IP and TCP headers without options, and what the kernel's hand-off takes at least.
    const HEADERS: (u32, u32) = (40, 60);
    const LEAST: (u32, u32) = (536, 1220);
    const ETHERNET: u32 = 1500;
    let narrowest = |is_v4: bool| {
        let same = ways.iter().filter(|way| way.source.is_ipv4() == is_v4);
        same.map(|way| way.mtu).min().unwrap_or(ETHERNET)
    };
    let size = |mtu: u32, headers: u32, inserted: u32, least: u32| {
        // 64 KB links exist (loopback, some overlays); the field has 16 bits.
        let size = mtu.saturating_sub(headers + inserted).max(least);
        u16::try_from(size & !1).unwrap_or(u16::MAX - 1)
    };
    (
        size(narrowest(true), HEADERS.0, INSERTED.0, LEAST.0),
        size(narrowest(false), HEADERS.1, INSERTED.1, LEAST.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(source: &str, device: u32, mtu: u32) -> Way {
        Way { device, source: source.parse().unwrap(), mtu }
    }

    #[test]
    fn an_endpoint_is_reached_only_through_a_device_with_a_hook() {
        let hooked = BTreeSet::from([3]);
        let through = |device| Route::Out(way("10.0.0.1", device, 1500));
        let source = "10.0.0.1".parse().unwrap();
        assert_eq!(reach(through(3), false, &hooked), Reach::From { source, device: 3 });
        assert_eq!(reach(through(4), true, &hooked), Reach::NoHook);
        assert_eq!(reach(through(3), true, &hooked), Reach::Policy);
        assert_eq!(reach(Route::Local, true, &hooked), Reach::HostLocal);
        assert_eq!(reach(Route::None, true, &hooked), Reach::NoRoute);
    }

    #[test]
    fn a_pool_gives_each_endpoint_one_of_its_familys_addresses() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let pool = ["10.0.0.7", "fd00::7", "10.0.0.8"].map(address);
        let source = |endpoint: &str| {
            let Route::Out(way) = from_pool(Route::Out(way("10.0.0.1", 3, 1500)), address(endpoint), &pool)
            else {
                panic!("a way stays a way")
            };
            way.source.to_string()
        };
        let used: BTreeSet<_> = ["10.1.0.1", "10.1.0.2", "10.1.0.3"].map(source).into();
        assert_eq!(used, BTreeSet::from(["10.0.0.7".to_owned(), "10.0.0.8".to_owned()]));
        assert_eq!(source("fd01::1"), "fd00::7");
        let alone = from_pool(Route::Out(way("10.0.0.1", 3, 1500)), address("10.1.0.1"), &pool[1..2]);
        assert_eq!(alone, Route::Out(way("10.0.0.1", 3, 1500)), "no address of the family: the route's");
        assert_eq!(from_pool(Route::Local, address("10.1.0.1"), &pool), Route::Local);
        let settings = DataplaneSettings { snat_addresses: pool.to_vec(), ..Default::default() };
        assert_eq!(foreign_address(&settings, &pool), None);
        assert!(foreign_address(&settings, &pool[..2]).unwrap().contains("10.0.0.8"));
    }

    #[test]
    fn ports_that_others_use_keep_the_kernel_from_forwarding() {
        let settings = DataplaneSettings::default();
        let range = |first, last| Some(PortRange { first, last });
        let why =
            |settings: &DataplaneSettings, ephemeral| obstacle(settings, ephemeral, &Snapshot::default());
        assert_eq!(why(&settings, range(32_768, 60_999)), None);
        assert_eq!(why(&settings, None), None);
        let overlap = why(&settings, range(1024, 65_535)).unwrap();
        assert!(overlap.contains("10240-32767") && overlap.contains("1024-65535"), "{overlap}");
        let off = DataplaneSettings { forward: Forward::Off, ..settings };
        assert_eq!(why(&off, None).as_deref(), Some("dataplane.forward is off"));
    }

    #[test]
    fn segments_fit_through_the_narrowest_way_with_what_is_inserted() {
        assert_eq!(segment_sizes(&[]), (1400, 1356));
        let ways = [way("10.0.0.1", 1, 9000), way("10.0.0.1", 2, 1450), way("fd00::1", 2, 65_535)];
        assert_eq!(segment_sizes(&ways), (1350, 65_390));
        assert_eq!(segment_sizes(&[way("10.0.0.1", 1, 300), way("fd00::1", 1, 1280)]), (536, 1220));
    }
}
