//! What RoutePolicies ask of a request before it goes on: planned when a snapshot is taken up, asked per request. A route without
//! them has none of this.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http1::{Framing, RequestHead};
use model::{
    AttachedPolicies, Compression, DirectResponse, ErrorResponse, Listener, ListenerId, ObjectRef, Policies,
    Share,
};
use policy::Counted;

use crate::auth::{Auth, Denied};
use crate::changes::Changes;
use crate::downstream::Downstream;
use crate::ext_auth::{self, Denial, ExtAuth};
use crate::object_limits::{AtOnce, ObjectLimits};
use crate::rate::Limiter;
use crate::reply::{Page, Refusal};
use crate::state::Target;
use crate::tokens::{Refused, Tokens};
use crate::transport::Transport;
use crate::worker::Worker;

/// What a route asks, by listener.
pub(crate) struct Guards(Box<[(Box<[ListenerId]>, Guard)]>);

/// What a route asks on some of its listeners.
pub(crate) struct Guard {
    policies: Policies,
    limiter: Option<Arc<Limiter>>,
    at_once: Option<AtOnce>,
    auth: Option<Arc<Auth>>,
    tokens: Option<Arc<Tokens>>,
    ext_auth: Option<Box<ExtAuth>>,
}

/// What is to be done with a request that goes on.
#[derive(Default)]
pub(crate) struct Passed {
    /// The most bytes of its body.
    pub(crate) body_max: Option<u64>,
    /// What the endpoint gets otherwise than it came.
    pub(crate) changes: Option<Rc<Changes>>,
    /// Held for as long as it is under way.
    pub(crate) counted: Option<Counted>,
}

/// Why a request does not go on.
pub(crate) enum Stop<'g> {
    /// Its client has gone.
    Gone,
    /// It is answered here.
    Answer(Said<'g>),
    /// It is answered in the words of a service.
    Told(Box<Denial>),
}

/// An answer.
pub(crate) struct Said<'g> {
    pub(crate) status: u16,
    /// A reason for people, and the body where there is no page.
    pub(crate) reason: &'static str,
    pub(crate) page: Option<Page<'g>>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Guards {
    /// None: the route asks nothing. What the same rule had `before` on any of the same listeners, and is still asked, goes on: limits
    /// with what they have counted, users with the passwords that are remembered.
    ///
    /// `limits` are those that routes of one object share, each with the object of this one; `reach` says how the backend of a service is
    /// reached that decides about requests.
    pub(crate) fn new(
        attached: &[AttachedPolicies],
        before: Option<&Self>,
        (object, limits): (&ObjectRef, &mut ObjectLimits),
        mut reach: impl FnMut(&model::ExtAuth) -> Option<Target>,
    ) -> Option<Box<Self>> {
        let mut limiters: Vec<_> = before.into_iter().flat_map(Self::limiters).collect();
        let guard = |one: &AttachedPolicies| {
            let shares = |listeners: &[ListenerId]| listeners.iter().any(|id| one.listeners.contains(id));
            let limiter = one.policies.rate_limit.as_ref().map(|said| {
                if said.is_of_object {
                    return limits.rate(object, said);
                }
                let goes_on =
                    |(on, known): &(&[ListenerId], &Arc<Limiter>)| shares(on) && known.said() == said;
                // Each goes on once: listeners that part count by themselves from then on.
                let known = limiters.iter().position(goes_on).map(|at| limiters.remove(at).1.clone());
                known.unwrap_or_else(|| Arc::new(Limiter::new(said)))
            });
            let at_once = one.policies.concurrency_limit.as_ref().map(|said| limits.at_once(object, said));
            let mut policies = one.policies.clone();
            let auth = one.policies.basic_auth.as_ref().and_then(|said| {
                let mut had = before.into_iter().flat_map(|before| &before.0).filter(|(on, _)| shares(on));
                let known =
                    had.find_map(|(_, guard)| guard.auth.clone().filter(|known| known.said() == said));
                known.or_else(|| Auth::new(said).map(Arc::new))
            });
            let tokens = one.policies.jwt.as_ref().and_then(|said| {
                let mut had = before.into_iter().flat_map(|before| &before.0);
                let known =
                    had.find_map(|(_, guard)| guard.tokens.clone().filter(|known| known.said() == said));
                known.or_else(|| Tokens::new(said).map(Arc::new))
            });
            let ext_auth =
                one.policies.ext_auth.as_ref().map(|said| Box::new(ExtAuth::new(said, reach(said))));
            // Users and keys that cannot be read were refused before they came here; if not, nobody is let in.
            policies.is_closed |= policies.basic_auth.is_some() && auth.is_none();
            policies.is_closed |= policies.jwt.is_some() && tokens.is_none();
            (one.listeners.clone().into(), Guard { policies, limiter, at_once, auth, tokens, ext_auth })
        };
        (!attached.is_empty()).then(|| Box::new(Self(attached.iter().map(guard).collect())))
    }

    /// Those that count, each with its listeners.
    fn limiters(&self) -> impl Iterator<Item = (&[ListenerId], &Arc<Limiter>)> {
        self.0.iter().filter_map(|(listeners, guard)| Some((&**listeners, guard.limiter.as_ref()?)))
    }

    /// All of them.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (Option<&Arc<Limiter>>, Option<&AtOnce>)> {
        self.0.iter().map(|(_, guard)| (guard.limiter.as_ref(), guard.at_once.as_ref()))
    }

    /// What is asked of requests that come in by `listener`.
    pub(crate) fn on(&self, listener: &ListenerId) -> Option<&Guard> {
        self.0.iter().find(|(listeners, _)| listeners.contains(listener)).map(|(_, guard)| guard)
    }
}

