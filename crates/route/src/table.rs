use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use model::{HostPattern, Listener, PathMatch, Route, RouteId, RouteMatch, Snapshot, ValueMatch};

use crate::pattern::compile;
use crate::{Headers, PatternError, Request};

/// The compiled routes of a snapshot, by socket.
#[derive(Debug)]
pub struct Table {
    sockets: Vec<SocketTable>,
    errors: Vec<BuildError>,
}

/// A match that the table had to leave out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{route}: match {match_index}: `{pattern}` {source}")]
pub struct BuildError {
    /// The rule it belongs to.
    pub route: RouteId,
    /// Which of the rule's matches, from 0.
    pub match_index: usize,
    /// The pattern.
    pub pattern: Arc<str>,
    /// What is wrong with it.
    pub source: PatternError,
}

/// The listeners that share an address and port.
#[derive(Debug)]
pub struct SocketTable {
    address: Option<IpAddr>,
    port: u16,
    listeners: Vec<Arc<Listener>>,
    routes: Arc<[Arc<Route>]>,
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
    /// A match whose regular expression does not compile is left out and listed in [`Table::errors`].
    pub fn build(snapshot: &Snapshot) -> Self {
        let routes: Arc<[Arc<Route>]> = snapshot.routes.clone().into();
        let mut sockets: Vec<SocketTable> = Vec::new();
        for listener in snapshot.listeners.values() {
            let addresses: Vec<Option<IpAddr>> = if listener.addresses.is_empty() {
                vec![None]
            } else {
                listener.addresses.iter().map(|a| Some(a.to_canonical())).collect()
            };
            for address in addresses {
                match sockets.iter_mut().find(|s| s.address == address && s.port == listener.port) {
                    Some(socket) => socket.listeners.push(listener.clone()),
                    None => sockets.push(SocketTable {
                        address,
                        port: listener.port,
                        listeners: vec![listener.clone()],
                        routes: routes.clone(),
                    }),
                }
            }
        }
        Self { sockets, errors: Vec::new() }
    }

    /// The listeners for connections to `address` and `port`: those that name the address, or else those that name none.
    pub fn socket(&self, address: IpAddr, port: u16) -> Option<&SocketTable> {
        let address = address.to_canonical();
        let find = |wanted| self.sockets.iter().find(|s| s.port == port && s.address == wanted);
        find(Some(address)).or_else(|| find(None))
    }

    /// All sockets.
    pub fn sockets(&self) -> impl Iterator<Item = &SocketTable> {
        self.sockets.iter()
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
        self.listeners.iter()
    }

    /// Finds the route of a request.
    pub fn lookup<H: Headers>(&self, request: &Request<'_, H>) -> Lookup<'_> {
        let listener = self
            .listeners
            .iter()
            .filter(|l| l.hostname.as_ref().is_none_or(|h| h.matches(request.host)))
            .min_by_key(|l| host_rank(l.hostname.as_ref()));
        let Some(listener) = listener else { return Lookup::NoListener };
        let mut best = None;
        for (route_index, route) in self.routes.iter().enumerate() {
            if !route.listeners.contains(&listener.id) {
                continue;
            }
            let host =
                route.hosts.iter().filter(|h| h.matches(request.host)).map(|h| host_rank(Some(h))).min();
            let host = match host {
                Some(rank) => rank,
                None if route.hosts.is_empty() => host_rank(None),
                None => continue,
            };
            let every = [RouteMatch {
                path: PathMatch::Prefix("".into()),
                method: None,
                headers: vec![],
                queries: vec![],
            }];
            let matches = if route.matches.is_empty() { &every[..] } else { &route.matches[..] };
            for (match_index, one) in matches.iter().enumerate() {
                if holds(one, request) {
                    let rank = (
                        host,
                        path_rank(&one.path),
                        one.method.is_none(),
                        Reverse(one.headers.len()),
                        Reverse(one.queries.len()),
                        route_index,
                        match_index,
                    );
                    best = best.into_iter().chain([rank]).min();
                }
            }
        }
        match best {
            None => Lookup::NoRoute { listener },
            Some((.., route_index, match_index)) => {
                Lookup::Match { listener, route: &self.routes[route_index], route_index, match_index }
            }
        }
    }
}

fn host_rank(host: Option<&HostPattern>) -> (u8, Reverse<usize>) {
    match host {
        Some(HostPattern::Exact(_)) => (0, Reverse(0)),
        Some(HostPattern::Wildcard { suffix, .. }) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

fn path_rank(path: &PathMatch) -> (u8, Reverse<usize>, u8) {
    match path {
        PathMatch::Exact(_) => (0, Reverse(0), 0),
        PathMatch::Prefix(text) => (1, Reverse(text.len()), 0),
        PathMatch::StringPrefix(text) => (1, Reverse(text.len()), 1),
        PathMatch::Regex(pattern) => (2, Reverse(pattern.pattern.len()), 0),
    }
}

fn holds<H: Headers>(one: &RouteMatch, request: &Request<'_, H>) -> bool {
    let path = match &one.path {
        PathMatch::Exact(text) => request.path == &**text,
        PathMatch::Prefix(text) => request
            .path
            .strip_prefix(&**text)
            .is_some_and(|rest| text.is_empty() || rest.is_empty() || rest.starts_with('/')),
        PathMatch::StringPrefix(text) => request.path.starts_with(&**text),
        PathMatch::Regex(pattern) => compile(pattern).is_ok_and(|r| r.is_match(request.path.as_bytes())),
    };
    path && one.method.as_deref().is_none_or(|m| m == request.method)
        && one.headers.iter().all(|header| {
            let lines: Vec<&[u8]> = request.headers.values(&header.name).collect();
            !lines.is_empty() && value_holds(&header.value, &lines.join(&b','))
        })
        && one.queries.iter().all(|query| {
            first_parameter(request.query.unwrap_or(""), &query.name)
                .is_some_and(|v| value_holds(&query.value, &v))
        })
}

fn value_holds(value: &ValueMatch, text: &[u8]) -> bool {
    match value {
        ValueMatch::Exact(wanted) => wanted.as_bytes() == text,
        ValueMatch::Regex(pattern) => compile(pattern).is_ok_and(|r| r.is_match(text)),
    }
}

fn first_parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    query.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name.as_bytes()).then(|| decode(value))
    })
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|h| byte == b'%' && h.iter().all(u8::is_ascii_hexdigit));
        let decoded =
            hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(decoded.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    out
}
