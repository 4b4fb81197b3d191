//! Forwarding a request: choosing an endpoint, getting a connection, and trying another where that is safe.

mod attempt;
mod tries;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http1::{RequestHead, ResponseHead};
use model::Listener;
use policy::CorsLines;
use tokio::time::Instant;

use crate::changes::Changes;
use crate::downstream::Downstream;
use crate::fallback;
use crate::forwarded::Forwarded;
use crate::guard::Guard;
use crate::ids::Ids;
use crate::mirror;
use crate::reply::{Extra, Outcome, Refusal, STATUS_CLIENT_GONE, answer_with};
use crate::request_body::RequestBody;
use crate::session::Visit;
use crate::state::{ForwardAction, Target};
use crate::transport::Transport;
use crate::worker::Worker;
use tries::{Unanswered, tries};

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
            mirror::start(work, &target.mirrors, (&down.client, down.requests), body);
            tries(work, (target, visit.as_ref()), down, body, response).await
        }
        Err(refusal) => Err(Unanswered::Unserved(refusal)),
    };
    let unanswered = match sent {
        Ok(outcome) => return outcome,
        Err(unanswered) => unanswered,
    };
    let is_unserved = matches!(unanswered, Unanswered::Unserved(_));
    // What the gateway has against a request is no error of the route's.
    let is_clients = matches!(unanswered, Unanswered::Refused((400..500, _)));
    let (mut status, mut reason) = unanswered.refusal();
    // A client of gRPC looks for the status behind the body, of which a page says nothing.
    let fallback = work.action.fallback.as_deref().filter(|_| !down.is_grpc(work.head));
    let mut challenges = Vec::new();
    if let Some(fallback) = fallback {
        let endpoint = down.story.endpoint;
        // On the heap, where only what goes wrong is.
        if is_unserved {
            match Box::pin(fallback.serve(work, down, body, response)).await {
                Ok(outcome) => return outcome,
                Err(refusal) => (status, reason) = fallback::unserved(refusal),
            }
        } else if fallback.explains(status) && !is_clients {
            if status == 401 {
                challenges.extend(response.values("www-authenticate").map(<[u8]>::to_vec));
            }
            let said = (status, &challenges[..]);
            let explained = Box::pin(fallback.explain(work, said, down, body, response)).await;
            if let Some(outcome) = explained {
                return outcome;
            }
        }
        // It is the route's that is told of.
        down.story.endpoint = endpoint;
    }
    let cors = work.cors.as_ref().map_or(&[][..], CorsLines::as_slice);
    let ours = work.changes.iter().flat_map(|changes| changes.answer_lines(status));
    let challenges = challenges.iter().map(|value| ("WWW-Authenticate", &**value));
    let headers: Vec<_> = cors.iter().copied().chain(ours).chain(challenges).collect();
    let page = work.guard.and_then(|guard| guard.page(status));
    let extra = Extra { headers: &headers, page, ..Default::default() };
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
    tries(work, (target, None), down, body, response).await.map_err(Unanswered::refusal)
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

    /// How long it waits for a connection to an endpoint, in the best case.
    pub(crate) fn patience(&self) -> Duration {
        let timeouts = &self.action.timeouts;
        let most = timeouts.connect.unwrap_or(self.worker.config().timeouts.connect);
        timeouts.request.map_or(most, |request| request.min(most))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.action.timeouts.request.map(|limit| self.started + limit)
    }

    fn is_late(&self) -> bool {
        self.deadline().is_some_and(|at| at <= Instant::now())
    }
}
