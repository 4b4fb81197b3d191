//! What decides whether a request goes on: what cannot be read closes the Ingress.

use std::time::Duration;

use ipnet::IpNet;
use model::{ConcurrencyLimit, IpRules, RateLimit, RateLimitKey};
use policy::header_value_problem;

use super::settings::Users;
use super::values::{Said, bytes};
use crate::own::route_policy::{Rules, Said as Field, network};

/// What follows a problem with any of them.
pub(crate) const CLOSES: &str = "so the Ingress answers 500";
/// `limit-burst-multiplier`, default.
const BURST: u32 = 5;
/// `limit-req-status-code` and `limit-conn-status-code` of ingress-nginx, default.
const STATUS_LIMITED: u16 = 503;
/// `auth-realm` where it is not said.
const REALM: &str = "restricted";

/// Limits, and who may pass by address. Users are read by [`users`].
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Rules {
    let (rate, concurrency) = (rate_limit(said), concurrency_limit(said));
    // Once, for both.
    let exempt = (rate.is_some() || concurrency.is_some()).then(|| exempt(said)).flatten();
    Rules {
        ip_rules: ip_rules(said).map(Into::into),
        rate_limit: rate.map(|limit| {
            limit.zip(exempt.clone()).map(|(limit, exempt)| RateLimit { exempt, ..limit }).into()
        }),
        concurrency_limit: concurrency.map(|limit| {
            limit.zip(exempt).map(|(limit, exempt)| ConcurrencyLimit { exempt, ..limit }).into()
        }),
        request_body_max: body_max(said),
        ..Rules::default()
    }
}

/// Who may come with a password; none: nobody needs one. An error closes: it has been reported.
pub(super) fn users(said: &mut Said<'_, '_, '_>) -> Option<Result<Users, ()>> {
    let Some(kind) = said.text("auth-type") else {
        for name in ["auth-secret", "auth-secret-type", "auth-realm"] {
            if said.text(name).is_some() {
                said.bad(
                    name,
                    format!("is without auth-type, {CLOSES}: write auth-type: basic, or remove it"),
                );
                return Some(Err(()));
            }
        }
        return None;
    };
    Some(basic(said, kind))
}

fn basic(said: &mut Said<'_, '_, '_>, kind: &str) -> Result<Users, ()> {
    if kind != "basic" {
        said.bad("auth-type", format!("{kind:?} is not served, {CLOSES}: write basic"));
        return Err(());
    }
    let Some(secret) = said.text("auth-secret") else {
        said.bad("auth-type", format!("is without auth-secret, {CLOSES}: name a Secret with users"));
        return Err(());
    };
    let is_map = match said.text("auth-secret-type") {
        None | Some("auth-file") => false,
        Some("auth-map") => true,
        Some(other) => {
            said.bad("auth-secret-type", format!("{other:?} is neither auth-file nor auth-map, {CLOSES}"));
            return Err(());
        }
    };
    let realm = said.text("auth-realm").unwrap_or(REALM);
    if realm.contains(['"', '\\']) || header_value_problem(realm).is_some() {
        let message = format!(
            "{realm:?} cannot stand in quotes in a header, {CLOSES}: leave out quotes and backslashes"
        );
        said.bad("auth-realm", message);
        return Err(());
    }
    Ok(Users { secret: secret.to_owned(), is_map, realm: realm.into() })
}

fn ip_rules(said: &mut Said<'_, '_, '_>) -> Option<Option<IpRules>> {
    let allow = ["allowlist-source-range", "whitelist-source-range"]
        .into_iter()
        .find_map(|name| networks(said, name));
    let deny = networks(said, "denylist-source-range");
    if allow.is_none() && deny.is_none() {
        return None;
    }
    let (allow, deny) = (allow.unwrap_or_else(|| Some(Vec::new())), deny.unwrap_or_else(|| Some(Vec::new())));
    Some(allow.zip(deny).map(|(allow, deny)| IpRules { allow, deny }))
}

/// The outer none: nothing is said; the inner: something that cannot be.
fn networks(said: &mut Said<'_, '_, '_>, name: &str) -> Option<Option<Vec<IpNet>>> {
    let list = said.list(name)?;
    if list.is_empty() {
        said.bad(name, format!("names nobody, {CLOSES}: write networks such as 10.0.0.0/8"));
        return Some(None);
    }
    let mut found = Some(Vec::new());
    for text in list {
        match network(text) {
            Ok(network) => found.iter_mut().for_each(|found| found.push(network)),
            Err((problem, advice)) => {
                said.bad(name, format!("{text:?} {problem}, {CLOSES}: {advice}"));
                found = None;
            }
        }
    }
    Some(found)
}

/// Who has no limit; none: that cannot be read.
fn exempt(said: &mut Said<'_, '_, '_>) -> Option<Vec<IpNet>> {
    let named = ["limit-allowlist", "limit-whitelist"].into_iter().find_map(|name| networks(said, name));
    named.unwrap_or_else(|| Some(Vec::new()))
}

/// Without those that have none; the outer none: there is no limit.
fn concurrency_limit(said: &mut Said<'_, '_, '_>) -> Option<Option<ConcurrencyLimit>> {
    match said.number("limit-connections", CLOSES)? {
        Err(()) => Some(None),
        // As limit-rps: no limit.
        Ok(0) => None,
        Ok(requests) => Some(Some(ConcurrencyLimit { requests, exempt: Vec::new(), status: STATUS_LIMITED })),
    }
}

/// The same, how often.
fn rate_limit(said: &mut Said<'_, '_, '_>) -> Option<Option<RateLimit>> {
    let mut limits = Vec::new();
    for (name, seconds) in [("limit-rps", 1), ("limit-rpm", 60)] {
        match said.number(name, CLOSES) {
            Some(Err(())) => return Some(None),
            // nginx: no limit.
            None | Some(Ok(0)) => {}
            Some(Ok(requests)) => limits.push((requests, seconds)),
        }
    }
    if limits.len() > 1 {
        said.left_out(
            "limit-rpm",
            "stands beside limit-rps: the one with fewer requests a minute counts alone",
        );
    }
    let (requests, seconds) =
        limits.into_iter().min_by_key(|(requests, seconds)| u64::from(*requests) * (60 / *seconds))?;
    let multiplier = match said.number("limit-burst-multiplier", CLOSES) {
        Some(Err(())) => return Some(None),
        Some(Ok(multiplier)) if multiplier > 0 => multiplier,
        _ => BURST,
    };
    // limit_req of nginx: one, and as many as burst says beyond it.
    let burst = requests.saturating_mul(multiplier).saturating_add(1);
    let period = Duration::from_secs(seconds);
    let (key, exempt, status) = (RateLimitKey::Address, Vec::new(), STATUS_LIMITED);
    Some(Some(RateLimit { requests, period, burst, key, exempt, status, is_of_object: true }))
}

fn body_max(said: &mut Said<'_, '_, '_>) -> Option<Field<u64>> {
    let text = said.text("proxy-body-size")?;
    match bytes(text) {
        // nginx: no limit.
        Some(0) => None,
        Some(bytes) => Some(Field::Is(bytes)),
        None => {
            said.bad(
                "proxy-body-size",
                format!("{text:?} is no size, {CLOSES}: write 8m, 100k or 0 for no limit"),
            );
            Some(Field::Broken)
        }
    }
}