impl Guard {
    /// Whether who asks may ask at all; `address` says where the request came from.
    pub(crate) fn lets_in(&self, address: impl FnOnce() -> Option<IpAddr>) -> Result<(), Refusal> {
        if self.policies.is_closed {
            return Err((500, "a RoutePolicy of the route cannot be understood"));
        }
        match &self.policies.ip_rules {
            Some(rules) if !policy::is_let_in(rules, address()) => {
                Err((403, "the route's RoutePolicy does not let this address in"))
            }
            _ => Ok(()),
        }
    }

    /// Asks all else, and waits where that is asked.
    pub(crate) async fn pass<'g, S: Transport>(
        &'g self,
        worker: &Rc<Worker>,
        listener: &Arc<Listener>,
        down: &mut Downstream<S>,
        head: &RequestHead,
    ) -> Result<Passed, Stop<'g>> {
        if let Some(limiter) = &self.limiter {
            let address = || down.client.address(worker, head);
            limiter
                .take(&worker.shared.rates, address, head)
                .map_err(|wait| limited(limiter.said(), wait))?;
        }
        let counted = match &self.at_once {
            Some(at_once) => at_once.admit(down.client.address(worker, head)).map_err(too_many)?,
            None => None,
        };
        let mut changes = Changes::default();
        if let Some(auth) = &self.auth {
            auth.check(worker, down, head, &mut changes).await.map_err(|denied| refused(auth, &denied))?;
        }
        if let Some(tokens) = &self.tokens {
            tokens.check(worker, head, &mut changes).map_err(|refused| not_shown(&refused))?;
        }
        if let Some(asked) = &self.ext_auth {
            let verdict = asked.check(worker, listener, down, head, &mut changes).await;
            verdict.map_err(not_let_in)?;
        }
        self.fault(worker, down).await?;
        if let Some(DirectResponse { status, content_type, body }) = &self.policies.direct_response {
            let page = Some(Page { content_type, body: body.as_bytes() });
            return Err(Said { page, ..said(*status, "direct response") }.into());
        }
        let max = self.policies.request_body_max;
        match (max, head.framing()) {
            (Some(max), Framing::Length(announced)) if announced > max => {
                Err(said(413, "the body is larger than the route's RoutePolicy allows").into())
            }
            _ => Ok(Passed { body_max: max, changes: changes.into_shared(), counted }),
        }
    }

    /// What responses may be compressed with.
    pub(crate) fn compression(&self) -> &[Compression] {
        &self.policies.compression
    }

    /// The body of an error that the gateway answers itself.
    pub(crate) fn page(&self, status: u16) -> Option<Page<'_>> {
        let is_for = |said: &&ErrorResponse| said.statuses.iter().any(|range| range.contains(&status));
        let said = self.policies.error_responses.iter().find(is_for)?;
        Some(Page { content_type: &said.content_type, body: said.body.as_bytes() })
    }

    /// What goes wrong on purpose.
    async fn fault<S: Transport>(
        &self,
        worker: &Worker,
        down: &mut Downstream<S>,
    ) -> Result<(), Stop<'static>> {
        let Some(fault) = &self.policies.fault_injection else { return Ok(()) };
        if let Some(Share { value: time, per_million }) = &fault.delay
            && is_drawn(*per_million, worker.random())
        {
            down.waits_out(*time).await.map_err(|_| Stop::Gone)?;
        }
        match &fault.abort {
            Some(Share { value: status, per_million }) if is_drawn(*per_million, worker.random()) => {
                Err(said(*status, "fault injection").into())
            }
            _ => Ok(()),
        }
    }
}

impl<'g> From<Said<'g>> for Stop<'g> {
    fn from(said: Said<'g>) -> Self {
        Self::Answer(said)
    }
}

