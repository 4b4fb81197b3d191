//! Clients that keep backend and endpoint by a value which they bring back (GEP-1619).

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http1::RequestHead;
use model::{Backend, BackendId, CookieAttributes, SameSite, Session, SessionCarrier};
use policy::SessionToken;

use crate::session_key::SessionKey;
use crate::state::Target;

/// Values of one request that are looked at: rules of nested paths may use one name.
const VALUES_MAX: usize = 8;

/// Why a value is of no use: no gateway with this key wrote it for this rule.
const FORGED: &str = "forged";

/// Endpoints of a backend that take requests, by what values call them.
pub(crate) struct Names {
    backend: BackendId,
    endpoints: HashMap<u64, SocketAddr>,
}

impl Names {
    pub(crate) fn new(backend: &Backend, key: &SessionKey) -> Self {
        // One that drains is as good as gone.
        let takes = |e: &&model::Endpoint| e.condition.takes_requests() && e.weight > 0;
        let name = |e: &model::Endpoint| (key.endpoint(&backend.id, e.address), e.address);
        let endpoints = backend.endpoints.iter().filter(takes).map(name).collect();
        Self { backend: backend.id.clone(), endpoints }
    }
}

/// What a client's session is to one request.
pub(crate) struct Visit<'s> {
    session: &'s Session,
    key: &'s SessionKey,
    now_s: u32,
    had: Option<Had>,
    /// Whether nothing is said of other sites to the client's browser, which would misread it.
    is_spared: bool,
}

/// What a client brought that holds.
struct Had {
    /// The place of its backend in the route.
    target: usize,
    endpoint: SocketAddr,
    token: SessionToken,
}

impl<'s> Visit<'s> {
    /// Reads what the request brings, and says why it is of no use.
    pub(crate) fn new(
        session: &'s Session,
        key: &'s SessionKey,
        head: &RequestHead,
        targets: &[Option<Target>],
    ) -> (Self, Option<&'static str>) {
        let mut visit = Self { session, key, now_s: now_s(), had: None, is_spared: is_spared(session, head) };
        let mut refusal = None;
        for value in values(session, head).take(VALUES_MAX) {
            let refused = match visit.judge(value, targets) {
                Ok(had) => {
                    visit.had = Some(had);
                    return (visit, None);
                }
                Err(refused) => refused,
            };
            // The one of this route tells most.
            refusal = refusal.filter(|earlier| *earlier != FORGED).or(Some(refused));
        }
        (visit, refusal)
    }

    /// The backend that the client has, by its place in the route.
    pub(crate) fn target(&self) -> Option<usize> {
        self.had.as_ref().map(|had| had.target)
    }

    /// The endpoint that it has.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.had.as_ref().map(|had| had.endpoint)
    }

    /// The line by which it gets this endpoint of the backend; none: it has it, and keeps what it brought.
    pub(crate) fn line(
        &self,
        names: &Names,
        endpoint: SocketAddr,
        is_secure: bool,
    ) -> Option<(&'s str, String)> {
        let name = self.key.endpoint(&names.backend, endpoint);
        let had = self.had.as_ref().map(|had| had.token).filter(|token| token.endpoint == name);
        if had.is_some_and(|token| !token.is_due(self.session.idle, self.now_s)) {
            return None;
        }
        let issued_s = had.map_or(self.now_s, |token| token.issued_s);
        let token = SessionToken { endpoint: name, issued_s, seen_s: self.now_s };
        let value = self.key.seal(&self.session.scope, token);
        let SessionCarrier::Cookie { path, is_permanent, attributes } = &self.session.carrier else {
            return Some((&self.session.name, value));
        };
        let mut cookie = format!("{}={value}; Path={path}", self.session.name);
        if let Some(absolute) = self.session.absolute.filter(|_| *is_permanent) {
            // Writing to text cannot fail.
            let _ = write!(cookie, "; Max-Age={}", token.seconds_left(absolute, self.now_s));
        }
        let CookieAttributes { domain, same_site, is_secure: of_route, .. } = attributes;
        if let Some(domain) = domain {
            let _ = write!(cookie, "; Domain={domain}");
        }
        cookie.push_str("; HttpOnly");
        cookie.push_str(if of_route.unwrap_or(is_secure) { "; Secure" } else { "" });
        if !self.is_spared {
            let _ = write!(cookie, "; SameSite={}", same_site.as_str());
        }
        Some(("Set-Cookie", cookie))
    }

    fn judge(&self, value: &[u8], targets: &[Option<Target>]) -> Result<Had, &'static str> {
        let Session { scope, absolute, idle, .. } = self.session;
        let token = self.key.open(scope, value).ok_or(FORGED)?;
        if token.is_over(*absolute, *idle, self.now_s) {
            return Err("expired");
        }
        let of = |target: &Option<Target>| {
            target.as_ref()?.names.as_ref()?.endpoints.get(&token.endpoint).copied()
        };
        let mut found = targets.iter().enumerate().filter_map(|(place, target)| Some((place, of(target)?)));
        let (target, endpoint) = found.next().ok_or("endpoint gone")?;
        Ok(Had { target, endpoint, token })
    }
}

/// The values that a request brings under the session's name.
fn values<'h>(session: &'h Session, head: &'h RequestHead) -> impl Iterator<Item = &'h [u8]> {
    let is_cookie = matches!(session.carrier, SessionCarrier::Cookie { .. });
    let lines = head.values(if is_cookie { "cookie" } else { &session.name });
    lines.flat_map(move |line| {
        let cookies = is_cookie.then(|| policy::cookie_values(line, &session.name));
        cookies.into_iter().flatten().chain((!is_cookie).then_some(line))
    })
}

/// Whether the request comes from a browser that does not know what the cookie says of other sites, where it is to be spared that.
fn is_spared(session: &Session, head: &RequestHead) -> bool {
    let SessionCarrier::Cookie { attributes, .. } = &session.carrier else { return false };
    let asks = attributes.spares_old_browsers && attributes.same_site == SameSite::None;
    let agent = head.values("user-agent").next().map(String::from_utf8_lossy);
    asks && agent.is_some_and(|agent| !policy::knows_same_site_none(&agent))
}

/// Seconds since 1970: values are read after a restart, and by other gateways.
fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
