use std::sync::Arc;
use std::time::Duration;

use model::{CookieAttributes, SameSite, Session};

use super::values::Said;
use crate::pattern;

/// `session-cookie-name`, default.
const NAME: &str = "INGRESSCOOKIE";

/// Sessions by a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: Arc<str>,
    /// None: the path of the rule.
    pub(crate) path: Option<Arc<str>>,
    /// None: as long as the browser is open.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) attributes: CookieAttributes,
}

/// `affinity: cookie` and what belongs to it.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Cookie> {
    match said.text("affinity")? {
        "cookie" => {}
        other => {
            said.bad("affinity", format!("{other:?} is not \"cookie\", so there are no sessions"));
            return None;
        }
    }
    match said.text("affinity-mode") {
        None | Some("balanced" | "persistent") => {}
        Some(other) => {
            let message =
                format!("{other:?} is neither \"balanced\" nor \"persistent\", so it is persistent");
            said.bad("affinity-mode", message);
        }
    }
    match said.text("affinity-canary-behavior") {
        None | Some("sticky") => {}
        Some("legacy") => {
            let message = "\"legacy\" has no effect: a session keeps what was drawn for it by weight";
            said.left_out("affinity-canary-behavior", message);
        }
        Some(other) => {
            let message = format!("{other:?} is neither \"sticky\" nor \"legacy\", so it is sticky");
            said.bad("affinity-canary-behavior", message);
        }
    }
    let mut name = said.text("session-cookie-name").unwrap_or(NAME);
    if !pattern::is_token(name) || name.len() > Session::NAME_BYTES_MAX {
        said.bad("session-cookie-name", format!("{name:?} is no name of a cookie, so it is {NAME}"));
        name = NAME;
    }
    // RFC 6265 section 4.1.1: "path-value = <any CHAR except CTLs or ";">".
    let is_path = |path: &str| {
        path.starts_with('/') && path.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b';')
    };
    let path = said.text("session-cookie-path");
    if let Some(path) = path.filter(|path| !is_path(path)) {
        said.bad(
            "session-cookie-path",
            format!("{path:?} is no path of a cookie, so it is that of the rule"),
        );
    }
    let outcome = "so the cookie lasts as long as the browser is open";
    let age = said.number("session-cookie-max-age", outcome).and_then(Result::ok);
    let expires = said.number("session-cookie-expires", outcome).and_then(Result::ok);
    // RFC 6265 section 5.3: Max-Age has precedence over Expires.
    let seconds = age.or(expires).filter(|seconds| *seconds > 0);
    Some(Cookie {
        name: name.into(),
        path: path.filter(|path| is_path(path)).map(Into::into),
        lifetime: seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
        attributes: attributes(said),
    })
}

fn attributes(said: &mut Said<'_, '_, '_>) -> CookieAttributes {
    let domain = said.text("session-cookie-domain");
    let is_domain = |domain: &str| pattern::is_dns_name(domain.strip_prefix('.').unwrap_or(domain));
    if let Some(domain) = domain.filter(|domain| !is_domain(domain)) {
        let message =
            format!("{domain:?} is no name of a host, so the cookie is for the one that is asked for");
        said.bad("session-cookie-domain", message);
    }
    let same_site = match said.text("session-cookie-samesite") {
        None | Some("Lax") => SameSite::Lax,
        Some("Strict") => SameSite::Strict,
        Some("None") => SameSite::None,
        Some(other) => {
            let message = format!("{other:?} is none of \"Strict\", \"Lax\" and \"None\", so it is Lax");
            said.bad("session-cookie-samesite", message);
            SameSite::Lax
        }
    };
    CookieAttributes {
        domain: domain.filter(|domain| is_domain(domain)).map(Into::into),
        same_site,
        is_secure: said.flag("session-cookie-secure"),
        spares_old_browsers: said.flag("session-cookie-conditional-samesite-none") == Some(true),
    }
}
