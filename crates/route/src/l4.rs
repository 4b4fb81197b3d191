use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use model::{L4Route, ListenerId, Snapshot, Transport};

use crate::group::number;
use crate::host::{HostKey, HostMap};
use crate::table::addresses;

/// The routes of connections and datagrams, by listener and by the name that a client asks for in TLS.
#[derive(Debug)]
pub struct L4Table {
    by_listener: HashMap<ListenerId, HostMap>,
    /// By address (none: every one that no other socket of the port names) and port.
    udp: BTreeMap<(Option<IpAddr>, u16), ListenerId>,
    routes: Vec<Arc<L4Route>>,
}

impl L4Table {
    /// Compiles a snapshot. Of UDP listeners that share a socket the first by id serves.
    pub fn build(snapshot: &Snapshot) -> Self {
        let mut entries: HashMap<&ListenerId, Vec<(HostKey<'_>, u32)>> = HashMap::new();
        for (at, route) in snapshot.l4_routes.iter().enumerate() {
            for listener in &route.listeners {
                let entries = entries.entry(listener).or_default();
                if route.hosts.is_empty() {
                    entries.push((HostKey::Any, number(at)));
                }
                entries.extend(route.hosts.iter().map(|host| (HostKey::new(Some(host)), number(at))));
            }
        }
        let mut udp = BTreeMap::new();
        for listener in snapshot.listeners.values() {
            if listener.protocol.transport() == Transport::Udp {
                for address in addresses(listener) {
                    udp.entry((address, listener.port)).or_insert_with(|| listener.id.clone());
                }
            }
        }
        let by_listener = entries.into_iter().map(|(id, entries)| (id.clone(), HostMap::new(entries)));
        Self { by_listener: by_listener.collect(), udp, routes: snapshot.l4_routes.clone() }
    }

    /// The place in `snapshot.l4_routes` of the route that takes a connection to `listener` whose client asks for `name` in
    /// TLS (lower case; empty: it names none, or there is no TLS): the most specific host, then the first.
    pub fn lookup(&self, listener: &ListenerId, name: &str) -> Option<usize> {
        let hosts = self.by_listener.get(listener)?;
        hosts.find_map(name, Some).map(|at| at as usize)
    }

    /// The route at a place.
    pub fn route(&self, at: usize) -> Option<&Arc<L4Route>> {
        self.routes.get(at)
    }

    /// The UDP listener for datagrams to `address` and `port`.
    pub fn udp_listener(&self, address: IpAddr, port: u16) -> Option<&ListenerId> {
        self.udp.get(&(Some(address.to_canonical()), port)).or_else(|| self.udp.get(&(None, port)))
    }
}

#[cfg(test)]
mod tests {
    use model::{HostPattern, Listener, ObjectKind, ObjectRef, Protocol, RouteId, WildcardLabels};

    use super::*;

    fn route(name: &str, listener: &str, hosts: &[&str], created_unix_s: Option<i64>) -> Arc<L4Route> {
        let host = |host: &&str| HostPattern::parse(host, WildcardLabels::OneOrMore).unwrap();
        Arc::new(L4Route {
            id: RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 },
            listeners: vec![ListenerId::new("test", "gateway", listener)],
            hosts: hosts.iter().map(host).collect(),
            backends: vec![],
            created_unix_s,
        })
    }

    fn udp(section: &str, addresses: &[&str], port: u16) -> Arc<Listener> {
        Arc::new(Listener {
            id: ListenerId::new("test", "gateway", section),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            port,
            protocol: Protocol::Udp,
            hostname: None,
            tls: None,
            forwarded_headers: false,
            proxy_protocol: false,
            reached_by: None,
            backend_certificate: None,
        })
    }

    #[test]
    fn the_most_specific_name_counts_then_age_then_the_objects_name() {
        let routes = [
            route("exact", "tls", &["a.example.com"], None),
            route("suffix", "tls", &["*.example.com"], None),
            route("longer", "tls", &["*.b.example.com"], None),
            route("younger", "tls", &["old.example.com"], Some(20)),
            route("older", "tls", &["old.example.com"], Some(10)),
            route("all", "other", &[], None),
        ];
        let table = L4Table::build(&Snapshot::new(1, [], [], [], []).with_l4_routes(routes));
        let found = |listener: &str, name: &str| {
            let at = table.lookup(&ListenerId::new("test", "gateway", listener), name)?;
            Some(table.route(at)?.id.object.name.to_string())
        };
        for (name, expected) in [
            ("a.example.com", Some("exact")),
            ("z.example.com", Some("suffix")),
            ("a.b.example.com", Some("longer")),
            ("old.example.com", Some("older")),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(found("tls", name).as_deref(), expected, "{name}");
        }
        assert_eq!(found("other", "").as_deref(), Some("all"));
        assert_eq!(found("none", ""), None);
    }

    #[test]
    fn a_udp_listener_is_found_by_its_address_or_else_by_its_port() {
        let listeners = [udp("all", &[], 53), udp("one", &["10.0.0.1"], 53), udp("other", &["10.0.0.1"], 54)];
        let table = L4Table::build(&Snapshot::new(1, listeners, [], [], []));
        let found = |address: &str, port| {
            table.udp_listener(address.parse().unwrap(), port).map(|id| id.section.to_string())
        };
        assert_eq!(found("10.0.0.1", 53).as_deref(), Some("one"));
        assert_eq!(found("::ffff:10.0.0.1", 53).as_deref(), Some("one"));
        assert_eq!(found("10.0.0.2", 53).as_deref(), Some("all"));
        assert_eq!(found("10.0.0.2", 54), None);
    }
}
