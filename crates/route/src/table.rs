use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Listener, ListenerId, Route, RouteId, Snapshot, Transport};

use crate::explain::{Explanation, explain};
use crate::group::number;
use crate::host::{HostKey, HostMap};
use crate::listener::ListenerTable;
use crate::regexes::{Regexes, patterns};
use crate::{Headers, PatternError, Request};

/// The compiled routes of a snapshot, by TCP socket.
#[derive(Clone, Debug)]
pub struct Table {
    /// By address (none first) and port.
    sockets: Arc<[SocketTable]>,
    errors: Arc<[BuildError]>,
    /// What it was made from.
    listeners: BTreeMap<ListenerId, Arc<Listener>>,
    routes: Arc<[Arc<Route>]>,
    regexes: Arc<Regexes>,
}

/// A match that the table had to leave out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{route}: match {match_index}: `{pattern}` {error}")]
pub struct BuildError {
    /// The rule it belongs to.
    pub route: RouteId,
    /// Which of the rule's matches, from 0.
    pub match_index: usize,
    /// The pattern.
    pub pattern: Arc<str>,
    /// What is wrong with it.
    pub error: PatternError,
}

/// The listeners that share an address and port.
#[derive(Debug)]
pub struct SocketTable {
    address: Option<IpAddr>,
    port: u16,
    /// By id.
    listeners: Vec<Arc<ListenerTable>>,
    /// Host to place in `listeners`.
    hosts: HostMap,
    routes: Arc<[Arc<Route>]>,
    regexes: Arc<Regexes>,
}

/// What the table says of a request.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'t> {
    /// A route takes it.
    Match {
        /// The listener it came to.
        listener: &'t Arc<Listener>,
        /// The rule.
        route: &'t Arc<Route>,
        /// The rule's place in `snapshot.routes`.
        route_index: usize,
        /// Which of the rule's matches took it; 0 for a rule without matches.
        match_index: usize,
    },
    /// A listener serves this host, none of its routes takes the request: 404.
    NoRoute {
        /// The listener it came to.
        listener: &'t Arc<Listener>,
    },
    /// No listener of the socket serves this host: 404.
    NoListener,
}

impl Table {
    /// Compiles a snapshot.
    ///
    /// A match whose regular expression does not compile is left out and listed in [`Table::errors`]. Of listeners that
    /// share socket and host name the first by id serves.
    pub fn build(snapshot: &Snapshot) -> Self {
        Self::build_after(snapshot, None)
    }

    /// The same, which takes over what an earlier table has: regular expressions, the hosts whose routes are the same, and everything if
    /// listeners and routes are (as when only endpoints changed).
    pub fn build_after(snapshot: &Snapshot, before: Option<&Self>) -> Self {
        let known = before.filter(|before| {
            before.listeners == snapshot.listeners && are_same(&before.routes, &snapshot.routes)
        });
        if let Some(known) = known {
            return known.clone();
        }
        let routes: Arc<[Arc<Route>]> = snapshot.routes.clone().into();
        // Where there are no patterns only what is new can have some.
        let fresh = before
            .filter(|before| before.regexes.is_empty())
            .map_or(&*routes, |before| fresh(&before.routes, &routes));
        let known = before.map(|before| &*before.regexes);
        let regexes = Arc::new(Regexes::new(fresh.iter().map(|route| &**route), known));
        let mut attached: HashMap<&ListenerId, Vec<u32>> = HashMap::new();
        for (at, route) in routes.iter().enumerate() {
            for id in &route.listeners {
                let places = attached.entry(id).or_default();
                if places.last() != Some(&number(at)) {
                    places.push(number(at));
                }
            }
        }
        let before: HashMap<&ListenerId, &Arc<ListenerTable>> =
            before.into_iter().flat_map(Self::listeners).map(|table| (&table.listener.id, table)).collect();
        let mut sockets: BTreeMap<(Option<IpAddr>, u16), Vec<Arc<ListenerTable>>> = BTreeMap::new();
        for listener in snapshot.listeners.values() {
            if listener.protocol.transport() == Transport::Udp {
                continue;
            }
            let places = attached.remove(&listener.id).unwrap_or_default().into();
            let before = before.get(&listener.id).map(|table| &***table);
            let compiled = Arc::new(ListenerTable::new(listener.clone(), &routes, places, &regexes, before));
            for address in addresses(listener) {
                sockets.entry((address, listener.port)).or_default().push(compiled.clone());
            }
        }
        let socket = |((address, port), listeners): (_, Vec<Arc<ListenerTable>>)| SocketTable {
            address,
            port,
            hosts: HostMap::new(
                (0..).zip(&listeners).map(|(at, l)| (HostKey::new(l.listener.hostname.as_ref()), at)),
            ),
            listeners,
            routes: routes.clone(),
            regexes: regexes.clone(),
        };
        let errors = errors(&routes, &regexes);
        let sockets = sockets.into_iter().map(socket).collect();
        Self { sockets, errors, listeners: snapshot.listeners.clone(), routes, regexes }
    }

