//! Forwarding a request: choosing an endpoint, getting a connection, and trying another where that is safe.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balance::Pick;
use http1::{RequestHead, ResponseHead};
use model::Listener;
use policy::{CORS_HEADERS, CorsLines, TraceContext};
use tokio::time::Instant;

use crate::affinity::Keeping;
use crate::breaker::Limited;
use crate::changes::Changes;
use crate::downstream::{Downstream, Fate};
use crate::endpoint::Endpoint;
use crate::exchange::{Exchange, Failure, Limits};
use crate::forwarded::Forwarded;
use crate::guard::Guard;
use crate::ids::Ids;
use crate::mirror;
use crate::outliers::Outliers;
use crate::plan::Plan;
use crate::reach::NoConnection;
use crate::reply::{CLIENT_GONE, Extra, Outcome, Refusal, STATUS_CLIENT_GONE, answer_with, close};
use crate::request_body::RequestBody;
use crate::retry::{Chance, Place};
use crate::session::Visit;
use crate::spans::Tried;
use crate::state::{ForwardAction, Target};
use crate::transport::Transport;
use crate::upstream::Upstream;
use crate::worker::Worker;

/// What a request that was not answered counts for, at least, where endpoints are chosen by the time they take.
const FAILURE_COSTS: Duration = Duration::from_secs(1);

/// A request on its way to an endpoint.
pub(crate) struct Forward<'f> {
    pub(crate) worker: &'f Rc<Worker>,
    pub(crate) head: &'f RequestHead,
    pub(crate) action: &'f ForwardAction,
    pub(crate) listener: &'f Arc<Listener>,
    pub(crate) forwarded: Forwarded,
    pub(crate) ids: Ids,
    /// What the answer says to scripts of other origins, on rules that say it.
    pub(crate) cors: Option<CorsLines<'f>>,
    /// What RoutePolicies ask.
    pub(crate) guard: Option<&'f Guard>,
    /// What they change.
    pub(crate) changes: Option<Rc<Changes>>,
    pub(crate) started: Instant,
}