fn said(status: u16, reason: &'static str) -> Said<'static> {
    Said { status, reason, page: None, headers: Vec::new() }
}

/// No user with the right password (RFC 7617 section 2), or nobody knows yet.
fn refused(auth: &Auth, denied: &Denied) -> Stop<'static> {
    let (said, header) = match denied {
        Denied::Gone => return Stop::Gone,
        Denied::Wrong => {
            (said(401, "user and password are missing or wrong"), ("WWW-Authenticate", auth.challenge()))
        }
        Denied::Busy => (said(503, "too many passwords wait to be checked"), ("Retry-After", "1".to_owned())),
    };
    Said { headers: vec![header], ..said }.into()
}

/// A service lets nobody in, or cannot be asked.
fn not_let_in(denied: ext_auth::Denied) -> Stop<'static> {
    match denied {
        ext_auth::Denied::Gone => Stop::Gone,
        ext_auth::Denied::Told(denial) => Stop::Told(denial),
        ext_auth::Denied::Failed(status, reason) => said(status, reason).into(),
    }
}

/// No good token (RFC 6750 section 3).
fn not_shown(refused: &Refused) -> Stop<'static> {
    let headers = vec![("WWW-Authenticate", refused.challenge())];
    Said { headers, ..said(refused.status(), refused.reason()) }.into()
}

/// Too many requests (RFC 6585 section 4); when to come again in seconds (RFC 9110 section 10.2.3), and the limit in the words of
/// draft-ietf-httpapi-ratelimit-headers-10.
fn limited(limit: &model::RateLimit, wait: Duration) -> Stop<'static> {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let policy = format!("\"route\";q={};w={}", limit.requests, limit.period.as_secs());
    let headers = vec![
        ("Retry-After", seconds.to_string()),
        ("RateLimit-Policy", policy),
        ("RateLimit", format!("\"route\";r=0;t={seconds}")),
    ];
    Said { headers, ..said(limit.status, "more requests than the route's RoutePolicy allows") }.into()
}

/// Too many requests of its client are under way.
fn too_many(status: u16) -> Stop<'static> {
    said(status, "more requests of this client are under way than the Ingress allows").into()
}

fn is_drawn(per_million: u32, random: u64) -> bool {
    ((random >> 32) * 1_000_000) >> 32 < u64::from(per_million)
}

#[cfg(test)]
mod tests {
    use model::{RateLimit, RateLimitKey};

    use super::*;

    /// Policies for some listeners, with a limit of so many requests.
    fn limited_on(listeners: &[&str], requests: u32) -> AttachedPolicies {
        let listeners = listeners.iter().map(|name| ListenerId::new("test", "gateway", name)).collect();
        let period = Duration::from_secs(60);
        let status = RateLimit::TOO_MANY;
        let (key, exempt) = (RateLimitKey::Route, Vec::new());
        let limit = RateLimit { requests, period, burst: requests, key, exempt, status, is_of_object: false };
        AttachedPolicies { listeners, policies: Policies { rate_limit: Some(limit), ..Default::default() } }
    }

    #[test]
    fn a_limit_goes_on_while_one_of_its_listeners_stays() {
        let of = |guards: &Guards, listener: &str| {
            let guard = guards.on(&ListenerId::new("test", "gateway", listener));
            guard.and_then(|guard| guard.limiter.clone()).unwrap()
        };
        let object = ObjectRef::new(model::ObjectKind::HttpRoute, "test", "r");
        let new = |attached: &[AttachedPolicies], before| {
            Guards::new(attached, before, (&object, &mut ObjectLimits::default()), |_| None).unwrap()
        };
        let first = new(&[limited_on(&["b", "c"], 5)], None);
        let counted = of(&first, "b");
        // One that sorts before the others, and one that goes.
        let wider = new(&[limited_on(&["a", "b", "c"], 5)], Some(&first));
        assert!(Arc::ptr_eq(&of(&wider, "a"), &counted));
        let other = new(&[limited_on(&["c"], 5)], Some(&wider));
        assert!(Arc::ptr_eq(&of(&other, "c"), &counted));
        // Another limit, other listeners.
        assert!(!Arc::ptr_eq(&of(&new(&[limited_on(&["c"], 6)], Some(&other)), "c"), &counted));
        assert!(!Arc::ptr_eq(&of(&new(&[limited_on(&["d"], 5)], Some(&other)), "d"), &counted));
        // Listeners that part do not count together any more.
        let parted = new(&[limited_on(&["a"], 5), limited_on(&["b", "c"], 5)], Some(&wider));
        assert!(Arc::ptr_eq(&of(&parted, "a"), &counted));
        assert!(!Arc::ptr_eq(&of(&parted, "b"), &counted));
    }

    #[test]
    fn a_share_is_drawn_as_often_as_it_says() {
        assert!(!is_drawn(0, 0) && is_drawn(1, 0) && is_drawn(1_000_000, u64::MAX));
        let step = u64::MAX / 10_000;
        let drawn = (0..10_000).filter(|i| is_drawn(250_000, i * step)).count();
        assert!((2499..=2501).contains(&drawn), "{drawn}");
    }
}
