//! Trying one endpoint behind another until somebody answers.

use std::net::SocketAddr;
use std::time::Duration;

use balance::Pick;
use http1::ResponseHead;

use super::Forward;
use super::attempt::{REPLACED, Terms, Try};
use crate::affinity::Keeping;
use crate::breaker::Limited;
use crate::connect_failure::Fault;
use crate::downstream::{Downstream, Fate};
use crate::group::LeftOut;
use crate::reach::NoConnection;
use crate::reply::{Outcome, Refusal, STATUS_CLIENT_GONE};
use crate::request_body::RequestBody;
use crate::retry::Place;
use crate::session::Visit;
use crate::state::Target;
use crate::transport::Transport;

/// Why the client of a request has no answer yet.
pub(super) enum Unanswered {
    /// There is nobody to try: why, as status and reason.
    Unserved(Refusal),
    /// Nobody answered: why.
    Refused(Refusal),
    /// An endpoint did, with a status in whose place the route has another answer.
    Replaced(u16),
}

impl Unanswered {
    /// What the client is told if nobody else answers.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Unserved(refusal) | Self::Refused(refusal) => refusal,
            Self::Replaced(status) => (status, REPLACED),
        }
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Sends the request to endpoints of `target` until one answers, or none may be tried any more.
///
/// # Errors
/// The client has no answer.
pub(super) async fn tries<S: Transport>(
    work: &Forward<'_>,
    (target, visit): (&Target, Option<&Visit<'_>>),
    down: &mut Downstream<S>,
    body: &mut RequestBody,
    response: &mut ResponseHead,
) -> Result<Outcome, Unanswered> {
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
        let left_out = LeftOut { tried, patience: work.patience() };
        let kept = had.and_then(|had| group.keep(had, left_out));
        kept.or_else(|| group.pick(worker.index, &pick, holding, left_out))
    };
    while let Some(endpoint) = next(&keeping, &tried) {
        let upstream = match work.connection(endpoint, connector, breaker.as_ref(), wants_fresh, down).await {
            Ok(upstream) => upstream,
            Err(NoConnection::Limited(refusal)) => return Err(refusal.into()),
            Err(NoConnection::Failed(failure)) => {
                refusal = (failure.status, failure.reason);
                down.story.endpoint = Some(endpoint.address);
                work.not_connected(&mut down.story, endpoint.address, failure.reason);
                if let Some(outliers) = outliers.as_ref().filter(|_| failure.fault == Fault::Endpoint) {
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
            Try::Failed(status, reason) => return Err((status, reason).into()),
            Try::Replaced(status) => return Err(Unanswered::Replaced(status)),
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
    Err(refusal.into())
}
