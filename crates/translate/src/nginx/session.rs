use std::sync::Arc;
use std::time::Duration;

use model::Session;

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
    })
}
