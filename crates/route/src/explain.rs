use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use model::{HostPattern, ListenerId, PathMatch, Route, RouteId, RouteMatch};
use serde::Serialize;

use crate::conditions::{Conditions, Unmet};
use crate::group::{Rank, rank};
use crate::listener::ListenerTable;
use crate::regexes::Regexes;
use crate::{Headers, Request};

/// How the route of a request is found.
///
/// Worked out by visiting every match of the listener, apart from the compiled table: the two must agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The listener whose routes count; none if none of the socket serves the host.
    pub listener: Option<ChosenListener>,
    /// How many listeners share the socket.
    pub listeners: usize,
    /// The matches considered, in order of precedence, at most [`Explanation::CONSIDERED_MAX`]: first of all those that
    /// take the request, then those that fail late.
    pub considered: Vec<Considered>,
    /// How many more matches the listener has.
    pub omitted: usize,
    /// The one of `considered` that takes the request.
    pub winner: Option<usize>,
}

/// The listener with the most specific host name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenListener {
    /// Which one.
    pub id: ListenerId,
    /// Its host name; none: it serves every host.
    pub hostname: Option<HostPattern>,
}

/// A match of a route, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Considered {
    /// The rule.
    pub route: RouteId,
    /// Its place in `snapshot.routes`.
    pub route_index: usize,
    /// Which of its matches; 0 for a rule without matches.
    pub match_index: usize,
    /// The host of the rule that fits best; none: it takes every host, or has none that fits.
    pub host: Option<HostPattern>,
    /// The path; none: the rule has no matches and takes every path.
    pub path: Option<PathMatch>,
    /// Why it takes the request or not.
    pub reason: Reason,
}

/// Why a match takes a request, or the first condition that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Reason {
    /// All conditions hold, and nothing before it takes the request.
    Wins,
    /// All conditions hold, but another match goes first.
    Outranked,
    /// A header is missing or has another value.
    Header {
        /// Its name.
        name: Arc<str>,
    },
    /// A query parameter is missing or has another value.
    Query {
        /// Its name.
        name: Arc<str>,
    },
    /// The method is another.
    Method,
    /// The path is another.
    Path,
    /// None of the rule's hosts fits.
    Host,
    /// A regular expression of the match does not compile.
    Pattern,
}

impl Explanation {
    /// At most so many matches are listed.
    pub const CONSIDERED_MAX: usize = 64;
}

/// Explains the decision among the routes of `table`.
pub(crate) fn explain<H: Headers>(
    table: Option<&ListenerTable>,
    listeners: usize,
    routes: &[Arc<Route>],
    regexes: &Regexes,
    request: &Request<'_, H>,
) -> Explanation {
    let Some(table) = table else {
        return Explanation { listener: None, listeners, considered: vec![], omitted: 0, winner: None };
    };
    let attached = table.routes.iter().filter_map(|&at| Some((at, routes.get(at as usize)?)));
    let mut all: Vec<(Place, Considered)> =
        attached.flat_map(|(at, route)| consider(at, route, regexes, request)).collect();
    all.sort_by_key(|(place, _)| *place);
    let winner = all.iter().position(|(_, one)| one.reason == Reason::Wins);
    for (at, (_, one)) in all.iter_mut().enumerate() {
        if one.reason == Reason::Wins && winner != Some(at) {
            one.reason = Reason::Outranked;
        }
    }
    // Stable: within a reason the order of precedence stays.
    all.sort_by_key(|(_, one)| how_early(&one.reason));
    let omitted = all.len().saturating_sub(Explanation::CONSIDERED_MAX);
    all.truncate(Explanation::CONSIDERED_MAX);
    all.sort_by_key(|(place, _)| *place);
    let considered: Vec<_> = all.into_iter().map(|(_, one)| one).collect();
    let winner = considered.iter().position(|one| one.reason == Reason::Wins);
    let listener = &table.listener;
    let listener = Some(ChosenListener { id: listener.id.clone(), hostname: listener.hostname.clone() });
    Explanation { listener, listeners, considered, omitted, winner }
}

/// The precedence of a match: host, path, and the rest. The smallest goes first.
type Place = ((u8, Reverse<usize>), (u8, Reverse<usize>, u8), Rank);

