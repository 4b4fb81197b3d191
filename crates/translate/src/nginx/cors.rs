use std::sync::Arc;

use model::Cors;
use policy::Origin;

use super::values::Said;
use crate::pattern;

/// Defaults of ingress-nginx.
const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const MAX_AGE_S: u32 = 1_728_000;

/// `enable-cors` and what belongs to it. What cannot be is left out: fewer origins get in.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Cors> {
    if said.flag("enable-cors") != Some(true) {
        return None;
    }
    let is_origin = |origin: &str| origin == "*" || Origin::parse(origin).is_some();
    let mut allow_origins = names(said, "cors-allow-origin", "*", "is no origin", is_origin);
    if allow_origins.iter().any(|origin| &**origin == "*") {
        allow_origins = vec!["*".into()];
    }
    // With "*" credentials would be for every origin there is; ingress-nginx answers a literal "*", which browsers refuse for them.
    let is_for_all = allow_origins.iter().any(|origin| &**origin == "*");
    let allow_credentials = said.flag("cors-allow-credentials").unwrap_or(true) && !is_for_all;
    let max_age = said.number("cors-max-age", &format!("so it is {MAX_AGE_S}"));
    let is_name = pattern::is_token;
    Some(Cors {
        allow_origins,
        allow_methods: names(said, "cors-allow-methods", METHODS, "is no method", is_name),
        allow_headers: names(said, "cors-allow-headers", HEADERS, "is no name of a header", is_name),
        expose_headers: names(said, "cors-expose-headers", "", "is no name of a header", is_name),
        allow_credentials,
        max_age_s: max_age.and_then(Result::ok).unwrap_or(MAX_AGE_S),
    })
}

fn names(
    said: &mut Said<'_, '_, '_>,
    name: &str,
    default: &'static str,
    problem: &str,
    is_good: impl Fn(&str) -> bool,
) -> Vec<Arc<str>> {
    let split = |text: &'static str| text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let mut found: Vec<Arc<str>> = Vec::new();
    for part in said.list(name).unwrap_or_else(|| split(default)) {
        if is_good(part) {
            found.push(part.into());
        } else {
            said.bad(name, format!("{part:?} {problem}, and is left out"));
        }
    }
    found
}
