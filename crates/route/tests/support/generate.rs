//! Tables and requests that nearly miss each other.

use std::net::IpAddr;
use std::sync::Arc;

pub(crate) use corpus::Dice;
use model::{HeaderMatch, HostPattern, Listener, PathMatch, QueryMatch, RegexAnchor, RouteMatch, Snapshot};
use model::{ValueMatch, WildcardLabels};

use super::{listener, pattern, route};

/// A request, with its parameters before they are encoded.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    pub address: IpAddr,
    pub port: u16,
    pub host: String,
    pub path: String,
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub parameters: Vec<(String, String)>,
}

const LABELS: [&str; 3] = ["a", "b", "ab"];
const ELEMENTS: [&str; 6] = ["a", "b", "ab", "aba", "abcdefgh", ""];
const REGEXES: [&str; 10] =
    ["/a.*", "/a/[ab]+", "/(a|ab)/b", "/A|/b", ".*", "/ab?", "/a/b/.*", "/[^/]+/b", "/ab(a|/.*)?", "/aba?/a"];
const METHODS: [&str; 4] = ["GET", "POST", "get", "BREW"];
const NAMES: [&str; 3] = ["x", "y", "version"];
const VALUES: [&str; 6] = ["1", "2", "1,2", "", "a b+c", "é%41"];

/// A snapshot of up to four listeners and up to sixty routes; in some of them many share a path.
pub(crate) fn snapshot(dice: &mut Dice) -> Snapshot {
    snapshot_up_to(dice, 6, 60)
}

/// A snapshot of up to four listeners and so many routes and hosts.
pub(crate) fn snapshot_up_to(dice: &mut Dice, hosts: usize, routes: usize) -> Snapshot {
    let listeners: Vec<Listener> = (0..1 + dice.below(4)).map(|i| a_listener(dice, i)).collect();
    let hosts: Vec<HostPattern> = (0..1 + dice.below(hosts)).map(|_| host(dice)).collect();
    let paths: Vec<PathMatch> = (0..1 + dice.below(12)).map(|_| path(dice)).collect();
    let routes: Vec<_> = (0..1 + dice.below(routes))
        .map(|i| {
            let parents: Vec<&Listener> = listeners.iter().filter(|_| !dice.one_in(5)).collect();
            let hosts = (0..dice.below(4).saturating_sub(1)).map(|_| dice.of(&hosts)).collect();
            let matches = (0..dice.of(&[0, 1, 1, 1, 2, 3])).map(|_| a_match(dice, &paths)).collect();
            let mut route = route(&format!("r{i}"), &parents, hosts, matches);
            route.created_unix_s = dice.of(&[None, Some(10), Some(20)]);
            Arc::new(route)
        })
        .collect();
    Snapshot::new(1, listeners.into_iter().map(Arc::new), routes, [], [])
}

/// A request that means to reach some match of the snapshot, and may fail in any part.
pub(crate) fn request(dice: &mut Dice, snapshot: &Snapshot) -> Generated {
    let aim = dice.of(&snapshot.routes);
    let aimed = (!aim.matches.is_empty()).then(|| dice.of(&aim.matches));
    let listener = snapshot.listeners.values().find(|l| aim.listeners.contains(&l.id));
    let host = match aim.hosts.first().or(listener.and_then(|l| l.hostname.as_ref())) {
        Some(pattern) if !dice.one_in(8) => a_name(dice, pattern),
        _ => name(dice),
    };
    let mut request = Generated {
        address: dice.of(&["10.0.0.1", "10.0.0.2"]).parse().unwrap(),
        port: if dice.one_in(50) { 81 } else { 80 },
        host,
        path: a_path(dice, aimed.as_ref().map(|one| &one.path)),
        method: dice.of(&METHODS).into(),
        headers: vec![],
        parameters: vec![],
    };
    if let Some(one) = aimed {
        if let Some(method) = one.method.filter(|_| !dice.one_in(8)) {
            request.method = method.to_string();
        }
        for header in one.headers {
            request.headers.extend(value(dice, &header.value).map(|value| (header.name.to_string(), value)));
        }
        for query in one.queries {
            request.parameters.extend(value(dice, &query.value).map(|value| (query.name.to_string(), value)));
        }
    }
    for _ in 0..dice.below(3).saturating_sub(1) {
        request.headers.push((dice.of(&NAMES).into(), dice.of(&VALUES).into()));
        request.parameters.push((dice.of(&NAMES).into(), dice.of(&VALUES).into()));
    }
    request
}

