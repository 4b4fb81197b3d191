//! Who answers where a route's endpoints do not, or not well.
//!
//! What no endpoint can serve goes to it as it is. In place of an error it is asked for `/`; its answer, with the status that it has, is
//! the client's, who gets the error itself where there is none.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http1::ResponseHead;
use model::{HeaderLine, Timeouts};
use tokio::time::Instant;

use crate::bodiless::{bodiless, with_query};
use crate::changes::Changes;
use crate::downstream::Downstream;
use crate::forward::{self, Forward};
use crate::reply::{Outcome, Refusal};
use crate::request_body::RequestBody;
use crate::state::{ForwardAction, Target};
use crate::transport::Transport;

/// How long the answer to an error may take in all.
const TIME_MAX: Duration = Duration::from_secs(30);
/// What is said of a request that no endpoint can serve.
const NONE_READY: u16 = 503;
/// What may make an answer another one than the whole page (RFC 9110 sections 13.1 and 14.2).
const CONDITIONS: [&str; 6] =
    ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"];

/// What is said of a request that it cannot serve either: why, unless that is the client's doing.
pub(crate) fn unserved((status, reason): Refusal) -> Refusal {
    (
        status,
        if status < 500 { reason } else { "no endpoint is ready, and the default backend does not answer" },
    )
}

pub(crate) struct Fallback {
    statuses: Box<[u16]>,
    keeps_answers: bool,
    lines: Arc<[HeaderLine]>,
    serves: ForwardAction,
    explains: ForwardAction,
}

impl Fallback {
    /// `serves`: requests as the rule changes them; `explains`: errors.
    pub(crate) fn new(said: &model::Fallback, timeouts: Timeouts, serves: Target, explains: Target) -> Self {
        let limited = Timeouts { request: Some(TIME_MAX), ..Timeouts::default() };
        Self {
            statuses: said.statuses.as_slice().into(),
            keeps_answers: said.keeps_answers,
            lines: Arc::clone(&said.lines),
            serves: ForwardAction::only(serves, timeouts),
            explains: ForwardAction::only(explains, limited),
        }
    }

    /// What it does.
    pub(crate) fn actions(&self) -> [&ForwardAction; 2] {
        [&self.serves, &self.explains]
    }

    /// Statuses of endpoints' answers that clients do not get.
    pub(crate) fn replaced(&self) -> &[u16] {
        if self.keeps_answers || !self.is_there() { &[] } else { &self.statuses }
    }

    /// Whether it is asked in place of an error of this status.
    pub(crate) fn explains(&self, status: u16) -> bool {
        self.statuses.contains(&status) && self.is_there()
    }

    /// Sends it a request that no endpoint can serve.
    ///
    /// # Errors
    /// Nobody answered: why, as status and reason.
    pub(crate) async fn serve<S: Transport>(
        &self,
        work: &Forward<'_>,
        down: &mut Downstream<S>,
        body: &mut RequestBody,
        response: &mut ResponseHead,
    ) -> Result<Outcome, Refusal> {
        let changes = Some(Rc::new(self.changes(work, NONE_READY)));
        // What clients may not say of themselves, they may not say behind the body either.
        body.forbid_trailers(changes.as_ref());
        let (forwarded, cors) = (work.forwarded.clone(), work.cors.clone());
        let work = Forward { action: &self.serves, forwarded, cors, changes, ..*work };
        forward::aside(&work, down, body, response).await
    }

    /// Asks it in place of an error, whose `challenges` the client gets, too; none: it does not answer.
    pub(crate) async fn explain<S: Transport>(
        &self,
        work: &Forward<'_>,
        (status, challenges): (u16, &[Vec<u8>]),
        down: &mut Downstream<S>,
        body: &mut RequestBody,
        response: &mut ResponseHead,
    ) -> Option<Outcome> {
        let limits = &work.worker.config().limits;
        // Nobody reads what is still to come of the request, which the client is told with the answer.
        let is_taken = body.discard(&mut down.read).unwrap_or(false);
        let method = if work.head.method() == "HEAD" { "HEAD" } else { "GET" };
        let head = bodiless(work.head, method, &with_query("/", work.head.query()), !is_taken, limits)?;
        let mut changes = self.changes(work, status);
        CONDITIONS.iter().for_each(|name| changes.lines_mut().remove(name));
        changes.set_challenges(challenges.to_vec());
        let changes = Some(Rc::new(changes));
        let (forwarded, cors) = (work.forwarded.clone(), work.cors.clone());
        let (action, started) = (&self.explains, Instant::now());
        let work = Forward { head: &head, action, forwarded, cors, changes, started, guard: None, ..*work };
        let mut nothing = RequestBody::instead(is_taken, limits);
        forward::aside(&work, down, &mut nothing, response).await.ok()
    }

    /// Whether somebody could answer.
    fn is_there(&self) -> bool {
        self.explains.targets.iter().flatten().any(|target| !target.group.is_empty())
    }

    /// What it is told of the request, whatever the client says.
    fn changes(&self, work: &Forward<'_>, status: u16) -> Changes {
        let mut changes = work.changes.as_deref().cloned().unwrap_or_default();
        let path = work.head.sent_path();
        // As it came, or what policies have put in its place.
        let uri = match (changes.query(), work.head.query()) {
            (Some(query), _) => with_query(path, Some(query)),
            (None, Some(query)) => format!("{path}?{query}"),
            (None, None) => path.to_owned(),
        };
        let accepted: Vec<_> = work.head.values("accept").collect();
        let code = status.to_string();
        let own = [
            ("X-Code", code.as_bytes()),
            ("X-Format", &accepted.join(&b", "[..])),
            ("X-Original-URI", uri.as_bytes()),
        ];
        let lines = self.lines.iter().map(|line| (&*line.name, line.value.as_bytes()));
        for (name, value) in own.into_iter().chain(lines) {
            changes.lines_mut().remove_alike(name);
            if !value.is_empty() {
                changes.lines_mut().add(name, value);
            }
        }
        changes
    }
}