    /// The listeners for connections to `address` and `port`: those that name the address, or else those that name none.
    pub fn socket(&self, address: IpAddr, port: u16) -> Option<&SocketTable> {
        let find = |wanted: Option<IpAddr>| {
            let at = self.sockets.binary_search_by_key(&(wanted, port), |s| (s.address, s.port)).ok()?;
            self.sockets.get(at)
        };
        find(Some(address.to_canonical())).or_else(|| find(None))
    }

    /// All sockets, those for every address first.
    pub fn sockets(&self) -> impl Iterator<Item = &SocketTable> {
        self.sockets.iter()
    }

    fn listeners(&self) -> impl Iterator<Item = &Arc<ListenerTable>> {
        self.sockets.iter().flat_map(|socket| &socket.listeners)
    }

    /// The matches that were left out.
    pub fn errors(&self) -> &[BuildError] {
        &self.errors
    }
}

impl SocketTable {
    /// The local address; none: every address that no other socket of this port names.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The local TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The listeners that share the socket, by id.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.iter().map(|table| &table.listener)
    }

    /// The listener that serves `host`: the one with the most specific name that covers it.
    pub fn listener_of(&self, host: &str) -> Option<&Arc<Listener>> {
        self.listener(host).map(|table| &table.listener)
    }

    /// Finds the route of a request.
    pub fn lookup<H: Headers>(&self, request: &Request<'_, H>) -> Lookup<'_> {
        let Some(table) = self.listener(request.host) else { return Lookup::NoListener };
        let listener = &table.listener;
        let found = table.lookup(request).and_then(|found| {
            let route_index = found.route as usize;
            let match_index = found.match_index as usize;
            Some(Lookup::Match { listener, route: self.routes.get(route_index)?, route_index, match_index })
        });
        found.unwrap_or(Lookup::NoRoute { listener })
    }

    /// Says how the route of a request is found: for people, not for speed.
    pub fn explain<H: Headers>(&self, request: &Request<'_, H>) -> Explanation {
        let rivals = self.listeners.len();
        explain(self.listener(request.host), rivals, &self.routes, &self.regexes, request)
    }

    fn listener(&self, host: &str) -> Option<&ListenerTable> {
        self.hosts.find_map(host, |at| self.listeners.get(at as usize)).map(|table| &**table)
    }
}

/// The addresses to listen on; none stands for all. An IPv4-mapped IPv6 address is the IPv4 one.
pub(crate) fn addresses(listener: &Listener) -> Vec<Option<IpAddr>> {
    let mut addresses: Vec<_> = listener.addresses.iter().map(|a| Some(a.to_canonical())).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { vec![None] } else { addresses }
}

/// Whether these are the same records: equal ones are shared, and comparing them would take as long as compiling.
fn are_same(before: &[Arc<Route>], routes: &[Arc<Route>]) -> bool {
    before.len() == routes.len() && before.iter().zip(routes).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// The routes between those that stand at the beginning and at the end of both.
fn fresh<'r>(before: &[Arc<Route>], routes: &'r [Arc<Route>]) -> &'r [Arc<Route>] {
    let is_same = |(a, b): &(&Arc<Route>, &Arc<Route>)| Arc::ptr_eq(a, b);
    let head = before.iter().zip(routes).take_while(is_same).count();
    let (before, routes) = (&before[head..], &routes[head..]);
    let tail = before.iter().rev().zip(routes.iter().rev()).take_while(is_same).count();
    &routes[..routes.len() - tail]
}

/// The matches with patterns that do not compile, each once.
fn errors(routes: &[Arc<Route>], regexes: &Regexes) -> Arc<[BuildError]> {
    // As good as always, and there are many more matches than patterns.
    if !regexes.has_errors() {
        return Arc::default();
    }
    let matches =
        routes.iter().flat_map(|route| route.matches.iter().enumerate().map(move |(i, m)| (route, i, m)));
    matches
        .filter_map(|(route, match_index, one)| {
            let (pattern, error) = patterns(one).find_map(|p| Some((p, regexes.error(p)?)))?;
            let pattern = pattern.pattern.clone();
            Some(BuildError { route: route.id.clone(), match_index, pattern, error: error.clone() })
        })
        .collect()
}
