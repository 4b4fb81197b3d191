//! Answers that send clients elsewhere.

use std::sync::Arc;

use model::{PathRewrite, Reason, Redirect, Scheme, WildcardLabels};
use policy::path_problem;
use resources::core::Ingress;

use super::settings::{Instead, Nginx};
use super::values::{Said, field};
use crate::pattern;
use crate::report::Report;

const STATUSES: [u32; 5] = [301, 302, 303, 307, 308];
/// `http-redirect-code` of ingress-nginx, for redirects to HTTPS and between names.
pub(super) const STATUS_DEFAULT: u16 = 308;

/// When requests over HTTP are sent to HTTPS.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Https {
    /// `force-ssl-redirect`.
    is_forced: bool,
    /// `ssl-redirect`.
    asked: Option<bool>,
}

impl Https {
    /// Whether those for a host are: `is_named` for HTTPS by the Ingress; `by_default`: where nothing is written.
    pub(crate) fn redirects(self, is_named: bool, by_default: bool) -> bool {
        self.is_forced || self.asked.map_or(by_default, |asked| asked && is_named)
    }
}

/// What annotations say of HTTPS.
pub(super) fn https(said: &mut Said<'_, '_, '_>) -> Https {
    Https { is_forced: said.flag("force-ssl-redirect").unwrap_or(false), asked: said.flag("ssl-redirect") }
}

/// To HTTPS; `port`: where it is not the usual one.
pub(crate) fn to_https(port: Option<u16>) -> Redirect {
    Redirect { scheme: Some(Scheme::Https), port, ..Redirect::new(STATUS_DEFAULT) }
}

/// What requests get instead of going on.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Instead> {
    let is_relative = said.flag("relative-redirects").unwrap_or(false);
    // The redirect parser of ingress-nginx asks for the temporal one first.
    for (name, code, default) in [
        ("temporal-redirect", "temporal-redirect-code", 302),
        ("permanent-redirect", "permanent-redirect-code", 301),
    ] {
        let Some(url) = said.text(name) else { continue };
        let status = match said.number(code, &format!("so it is {default}")) {
            Some(Ok(status)) if STATUSES.contains(&status) => u16::try_from(status).unwrap_or(default),
            Some(Ok(status)) => {
                said.bad(code, format!("{status} is none of 301, 302, 303, 307 and 308, so it is {default}"));
                default
            }
            Some(Err(())) | None => default,
        };
        return Some(match target(url, status) {
            Ok(redirect) => Instead::Redirect(Redirect { is_relative, ..redirect }),
            Err(problem) => {
                said.bad(name, format!("{url:?} {problem}, so the Ingress answers 500"));
                Instead::Refuse("an annotation of the Ingress is no URL to redirect to")
            }
        });
    }
    None
}

/// A redirect to a URL, or to a path of the same host. It may end with `$request_uri`: then path and query of the request follow it.
///
/// # Errors
/// Why it cannot be.
pub(super) fn target(url: &str, status: u16) -> Result<Redirect, String> {
    let (url, goes_on) = without_request_uri(url);
    if url.contains('$') {
        return Err("has a variable that is not served; there is $request_uri at the end".to_owned());
    }
    // RFC 3986 section 4.2: two slashes begin a host.
    if url.starts_with('/') && !url.starts_with("//") {
        let path = path(url, goes_on)?;
        return Ok(Redirect { path, ..Redirect::new(status) });
    }
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err("is no URL that begins with http:// or https://, and no path".to_owned()),
    };
    let (authority, rest) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            (host, Some(port.ok_or("has a port that is none")?))
        }
        None => (authority, None),
    };
    let is_name = pattern::is_dns_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok();
    if !is_name {
        return Err("has no name of a host".to_owned());
    }
    let (scheme, hostname, path) = (Some(scheme), Some(host.into()), path(rest, goes_on)?);
    Ok(Redirect { scheme, hostname, port, path, ..Redirect::new(status) })
}

/// The path of a redirect; `goes_on`: with that of the request behind it.
fn path(path: &str, goes_on: bool) -> Result<Option<PathRewrite>, String> {
    if let Some(problem) = Some(path).filter(|path| !path.is_empty()).and_then(path_problem) {
        return Err(format!("has a path that {problem}"));
    }
    Ok(rewrite(path, goes_on))
}

