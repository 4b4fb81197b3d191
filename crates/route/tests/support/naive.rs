//! The matcher as the rules say it, one route after the other.

use std::collections::HashMap;

use model::{HostPattern, Listener, PathMatch, RegexAnchor, RegexPattern, RouteMatch, Snapshot, ValueMatch};
use regex::Regex;

use super::generate::Generated;

/// The listener, and the place of the route and of its match.
pub(crate) type Decision = Option<(model::ListenerId, Option<(usize, usize)>)>;

#[derive(Default)]
pub(crate) struct Naive {
    regexes: HashMap<RegexPattern, Regex>,
}

impl Naive {
    pub(crate) fn decide(&mut self, snapshot: &Snapshot, request: &Generated) -> Decision {
        let listener = choose_listener(snapshot, request)?;
        let mut found: Vec<((usize, usize), Vec<i64>)> = Vec::new();
        for (route_index, route) in snapshot.routes.iter().enumerate() {
            if !route.listeners.contains(&listener.id) {
                continue;
            }
            let fitting: Vec<i64> =
                route.hosts.iter().filter(|h| h.matches(&request.host)).map(specificity).collect();
            let host = match fitting.iter().max() {
                Some(best) => *best,
                None if route.hosts.is_empty() => 0,
                None => continue,
            };
            if route.matches.is_empty() {
                found.push(((route_index, 0), vec![-host, 1, 0, 0, 1, 0, 0]));
            }
            for (match_index, one) in route.matches.iter().enumerate() {
                if self.holds(one, request) {
                    let mut key = vec![-host];
                    key.extend(path_key(&one.path));
                    key.push(i64::from(one.method.is_none()));
                    key.push(-(one.headers.len() as i64));
                    key.push(-(one.queries.len() as i64));
                    found.push(((route_index, match_index), key));
                }
            }
        }
        // The routes were visited in order, and the sort is stable.
        found.sort_by(|(_, a), (_, b)| a.cmp(b));
        Some((listener.id.clone(), found.first().map(|(place, _)| *place)))
    }

    fn holds(&mut self, one: &RouteMatch, request: &Generated) -> bool {
        if one.method.as_ref().is_some_and(|method| **method != *request.method) {
            return false;
        }
        let path = match &one.path {
            PathMatch::Exact(text) => **text == *request.path,
            PathMatch::StringPrefix(text) => request.path.starts_with(&**text),
            PathMatch::Prefix(text) => {
                let wanted: Vec<_> = text.split('/').collect();
                let there: Vec<_> = request.path.split('/').collect();
                text.is_empty() || there.starts_with(&wanted)
            }
            PathMatch::Regex(pattern) => self.regex(pattern, &request.path),
        };
        path && one.headers.iter().all(|header| {
            let lines: Vec<_> = request
                .headers
                .iter()
                .filter(|(name, _)| **name == *header.name)
                .map(|(_, v)| v.as_str())
                .collect();
            !lines.is_empty() && self.value(&header.value, &lines.join(","))
        }) && one.queries.iter().all(|query| {
            let value =
                request.parameters.iter().find(|(name, _)| **name == *query.name).map(|(_, value)| value);
            value.is_some_and(|value| self.value(&query.value, value))
        })
    }

    fn value(&mut self, wanted: &ValueMatch, value: &str) -> bool {
        match wanted {
            ValueMatch::Exact(text) => **text == *value,
            ValueMatch::Regex(pattern) => self.regex(pattern, value),
        }
    }

    fn regex(&mut self, pattern: &RegexPattern, text: &str) -> bool {
        let regex = self.regexes.entry(pattern.clone()).or_insert_with(|| {
            let flags = if pattern.case_insensitive { "(?i)" } else { "" };
            let end = if pattern.anchor == RegexAnchor::Full { "$" } else { "" };
            Regex::new(&format!("{flags}^({}){end}", pattern.pattern)).unwrap()
        });
        regex.is_match(text)
    }
}

fn choose_listener<'s>(snapshot: &'s Snapshot, request: &Generated) -> Option<&'s Listener> {
    let of_port: Vec<_> = snapshot.listeners.values().filter(|l| l.port == request.port).collect();
    let mut sharing: Vec<_> = of_port.iter().filter(|l| l.addresses.contains(&request.address)).collect();
    if sharing.is_empty() {
        sharing = of_port.iter().filter(|l| l.addresses.is_empty()).collect();
    }
    let mut best: Option<(i64, &Listener)> = None;
    for listener in sharing {
        let rank = match &listener.hostname {
            None => 0,
            Some(host) if host.matches(&request.host) => specificity(host),
            Some(_) => continue,
        };
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, listener));
        }
    }
    best.map(|(_, listener)| listener)
}

fn specificity(host: &HostPattern) -> i64 {
    match host {
        HostPattern::Exact(_) => 1_000,
        HostPattern::Wildcard { suffix, .. } => suffix.len() as i64,
    }
}

fn path_key(path: &PathMatch) -> [i64; 3] {
    match path {
        PathMatch::Exact(_) => [0, 0, 0],
        PathMatch::Prefix(text) => [1, -(text.len() as i64), 0],
        PathMatch::StringPrefix(text) => [1, -(text.len() as i64), 1],
        PathMatch::Regex(pattern) => [2, -(pattern.pattern.len() as i64), 0],
    }
}