/// What a try came to.
enum Try {
    Done(Outcome),
    /// Nobody took the request; another endpoint, or a fresh connection to the same one, may.
    Again {
        status: u16,
        reason: &'static str,
        was_reused: bool,
    },
    /// The route asks for another try.
    Retry {
        status: u16,
        reason: &'static str,
    },
    Failed(u16, &'static str),
}

/// What one try is made with.
struct Terms<'t> {
    plan: &'t Plan,
    chance: Option<Chance<'t>>,
    /// The line by which the client keeps this endpoint.
    session: Option<(&'t str, String)>,
    /// Whether somebody wants to know how long the answer takes.
    is_measured: bool,
    /// Who is told of the answer.
    outliers: Option<&'t Outliers>,
    /// Each try is a span of its own.
    context: Option<TraceContext>,
}

/// Sends the request to an endpoint, and its response to the client.
pub(crate) async fn forward<S: Transport>(
    work: &Forward<'_>,
    down: &mut Downstream<S>,
    body: &mut RequestBody,
    response: &mut ResponseHead,
) -> Outcome {
    let visit = work.visit();
    let sent = match work.target(down.client.peer.ip(), visit.as_ref()) {
        Ok(target) => {
            mirror::start(work, &target.mirrors, &down.client, body);
            tries(work, (target, visit.as_ref()), down, body, response).await
        }
        Err(refusal) => Err(refusal),
    };
    let (status, reason) = match sent {
        Ok(outcome) => return outcome,
        Err(refusal) => refusal,
    };
    let headers = work.cors.as_ref().map_or(&[][..], CorsLines::as_slice);
    let page = work.guard.and_then(|guard| guard.page(status));
    let extra = Extra { headers, page, ..Default::default() };
    answer_with(work.worker, down, work.head, body, (status, reason.into()), extra).await
}

/// Sends a copy of a request, of which only this is asked: whether it was answered.
pub(crate) async fn copy<S: Transport>(
    work: &Forward<'_>,
    down: &mut Downstream<S>,
    body: &mut RequestBody,
    response: &mut ResponseHead,
) -> bool {
    let Ok(target) = work.target(down.client.peer.ip(), None) else { return false };
    let sent = tries(work, (target, None), down, body, response).await;
    sent.is_ok_and(|outcome| outcome.status != STATUS_CLIENT_GONE)
}

/// Sends a request of the gateway's own: the outcome of its answer, which `down` gets.
///
/// # Errors
/// Nobody answered: why, as status and reason.
pub(crate) async fn aside<S: Transport>(
    work: &Forward<'_>,
    down: &mut Downstream<S>,
    body: &mut RequestBody,
    response: &mut ResponseHead,
) -> Result<Outcome, Refusal> {
    let target = work.target(down.client.peer.ip(), None)?;
    tries(work, (target, None), down, body, response).await
}

async fn tries<S: Transport>(
    work: &Forward<'_>,
    (target, visit): (&Target, Option<&Visit<'_>>),
    down: &mut Downstream<S>,
    body: &mut RequestBody,
    response: &mut ResponseHead,
) -> Result<Outcome, Refusal> {
    let worker = work.worker;
    let Target { group, hashing, outliers, breaker, kept, names, plan, .. } = target;
    let _under_way = breaker.as_ref().map(|breaker| breaker.admit(Limited::Request)).transpose()?;
    let place = Place::new(breaker.as_ref());
    let connector = target.connector(work.listener).ok_or((500, "backend reference cannot be resolved"))?;
    let mut keeping = kept.map(|kept| Keeping::of(worker, down.client.peer.ip(), kept));
    let hash = hashing.as_ref().and_then(|hashing| hashing.of(work.head, down.client.peer.ip()));
    let pick = Pick {
        hash: hash.unwrap_or_else(|| balance::hash_flow(down.client.peer, down.client.local, down.requests)),
        random: worker.random(),
        turn: group.turn(worker.index),
    };
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut wants_fresh = false;
    let mut refusal = (503, "no endpoint is ready");
    let retry = work.action.retry.as_deref();
    if let Some(retry) = retry {
        retry.count(worker.index);
    }
    let mut retries = 0;
    // Endpoints that did not take the request; retries do not count among them.
    let mut broken = 0;
    let had = visit.and_then(Visit::endpoint);
    let next = |keeping: &Option<Keeping>, tried: &[SocketAddr]| {
        let holding = keeping.as_ref().map(Keeping::holding);
        had.and_then(|had| group.keep(had, tried)).or_else(|| group.pick(worker.index, &pick, holding, tried))
    };
    while let Some(endpoint) = next(&keeping, &tried) {
        let upstream = match work.connection(endpoint, connector, breaker.as_ref(), wants_fresh, down).await {
            Ok(upstream) => upstream,
            Err(NoConnection::Limited(refusal)) => return Err(refusal),
            Err(NoConnection::Failed(failure)) => {
                refusal = (failure.status, failure.reason);
                down.story.endpoint = Some(endpoint.address);
                work.not_connected(&mut down.story, endpoint.address, failure.reason);
                if let Some(outliers) = outliers.as_ref().filter(|_| !failure.is_own) {
                    outliers.note(endpoint.address, None);
                }
                tried.push(endpoint.address);
                broken += 1;
                if broken >= worker.config().tries_max || work.is_late() {
                    break;
                }
                worker.metrics().upstream_retries.add(worker.index, 1);
                continue;
            }
        };
        if let Some(keeping) = &mut keeping {
            keeping.keep(endpoint.address);
        }
        let chance =
            retry.and_then(|r| r.chance(&place, worker.index, retries + 1, worker.random(), work.deadline()));
        let is_secure = down.client.secured.is_some();
        let session = visit.zip(names.as_ref());
        let session = session.and_then(|(visit, names)| visit.line(names, endpoint.address, is_secure));
        let (is_measured, context) = (group.measures(), work.context());
        let terms = Terms { plan, chance, session, is_measured, outliers: outliers.as_deref(), context };
        match work.recorded(terms, endpoint, upstream, down, body, response).await {
            Try::Done(outcome) => return Ok(outcome),
            Try::Failed(status, reason) => return Err((status, reason)),
            Try::Retry { status, reason } => {
                refusal = (status, reason);
                retries += 1;
                tried.push(endpoint.address);
                // Where all have been tried, the first of them may have come to itself.
                if next(&keeping, &tried).is_none() {
                    tried.clear();
                }
                worker.metrics().upstream_retries.add(worker.index, 1);
                if down.waits_out(chance.map_or(Duration::ZERO, |chance| chance.wait)).await.is_err() {
                    return Ok(Outcome { fate: Fate::Close, status: STATUS_CLIENT_GONE, bytes_out: 0 });
                }
            }
            Try::Again { status, reason, was_reused } => {
                refusal = (status, reason);
                // A kept connection that broke says nothing of the endpoint: it gets a second chance on a fresh one.
                if was_reused && !wants_fresh {
                    wants_fresh = true;
                } else {
                    tried.push(endpoint.address);
                    broken += 1;
                }
                if broken >= worker.config().tries_max || work.is_late() {
                    break;
                }
                worker.metrics().upstream_retries.add(worker.index, 1);
            }
        }
    }
    Err(refusal)
}

impl Forward<'_> {
    /// What the client's session is to this request, on routes with sessions.
    fn visit(&self) -> Option<Visit<'_>> {
        let session = self.action.session.as_deref()?;
        let worker = self.worker;
        let (visit, refusal) =
            Visit::new(session, &worker.shared.session_key, self.head, &self.action.targets);
        if let Some(reason) = refusal {
            worker.metrics().session_refused(worker.index, reason);
        }
        Some(visit)
    }

