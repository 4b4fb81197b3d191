//! Session persistence of a rule (GEP-1619).

use std::sync::Arc;
use std::time::Duration;

use model::{PathMatch, RouteMatch, Session, SessionCarrier};
use policy::{HeadKind, header_refusal};
use resources::gateway::{
    HttpRouteRules, RouteRulesSessionPersistenceCookieConfigLifetimeType as Lifetime,
    RouteRulesSessionPersistenceType as Kind,
};

use super::http_route;
use crate::report::Report;
use crate::{duration, pattern};

/// Whose sessions those of rule `index` of `object` are: its name stays its own when rules move.
pub(crate) fn scope(object: impl std::fmt::Display, rule: &HttpRouteRules, index: u32) -> String {
    match &rule.name {
        Some(name) => format!("{object} rule {name}"),
        None => format!("{object} rule {index}"),
    }
}

/// The sessions of a rule; `field` is the rule's.
pub(crate) fn read(
    rule: &HttpRouteRules,
    scope: &str,
    field: &str,
    report: &mut Report<'_>,
) -> Option<Session> {
    let said = rule.session_persistence.as_ref()?;
    let matches = http_route::matches(rule, field, &mut report.muted_again());
    let field = format!("{field}.sessionPersistence");
    let absolute = timeout(said.absolute_timeout.as_deref(), &format!("{field}.absoluteTimeout"), report);
    let idle = timeout(said.idle_timeout.as_deref(), &format!("{field}.idleTimeout"), report);
    let kind = said.r#type.unwrap_or(Kind::Cookie);
    let carrier = match kind {
        Kind::Cookie => {
            let lifetime = said.cookie_config.as_ref().and_then(|config| config.lifetime_type);
            let is_permanent = lifetime == Some(Lifetime::Permanent);
            if is_permanent && said.absolute_timeout.is_none() {
                report.invalid(
                    format!("{field}.absoluteTimeout"),
                    "is missing: a cookie with lifetimeType Permanent needs it",
                );
            }
            SessionCarrier::Cookie {
                path: cookie_path(&matches),
                is_permanent,
                attributes: Default::default(),
            }
        }
        Kind::Header => {
            if said.cookie_config.is_some() {
                report.invalid(format!("{field}.cookieConfig"), "must not be set for type Header");
            }
            SessionCarrier::Header
        }
    };
    let name = match said.session_name.as_deref() {
        Some(name) => {
            check_name(kind, name, &format!("{field}.sessionName"), report);
            name.into()
        }
        None => format!("rauta-session-{:08x}", balance::subject(scope) >> 32).into(),
    };
    Some(Session { name, scope: scope.into(), carrier, absolute, idle })
}

/// A time in whole seconds, for that is how values tell it.
fn timeout(text: Option<&str>, field: &str, report: &mut Report<'_>) -> Option<Duration> {
    let text = text?;
    match duration::parse(text) {
        None => {
            let message = format!("{text:?} is no duration: write 10s, 500ms or 1h30m");
            report.invalid(field, message);
            None
        }
        Some(Duration::ZERO) => {
            report
                .invalid(field, format!("{text:?} leaves no time for a session: leave it out for no limit"));
            None
        }
        Some(time) => Some(Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))),
    }
}

fn check_name(kind: Kind, name: &str, field: &str, report: &mut Report<'_>) {
    let what = if kind == Kind::Cookie { "cookie" } else { "header" };
    if !pattern::is_token(name) || name.len() > Session::NAME_BYTES_MAX {
        let most = Session::NAME_BYTES_MAX;
        report.invalid(
            field,
            format!("{name:?} is no name of a {what}: write 1 to {most} letters, digits, `-` and `_`"),
        );
        return;
    }
    if kind == Kind::Cookie {
        return;
    }
    let refusal = header_refusal(HeadKind::Request, name).or(header_refusal(HeadKind::Response, name));
    let is_cookies = ["cookie", "set-cookie"].iter().any(|other| name.eq_ignore_ascii_case(other));
    if is_cookies {
        report.invalid(field, format!("{name:?} carries cookies: use type Cookie"));
    } else if let Some(refusal) = refusal {
        report.invalid(field, format!("{name:?} {refusal}"));
    }
}

/// `Path` of the cookie: that of the rule, if it has one, else all of them.
///
/// Cookies and PathPrefix compare alike, by path elements (RFC 6265 section 5.1.4).
fn cookie_path(matches: &[RouteMatch]) -> Arc<str> {
    let path = |one: &RouteMatch| match &one.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => Some(path.clone()),
        PathMatch::StringPrefix(_) | PathMatch::Regex(_) => None,
    };
    let mut paths = matches.iter().map(path);
    let first = paths.next().flatten().filter(|first| paths.all(|other| other.as_ref() == Some(first)));
    // RFC 6265 section 4.1.1: "path-value = <any CHAR except CTLs or ";">".
    let fits = |path: &Arc<str>| {
        !path.is_empty() && path.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b';')
    };
    first.filter(fits).unwrap_or_else(|| "/".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(path: PathMatch) -> RouteMatch {
        RouteMatch { path, method: None, headers: vec![], queries: vec![] }
    }

    #[test]
    fn the_cookie_is_for_the_path_that_all_matches_have() {
        let (exact, prefix) =
            (|p: &str| on(PathMatch::Exact(p.into())), |p: &str| on(PathMatch::Prefix(p.into())));
        for (matches, expected) in [
            (vec![], "/"),
            (vec![prefix("")], "/"),
            (vec![prefix("/shop")], "/shop"),
            (vec![exact("/shop")], "/shop"),
            (vec![prefix("/shop"), exact("/shop")], "/shop"),
            (vec![prefix("/shop"), prefix("/cart")], "/"),
            (vec![prefix("/shop"), on(PathMatch::StringPrefix("/shop".into()))], "/"),
            (vec![prefix("/a;Domain=b")], "/"),
            (vec![prefix("/a b")], "/"),
        ] {
            assert_eq!(&*cookie_path(&matches), expected, "{matches:?}");
        }
    }
}