/// A URL, and whether path and query of the request follow it.
pub(super) fn without_request_uri(url: &str) -> (&str, bool) {
    url.strip_suffix("$request_uri").map_or((url, false), |url| (url, true))
}

/// The path of such a URL, which may be empty; none: that of the request.
pub(super) fn rewrite(path: &str, goes_on: bool) -> Option<PathRewrite> {
    match (goes_on, path) {
        (true, "") => None,
        (true, path) => Some(PathRewrite::Prefix { matched: "".into(), replacement: path.into() }),
        (false, "") => Some(PathRewrite::Full("/".into())),
        (false, path) => Some(PathRewrite::Full(path.into())),
    }
}

/// Where requests for `/` are sent: `return 302 $scheme://$http_host…` in the template, whatever is said of redirects.
pub(super) fn app_root(said: &mut Said<'_, '_, '_>) -> Option<Redirect> {
    let path = said.text("app-root")?;
    if let Some(problem) = path_problem(path) {
        said.bad("app-root", format!("{path:?} {problem}, so it has no effect"));
        return None;
    }
    let path = Some(PathRewrite::Full(path.into()));
    Some(Redirect { path, ..Redirect::new(302) })
}

/// The other name of a host, with or without `www.`; none: it has no other.
pub(crate) fn other_name(host: &str, report: &mut Report<'_>) -> Option<(model::HostPattern, Redirect)> {
    let other = pattern::host(&with_or_without_www(host), "spec.rules", WildcardLabels::One, report)?;
    let hostname: Option<Arc<str>> = Some(host.into());
    Some((other, Redirect { hostname, ..Redirect::new(STATUS_DEFAULT) }))
}

/// The name with `www.` of one without, and the other way round.
pub(crate) fn with_or_without_www(host: &str) -> String {
    host.strip_prefix("www.").map_or_else(|| format!("www.{host}"), str::to_owned)
}

/// Says once of an Ingress that names by a wildcard have no other name.
pub(crate) fn report_wildcards(said: &Nginx, ingress: &Ingress, report: &mut Report<'_>) {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let mut hosts = rules.filter_map(|rule| rule.host.as_deref()).filter(|host| host.starts_with("*."));
    if let Some(host) = hosts.next().filter(|_| said.joins_www) {
        let message = format!("{host:?} is a wildcard, which has no other name, so it has no effect there");
        report.warning(Reason::Unsupported, field("from-to-www-redirect"), message);
    }
}

#[cfg(test)]
mod tests {
    use policy::{Asked, location};

    use super::*;

    #[test]
    fn what_is_written_of_https_counts_before_the_default() {
        // forced, asked, named, by default
        for (is_forced, asked, named, by_default, expected) in [
            (false, None, true, true, true),
            (false, None, true, false, false),
            (false, Some(false), true, true, false),
            (false, Some(true), true, false, true),
            (false, Some(true), false, false, false),
            (true, None, false, false, true),
            (true, Some(false), false, false, true),
        ] {
            let https = Https { is_forced, asked };
            assert_eq!(https.redirects(named, by_default), expected, "{https:?} {named} {by_default}");
        }
    }

    #[test]
    fn locations_are_those_of_nginx() {
        let asked =
            Asked { scheme: Scheme::Http, host: "a.test", listener_port: 80, path: "/x/y", query: None };
        for (url, expected) in [
            ("https://b.test", "https://b.test/"),
            ("https://b.test/", "https://b.test/"),
            ("https://b.test:8443/new", "https://b.test:8443/new"),
            ("http://b.test$request_uri", "http://b.test/x/y"),
            ("https://b.test/old$request_uri", "https://b.test/old/x/y"),
            ("/new", "http://a.test/new"),
            ("/old$request_uri", "http://a.test/old/x/y"),
        ] {
            let redirect = target(url, 301).unwrap();
            assert_eq!(location(&redirect, &asked), expected, "{url}");
        }
        for url in [
            "path",
            "//b.test/",
            "/a b",
            "/$host",
            "$request_uri",
            "ftp://b.test",
            "https://",
            "https://$host/",
            "https://b.test:0",
            "https://b.test/a b",
        ] {
            assert!(target(url, 301).is_err(), "{url}");
        }
    }
}