    /// The backend that gets this request: the client's own, or one by weight.
    fn target(&self, client: IpAddr, visit: Option<&Visit<'_>>) -> Result<&Target, Refusal> {
        let draw = || match self.action.draw_subject {
            // The high half, as in the kernel tier.
            Some(subject) => self.action.choice.at((balance::hash_client(client, subject, 0) >> 32) as u32),
            None => self.action.choice.pick(self.worker.random()),
        };
        let drawn = visit.and_then(Visit::target).or_else(draw);
        let Some(drawn) = drawn else {
            return Err((500, "no backend has weight"));
        };
        match &self.action.targets[drawn] {
            Some(target) if target.group.is_empty() => Err((503, "no endpoint is ready")),
            Some(target) => Ok(target),
            None => Err((500, "backend reference cannot be resolved")),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.action.timeouts.request.map(|limit| self.started + limit)
    }

    fn is_late(&self) -> bool {
        self.deadline().is_some_and(|at| at <= Instant::now())
    }

    /// The same as an attempt, and remembered as a span of its own where the trace is recorded.
    async fn recorded<S: Transport>(
        &self,
        terms: Terms<'_>,
        endpoint: &Endpoint,
        upstream: Upstream,
        down: &mut Downstream<S>,
        body: &mut RequestBody,
        response: &mut ResponseHead,
    ) -> Try {
        let Some(context) = terms.context.filter(|_| self.records()) else {
            return self.attempt(terms, endpoint, upstream, down, body, response).await;
        };
        let start = SystemTime::now();
        let came_to = self.attempt(terms, endpoint, upstream, down, body, response).await;
        let (status, error) = match &came_to {
            Try::Done(outcome) if outcome.status == STATUS_CLIENT_GONE => (None, Some(CLIENT_GONE)),
            Try::Done(outcome) => (Some(outcome.status), None),
            Try::Again { reason, .. } | Try::Retry { reason, .. } | Try::Failed(_, reason) => {
                (None, Some(*reason))
            }
        };
        let end = SystemTime::now();
        down.story.tried.push(Tried { context, endpoint: endpoint.address, start, end, status, error });
        came_to
    }

    /// Sends the request over `upstream` and the response to the client.
    async fn attempt<S: Transport>(
        &self,
        terms: Terms<'_>,
        endpoint: &Endpoint,
        mut upstream: Upstream,
        down: &mut Downstream<S>,
        body: &mut RequestBody,
        response: &mut ResponseHead,
    ) -> Try {
        let Terms { plan, chance, session, is_measured, outliers, context } = terms;
        let begun = is_measured.then(Instant::now);
        let worker = self.worker;
        let _active = endpoint.begin(worker.index);
        down.story.endpoint = Some(endpoint.address);
        let written_before = upstream.mark();
        let mut to_up = worker.take_buffer();
        let changes = self.changes.as_deref();
        let target = plan.target(self.head, changes);
        let edited = plan.request_lines(changes);
        let keep_upgrade = self.head.upgrade().is_some()
            // Where the body ends and the new protocol begins is read in more than one way.
            && !self.head.framing().has_body()
            && upstream.can_upgrade();
        let context = context.map(|context| context.to_string());
        let lines = self.ids.lines(&worker.config().ids, context.as_deref());
        self.forwarded.with_edits(&lines, |edits| {
            let edits = http1::Edits {
                lines: edited.as_deref(),
                host: plan.host().or(edits.host),
                target: target.as_deref(),
                keep_upgrade,
                ..*edits
            };
            self.head.write_upstream(&mut to_up, &edits);
        });
        if let Some(sent) = body.replay.bytes() {
            to_up.extend_from_slice(sent);
        }
        // What it knows of a head that broke off belongs to another connection.
        response.clear();
        let limits = self.limits();
        let cors = self.cors.as_ref().map_or(&[][..], CorsLines::as_slice);
        let with_session =
            session.as_ref().map(|(name, value)| [cors, &[(*name, value.as_bytes())]].concat());
        let edits = http1::ResponseEdits {
            insert: with_session.as_deref().unwrap_or(cors),
            // What the endpoint says of CORS would be a second answer.
            remove: if self.cors.is_some() { CORS_HEADERS } else { &[] },
            lines: plan.response_lines(),
            keep_upgrade,
            ..Default::default()
        };
        let mut exchange =
            Exchange::new(worker, down, &mut upstream, self.head, body, response, to_up, edits, limits);
        exchange.chance = chance;
        exchange.compression = self.guard.map_or(&[], Guard::compression);
        exchange.is_measured = is_measured;
        let result = exchange.run().await;
        let (can_reuse, closes_down, has_head, has_sent_all) = (
            exchange.can_reuse_up(),
            exchange.closes_down(),
            exchange.has_begun_answer(),
            exchange.has_sent_request(),
        );
        let bytes_out = exchange.bytes_down;
        let answered = exchange.answered_at;
        exchange.finish();
        if let (Some(begun), Some(answered)) = (begun, answered) {
            endpoint.answered(worker.index, answered - begun);
        }
        if let Some(outliers) = outliers {
            match &result {
                Ok(()) => outliers.note(endpoint.address, Some(response.status())),
                Err(Failure::Retried(status)) => outliers.note(endpoint.address, Some(*status)),
                Err(error) if error.is_endpoints() => outliers.note(endpoint.address, None),
                Err(_) => {}
            }
        }
        let error = match result {
            Ok(()) => {
                let status = response.status();
                if can_reuse {
                    worker.pool.borrow_mut().put(upstream);
                }
                let is_taken = has_sent_all || body.discard(&mut down.read).unwrap_or(false);
                let fate = if closes_down || !is_taken { close(is_taken, down) } else { Fate::Keep };
                return Try::Done(Outcome { fate, status, bytes_out });
            }
            Err(error) => error,
        };
        if error.is_endpoints() {
            endpoint.failed(worker.index);
            if let Some(begun) = begun {
                // Who fails at once is not quick.
                endpoint.answered(worker.index, begun.elapsed().max(FAILURE_COSTS));
            }
            tracing::debug!(endpoint = %endpoint.address, %error, "an endpoint failed a request");
        }
        if has_head {
            let is_clients = matches!(error, Failure::ClientGone | Failure::ClientTimeout);
            down.story.reason = Some(if is_clients { CLIENT_GONE } else { "answer broke off" }.into());
            down.stream.reset_on_close();
            return Try::Done(Outcome { fate: Fate::Close, status: response.status(), bytes_out });
        }
        if matches!(error, Failure::EndpointTimeout)
            && bytes_out == 0
            && has_sent_all
            && is_idempotent(self.head.method())
            && body.replay.bytes().is_some()
            && chance.is_some_and(|chance| chance.takes())
        {
            return Try::Retry { status: 504, reason: "endpoint did not answer in time" };
        }
        self.verdict(error, &upstream, written_before, body, bytes_out)
    }

    /// What a failure before the response's head comes to.
    fn verdict(
        &self,
        error: Failure,
        upstream: &Upstream,
        written_before: u64,
        body: &RequestBody,
        bytes_out: u64,
    ) -> Try {
        match error {
            Failure::Unanswered(error) => {
                let reason = "endpoint closed the connection without an answer";
                self.worker.pool.borrow_mut().forget(upstream);
                // Safe if the endpoint took nothing, or if the method may be repeated (RFC 9110 section 9.2.2): an endpoint
                // that dies takes the requests down with it that it had just begun.
                let is_untouched = upstream.is_untouched(written_before, is_orderly(error.kind()));
                let is_safe = is_untouched || is_idempotent(self.head.method());
                if is_safe && body.replay.bytes().is_some() {
                    Try::Again { status: 502, reason, was_reused: upstream.is_reused }
                } else {
                    Try::Failed(502, reason)
                }
            }
            Failure::InvalidResponse(error) => Try::Failed(502, error.reason()),
            Failure::Encoding(_) => Try::Failed(500, "response cannot be compressed"),
            Failure::UnexpectedResponse => Try::Failed(502, "endpoint answered what was not asked"),
            Failure::BrokenOff => Try::Failed(502, "endpoint closed the connection within its answer"),
            Failure::Retried(status) => {
                Try::Retry { status, reason: "endpoint answered with a status that is tried again" }
            }
            Failure::EndpointTimeout => Try::Failed(504, "endpoint did not answer in time"),
            Failure::ClientLate => Try::Failed(504, "request did not come in time"),
            Failure::BadBody(error) => {
                self.worker.metrics().refused(self.worker.index, error.reason());
                Try::Failed(error.status(), error.reason())
            }
            Failure::ClientTimeout => Try::Failed(408, "request body timed out"),
            Failure::ClientGone => {
                Try::Done(Outcome { fate: Fate::Close, status: STATUS_CLIENT_GONE, bytes_out })
            }
        }
    }

    fn limits(&self) -> Limits {
        let timeouts = &self.worker.config().timeouts;
        let this_try = self.action.timeouts.backend_request.map(|limit| Instant::now() + limit);
        let deadline = match (self.deadline(), this_try) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Limits { deadline, stall: timeouts.stall, idle: timeouts.idle }
    }
}

/// Whether the endpoint closed with FIN, be it that a write met the reset which followed.
fn is_orderly(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe)
}

/// RFC 9110 section 9.2.2: "PUT, DELETE, and safe request methods are idempotent".
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reset_leaves_open_what_the_endpoint_has_read() {
        assert!(is_orderly(io::ErrorKind::UnexpectedEof) && is_orderly(io::ErrorKind::BrokenPipe));
        assert!(!is_orderly(io::ErrorKind::ConnectionReset) && !is_orderly(io::ErrorKind::TimedOut));
    }
}
