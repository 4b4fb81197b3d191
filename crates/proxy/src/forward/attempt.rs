//! One try: the request over one connection, and what its end means.

use std::io;
use std::time::{Duration, SystemTime};

use http1::ResponseHead;
use policy::{CORS_HEADERS, CorsLines, TraceContext};
use tokio::time::Instant;

use super::Forward;
use crate::downstream::{Downstream, Fate};
use crate::endpoint::Endpoint;
use crate::exchange::{Exchange, Failure, Limits, drain};
use crate::fallback::Fallback;
use crate::guard::Guard;
use crate::outliers::Outliers;
use crate::plan::Plan;
use crate::reply::{CLIENT_GONE, Outcome, STATUS_CLIENT_GONE, close};
use crate::request_body::RequestBody;
use crate::retry::Chance;
use crate::spans::Tried;
use crate::transport::Transport;
use crate::upstream::Upstream;

/// What a request that was not answered counts for, at least, where endpoints are chosen by the time they take.
const FAILURE_COSTS: Duration = Duration::from_secs(1);

/// An answer that the client does not get, nor another one.
pub(super) const REPLACED: &str =
    "endpoint answered with this status, and the default backend does not answer";

/// What a try came to.
pub(super) enum Try {
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
    /// An endpoint answered with this status, in whose place the route has another answer.
    Replaced(u16),
}

/// What one try is made with.
pub(super) struct Terms<'t> {
    pub(super) plan: &'t Plan,
    pub(super) chance: Option<Chance<'t>>,
    /// The line by which the client keeps this endpoint.
    pub(super) session: Option<(&'t str, String)>,
    /// Whether somebody wants to know how long the answer takes.
    pub(super) is_measured: bool,
    /// Who is told of the answer.
    pub(super) outliers: Option<&'t Outliers>,
    /// Each try is a span of its own.
    pub(super) context: Option<TraceContext>,
}

impl Forward<'_> {
    /// The same as an attempt, and remembered as a span of its own where the trace is recorded.
    pub(super) async fn recorded<S: Transport>(
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
            Try::Replaced(_) => (None, Some(REPLACED)),
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
        exchange.answers = plan.answers();
        exchange.changes = changes;
        exchange.compression = self.guard.map_or(&[], Guard::compression);
        exchange.is_measured = is_measured;
        exchange.replaced = self.action.fallback.as_deref().map_or(&[], Fallback::replaced);
        let result = exchange.run().await;
        let (can_reuse, closes_down, has_head, has_sent_all) = (
            exchange.can_reuse_up(),
            exchange.closes_down(),
            exchange.has_begun_answer(),
            exchange.has_sent_request(),
        );
        let (bytes_out, framing) = (exchange.bytes_down, exchange.framing());
        let answered = exchange.answered_at;
        exchange.finish();
        if let (Some(begun), Some(answered)) = (begun, answered) {
            endpoint.answered(worker.index, answered - begun);
        }
        if let Some(outliers) = outliers {
            match &result {
                Ok(()) => outliers.note(endpoint.address, Some(response.status())),
                Err(Failure::Retried(status) | Failure::Replaced(status)) => {
                    outliers.note(endpoint.address, Some(*status));
                }
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
                let is_taken = body.discard(&mut down.read).unwrap_or(false);
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
        let is_rest_read = matches!(error, Failure::Replaced(_)) && has_sent_all && response.keep_alive();
        let verdict = self.verdict(error, &upstream, written_before, body, bytes_out);
        if is_rest_read {
            drain(worker, upstream, framing);
        }
        verdict
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
            Failure::Uncarried(what) => Try::Failed(400, what),
            Failure::InvalidResponse(error) => Try::Failed(502, error.reason()),
            Failure::Encoding(_) => Try::Failed(500, "response cannot be compressed"),
            Failure::UnexpectedResponse => Try::Failed(502, "endpoint answered what was not asked"),
            Failure::BrokenOff => Try::Failed(502, "endpoint closed the connection within its answer"),
            Failure::Retried(status) => {
                Try::Retry { status, reason: "endpoint answered with a status that is tried again" }
            }
            Failure::Replaced(status) => Try::Replaced(status),
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
        let timeouts = &self.action.timeouts;
        let this_try = timeouts.backend_request.map(|limit| Instant::now() + limit);
        let deadline = match (self.deadline(), this_try) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Limits { deadline, read: timeouts.read, send: timeouts.send }
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
