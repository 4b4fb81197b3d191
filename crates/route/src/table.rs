use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use model::{Listener, ListenerId, Route, RouteId, Snapshot, Transport};

use crate::change::Change;
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
        let change = before.map(|before| Change::between(&before.routes, &snapshot.routes));
        if let (Some(before), Some(change)) = (before, change)
            && change.is_none()
            && before.listeners == snapshot.listeners
        {
            return before.clone();
        }
        let routes: Arc<[Arc<Route>]> = snapshot.routes.clone().into();
        let regexes = Arc::new(regexes(&routes, before, change.as_ref()));
        let tables = compiled(before);
        let served = || snapshot.listeners.values().filter(|one| one.protocol.transport() != Transport::Udp);
        // What has changed is all there is to see where the listeners are the same ones.
        let change = change.filter(|_| served().all(|listener| tables.contains_key(&listener.id)));
        let seen = change.map_or(0..routes.len(), |change| change.head..change.new_tail);
        let attached = attached(&routes, seen);
        let mut sockets: BTreeMap<(Option<IpAddr>, u16), Vec<Arc<ListenerTable>>> = BTreeMap::new();
        for listener in served() {
            let new = attached.get(&listener.id).map(Vec::as_slice).unwrap_or_default();
            let known = tables.get(&listener.id).copied();
            let same = before
                .zip(change)
                .zip(known)
                .map(|((before, change), known)| (&*before.routes, change, known));
            let compiled = same
                .and_then(|(old, change, known)| {
                    known.after(listener.clone(), &change, (old, &routes), new, &regexes)
                })
                .unwrap_or_else(|| {
                    let places = same.map(|(_, change, known)| change.places(&known.routes, new));
                    let places = places.unwrap_or_else(|| new.into());
                    ListenerTable::new(listener.clone(), &routes, places, &regexes, known)
                });
            let compiled = Arc::new(compiled);
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

/// The compiled listeners of a table.
fn compiled(before: Option<&Table>) -> HashMap<&ListenerId, &ListenerTable> {
    before.into_iter().flat_map(Table::listeners).map(|table| (&table.listener.id, &**table)).collect()
}

/// The patterns of all routes. Where there were none only what is new can have some.
fn regexes(routes: &[Arc<Route>], before: Option<&Table>, change: Option<&Change>) -> Regexes {
    let is_plain = before.is_some_and(|before| before.regexes.is_empty());
    let fresh = change.filter(|_| is_plain).map_or(routes, |change| &routes[change.head..change.new_tail]);
    Regexes::new(fresh.iter().map(|route| &**route), before.map(|before| &*before.regexes))
}

/// The places of routes, of those in `range`, by listener.
fn attached(routes: &[Arc<Route>], range: Range<usize>) -> HashMap<&ListenerId, Vec<u32>> {
    let mut attached: HashMap<&ListenerId, Vec<u32>> = HashMap::new();
    for (at, route) in range.clone().zip(&routes[range]) {
        for id in &route.listeners {
            let places = attached.entry(id).or_default();
            if places.last() != Some(&number(at)) {
                places.push(number(at));
            }
        }
    }
    attached
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