fn a_listener(dice: &mut Dice, number: usize) -> Listener {
    let hostname = match dice.below(2) {
        0 => None,
        _ => Some(HostPattern::parse(&host(dice).to_string(), WildcardLabels::OneOrMore).unwrap()),
    };
    let mut listener = listener(&format!("l{number}"), hostname);
    if dice.one_in(6) {
        listener.addresses = vec!["10.0.0.1".parse().unwrap()];
    }
    listener
}

fn name(dice: &mut Dice) -> String {
    (0..1 + dice.below(4)).map(|_| dice.of(&LABELS)).collect::<Vec<_>>().join(".")
}

fn host(dice: &mut Dice) -> HostPattern {
    let labels = dice.of(&[WildcardLabels::One, WildcardLabels::OneOrMore]);
    let star = dice.of(&["", "*."]);
    HostPattern::parse(&format!("{star}{}", name(dice)), labels).unwrap()
}

fn a_name(dice: &mut Dice, pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Wildcard { suffix, .. } => match dice.below(6) {
            0 => suffix.to_string(),
            1 => suffix[1..].to_string(),
            2 => format!("{}{}{suffix}", dice.of(&LABELS), name(dice)),
            3 => format!("{}.{}{suffix}", dice.of(&LABELS), dice.of(&LABELS)),
            _ => format!("{}{suffix}", dice.of(&LABELS)),
        },
    }
}

fn path_text(dice: &mut Dice) -> String {
    (0..dice.below(5)).map(|_| format!("/{}", dice.of(&ELEMENTS))).collect()
}

fn path(dice: &mut Dice) -> PathMatch {
    let text = path_text(dice);
    match dice.below(8) {
        0 | 1 => PathMatch::Exact(if text.is_empty() { "/".into() } else { text.into() }),
        2..5 => PathMatch::Prefix(text.trim_end_matches('/').into()),
        5 | 6 => PathMatch::StringPrefix(text[..dice.below(text.len() + 1)].into()),
        _ => {
            let anchor = dice.of(&[RegexAnchor::Full, RegexAnchor::Start]);
            PathMatch::Regex(pattern(dice.of(&REGEXES), anchor, dice.one_in(3)))
        }
    }
}

fn a_path(dice: &mut Dice, aimed: Option<&PathMatch>) -> String {
    let mut path = match aimed {
        Some(PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::StringPrefix(text)) => {
            text.to_string()
        }
        _ => path_text(dice),
    };
    match dice.below(7) {
        0 => path.push('/'),
        1 => path.push('a'),
        2 => path += &path_text(dice),
        3 => {
            path.pop();
        }
        _ => {}
    }
    if path.is_empty() && !dice.one_in(20) { "/".into() } else { path }
}

fn a_match(dice: &mut Dice, paths: &[PathMatch]) -> RouteMatch {
    let headers = (0..dice.below(4).saturating_sub(1))
        .map(|_| HeaderMatch { name: dice.of(&NAMES).into(), value: a_value(dice) })
        .collect();
    let queries = (0..dice.below(4).saturating_sub(1))
        .map(|_| QueryMatch { name: dice.of(&NAMES).into(), value: a_value(dice) })
        .collect();
    let method = dice.one_in(3).then(|| dice.of(&METHODS).into());
    RouteMatch { path: dice.of(paths), method, headers, queries }
}

fn a_value(dice: &mut Dice) -> ValueMatch {
    if dice.one_in(5) {
        let text = dice.of(&["[12]", "1.*", ".*", "a b.c|1"]);
        return ValueMatch::Regex(pattern(text, RegexAnchor::Full, false));
    }
    ValueMatch::Exact(dice.of(&VALUES).into())
}

/// Mostly the value asked for.
fn value(dice: &mut Dice, wanted: &ValueMatch) -> Option<String> {
    match (dice.below(10), wanted) {
        (0, _) => None,
        (2.., ValueMatch::Exact(text)) => Some(text.to_string()),
        _ => Some(dice.of(&VALUES).into()),
    }
}
