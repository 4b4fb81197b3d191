use std::cmp::Reverse;
use std::time::Duration;

use model::{PathMatch, RouteMatch, ValueMatch};
use wire::{CONDITIONS_MAX, Candidate, HEADER_VALUE_MAX, Method, PATH_MAX};

use crate::Why;
use crate::names::Names;
use crate::scope::{Place, Rank, Spec};

/// A match of a route as the kernel sees it.
#[derive(Clone, Debug)]
pub(crate) struct Compiled<'m> {
    pub(crate) place: Place<'m>,
    pub(crate) rank: Rank,
    /// None: no request that the kernel reads can match.
    pub(crate) spec: Option<Spec>,
    /// Why userspace decides, if it does.
    pub(crate) why: Option<Why>,
    /// Whether a condition may be used the next time.
    pub(crate) waits: bool,
}

/// Compiles match `index` of the route at place `route`; `action` is what the kernel does with its requests.
pub(crate) fn compile<'m>(
    one: &'m RouteMatch,
    (route, index): (usize, usize),
    action: Result<u32, Why>,
    names: &mut Names,
    now: Duration,
) -> Compiled<'m> {
    let (place, of_path) = place(&one.path);
    let methods = one.method.as_deref().map_or(Candidate::ANY_METHOD, method_bit);
    let mut why = of_path.or(if methods == 0 { Some(Why::Method) } else { None });
    let (mut headers, mut waits) = (Vec::new(), false);
    for header in &one.headers {
        match condition(&header.name, &header.value, names, now) {
            Ok(condition) if headers.len() < CONDITIONS_MAX => headers.push(condition),
            Ok(_) => why = why.or(Some(Why::HeaderSize)),
            Err(reason) => {
                waits |= matches!(reason, Why::NewHeaderName | Why::ManyHeaderNames);
                why = why.or(Some(reason));
            }
        }
    }
    if !one.queries.is_empty() {
        why = why.or(Some(Why::Query));
    }
    let rank = (one.method.is_none(), Reverse(one.headers.len()), Reverse(one.queries.len()), route, index);
    let (action, why) = match (action, why) {
        (Err(reason), _) => (0, Some(reason)),
        (Ok(_), Some(reason)) => (0, Some(reason)),
        (Ok(action), None) => (action, None),
    };
    let spec = Spec { action, methods, is_tier3: why.is_some(), headers };
    Compiled { place, rank, spec: (methods != 0).then_some(spec), why, waits }
}

/// The only match of a route without matches: every request.
pub(crate) fn every(route: usize, action: Result<u32, Why>) -> Compiled<'static> {
    let spec = Spec {
        action: action.unwrap_or(0),
        methods: Candidate::ANY_METHOD,
        is_tier3: action.is_err(),
        headers: vec![],
    };
    let rank = (true, Reverse(0), Reverse(0), route, 0);
    Compiled { place: Place::ByElement(""), rank, spec: Some(spec), why: action.err(), waits: false }
}

fn place(path: &PathMatch) -> (Place<'_>, Option<Why>) {
    let (place, text) = match path {
        PathMatch::Exact(text) => (Place::Exact(text), text),
        PathMatch::Prefix(text) => (Place::ByElement(text), text),
        PathMatch::StringPrefix(text) => (Place::ByString(text), text),
        PathMatch::Regex(_) => return (Place::Regex, Some(Why::PathRegex)),
    };
    (place, (text.len() > PATH_MAX).then_some(Why::PathLength))
}

/// The bit of a method; 0 for those that the kernel does not read.
fn method_bit(name: &str) -> u32 {
    let method = match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        _ => return 0,
    };
    1 << method as u32
}

fn condition(
    name: &str,
    value: &ValueMatch,
    names: &mut Names,
    now: Duration,
) -> Result<(u32, Vec<u8>), Why> {
    let ValueMatch::Exact(text) = value else { return Err(Why::HeaderRegex) };
    if text.len() > HEADER_VALUE_MAX {
        return Err(Why::HeaderSize);
    }
    Ok((names.number(name, now)?, text.as_bytes().to_vec()))
}