fn consider<H: Headers>(
    at: u32,
    route: &Route,
    regexes: &Regexes,
    request: &Request<'_, H>,
) -> Vec<(Place, Considered)> {
    let host = route
        .hosts
        .iter()
        .filter(|host| host.matches(request.host))
        .min_by_key(|host| host_place(Some(host)));
    let has_host = host.is_some() || route.hosts.is_empty();
    let every: [RouteMatch; 1];
    let matches = if route.matches.is_empty() {
        every = [RouteMatch {
            path: PathMatch::Prefix("".into()),
            method: None,
            headers: vec![],
            queries: vec![],
        }];
        &every[..]
    } else {
        &route.matches
    };
    let one = |(match_index, one): (u32, &RouteMatch)| {
        let conditions = Conditions::new(one, regexes);
        let reason = match &conditions {
            _ if !has_host => Reason::Host,
            None => Reason::Pattern,
            Some(_) if !takes_path(&one.path, request.path, regexes) => Reason::Path,
            Some(conditions) => match conditions.unmet(request) {
                None => Reason::Wins,
                Some(Unmet::Method) => Reason::Method,
                Some(Unmet::Header(name)) => Reason::Header { name: name.clone() },
                Some(Unmet::Query(name)) => Reason::Query { name: name.clone() },
            },
        };
        let rank = rank(conditions.as_ref().unwrap_or(&Conditions::none()), at, match_index);
        let considered = Considered {
            route: route.id.clone(),
            route_index: at as usize,
            match_index: match_index as usize,
            host: host.cloned(),
            path: (!route.matches.is_empty()).then(|| one.path.clone()),
            reason,
        };
        ((host_place(host), path_place(&one.path), rank), considered)
    };
    (0..).zip(matches).map(one).collect()
}

fn host_place(host: Option<&HostPattern>) -> (u8, Reverse<usize>) {
    match host {
        Some(HostPattern::Exact(_)) => (0, Reverse(0)),
        Some(HostPattern::Wildcard { suffix, .. }) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

fn path_place(path: &PathMatch) -> (u8, Reverse<usize>, u8) {
    match path {
        PathMatch::Exact(_) => (0, Reverse(0), 0),
        PathMatch::Prefix(text) => (1, Reverse(text.len()), 0),
        PathMatch::StringPrefix(text) => (1, Reverse(text.len()), 1),
        PathMatch::Regex(pattern) => (2, Reverse(pattern.pattern.len()), 0),
    }
}

fn takes_path(path: &PathMatch, text: &str, regexes: &Regexes) -> bool {
    match path {
        PathMatch::Exact(exact) => **exact == *text,
        PathMatch::Prefix(prefix) => text
            .strip_prefix(&**prefix)
            .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/')),
        PathMatch::StringPrefix(prefix) => text.starts_with(&**prefix),
        PathMatch::Regex(pattern) => {
            regexes.get(pattern).is_some_and(|regex| regex.is_match(text.as_bytes()))
        }
    }
}

/// The later a match fails, the more it says.
fn how_early(reason: &Reason) -> u8 {
    match reason {
        Reason::Wins => 0,
        Reason::Outranked => 1,
        Reason::Header { .. } | Reason::Query { .. } | Reason::Method => 2,
        Reason::Path => 3,
        Reason::Pattern => 4,
        Reason::Host => 5,
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wins => f.write_str("takes the request"),
            Self::Outranked => f.write_str("would take it, but comes later"),
            Self::Header { name } => write!(f, "header {name} is missing or has another value"),
            Self::Query { name } => write!(f, "query parameter {name} is missing or has another value"),
            Self::Method => f.write_str("the method is another"),
            Self::Path => f.write_str("the path is another"),
            Self::Host => f.write_str("none of its hosts fits"),
            Self::Pattern => f.write_str("a regular expression does not compile"),
        }
    }
}

/// One line for the listener, one for each match, one for the end.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(listener) = &self.listener else {
            return writeln!(f, "none of {} listeners here serves this host: 404", self.listeners);
        };
        write!(f, "listener {} of {} here: ", listener.id, self.listeners)?;
        match &listener.hostname {
            Some(host) => writeln!(f, "{host} fits best")?,
            None => writeln!(f, "serves every host, and no other fits better")?,
        }
        for one in &self.considered {
            let host: &dyn fmt::Display = one.host.as_ref().map_or(&"any host" as _, |host| host);
            writeln!(
                f,
                "  {} match {} ({host}, {}): {}",
                one.route,
                one.match_index,
                Path(&one.path),
                one.reason
            )?;
        }
        if self.omitted > 0 {
            writeln!(f, "  and {} more that fail earlier", self.omitted)?;
        }
        match self.winner.and_then(|at| self.considered.get(at)) {
            Some(one) => writeln!(f, "{} takes the request", one.route),
            None => writeln!(f, "no route takes the request: 404"),
        }
    }
}

struct Path<'p>(&'p Option<PathMatch>);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("any path"),
            Some(PathMatch::Exact(text)) => write!(f, "path {text}"),
            Some(PathMatch::Prefix(text)) => write!(f, "path {}/...", text),
            Some(PathMatch::StringPrefix(text)) => write!(f, "path {text}..."),
            Some(PathMatch::Regex(pattern)) => write!(f, "path ~ {}", pattern.pattern),
        }
    }
}
