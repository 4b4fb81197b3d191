//! Services that decide about requests: what they are asked, and what their answers mean.

mod grpc;
mod http;
mod subrequest;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use http1::{Framing, LineEdits, RequestHead, ResponseHead};
use model::{ExtAuthProtocol, Listener, Timeouts};
use tokio::time::Instant;

use crate::capture::{Answer, Capture};
use crate::changes::Changes;
use crate::client::Client;
use crate::downstream::Downstream;
use crate::forward::{self, Forward};
use crate::forwarded::Forwarded;
use crate::reply::Refusal;
use crate::request_body::RequestBody;
use crate::state::{ForwardAction, Target};
use crate::transport::Transport;
use crate::worker::Worker;

/// Why nothing is known where the service could be reached.
const WITH_AN_ERROR: &str = "the external authorization service answered with an error";
const UNREADABLE: &str = "the answer of the external authorization service cannot be read";
const INCOMPLETE: &str = "the answer of the external authorization service is too large, or breaks off";
/// The question gets longer than heads may be: RFC 6585 section 5.
const TOO_LARGE: Refusal = (431, "the request is too large for the external authorization service");
/// Of requests the service gets it as it came.
const AUTHORIZATION: &str = "authorization";

/// A service that a route asks.
pub(crate) struct ExtAuth {
    said: model::ExtAuth,
    /// None: it cannot be spoken to.
    action: Option<ForwardAction>,
}

/// Why a request does not go on.
pub(crate) enum Denied {
    /// Its client wants no answer any more.
    Gone,
    /// The service says so, in its own words.
    Told(Box<Denial>),
    /// The service cannot be asked.
    Failed(u16, &'static str),
}

/// The answer of a service that lets nobody in.
pub(crate) struct Denial {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// The request that a service is asked about.
struct Asked<'a> {
    worker: &'a Worker,
    client: &'a Client,
    head: &'a RequestHead,
    /// What policies before this one have said about it.
    said: &'a LineEdits,
    is_http2: bool,
    /// What of its headers the service gets, in lower case.
    sees: &'a [Arc<str>],
}

/// A request of the gateway's own.
struct Question {
    head: BytesMut,
    body: Vec<u8>,
}

impl Asked<'_> {
    /// The host that is asked for, or the address that was dialled.
    fn host(&self) -> String {
        let host = self.head.authority();
        if host.is_empty() { self.client.local.to_string() } else { host.to_owned() }
    }

    /// Path and query, as they are routed.
    fn uri(&self) -> String {
        let path = if self.head.path().starts_with('/') { self.head.path() } else { "/" };
        match self.head.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// The header lines that the endpoint would get: what clients say where policies speak is not among them. `Authorization` is as it came.
    fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let is_authorization = |name: &str| name.eq_ignore_ascii_case(AUTHORIZATION);
        let came = self.head.headers_end_to_end();
        let came =
            came.filter(move |(name, _)| is_authorization(name) || !self.said.removes(name.as_bytes()));
        came.chain(self.said.added().filter(move |(name, _)| !is_authorization(name)))
    }

    /// Who asks; none: nobody knows.
    fn address(&self) -> Option<IpAddr> {
        self.client.address(self.worker, self.head)
    }
}

impl ExtAuth {
    /// `target`: how its backend is reached; none: not at all.
    pub(crate) fn new(said: &model::ExtAuth, target: Option<Target>) -> Self {
        let timeouts = Timeouts { request: Some(said.timeout), ..Timeouts::default() };
        let action = target.map(|target| ForwardAction::only(target, timeouts));
        Self { said: said.clone(), action }
    }

    /// Whether the service lets the request in; what endpoints get of its answer goes into `changes`.
    pub(crate) async fn check<S: Transport>(
        &self,
        worker: &Rc<Worker>,
        listener: &Arc<Listener>,
        down: &mut Downstream<S>,
        head: &RequestHead,
        changes: &mut Changes,
    ) -> Result<(), Denied> {
        let asked = self.asked(worker, down, head, changes.lines());
        let question = match &self.said.protocol {
            ExtAuthProtocol::Http { path, .. } => http::question(&asked, path),
            ExtAuthProtocol::Grpc => Ok(grpc::question(&asked)),
            ExtAuthProtocol::Subrequest(said) => subrequest::question(&asked, said),
        };
        // Clients that could make the question fail could open what fails open.
        let question = question.map_err(|(status, reason)| Denied::Failed(status, reason))?;
        let to_backend = self.said.protocol.headers_to_backend();
        to_backend.iter().for_each(|name| changes.lines_mut().remove_alike(name));
        let answer = match self.ask(worker, listener, down, question).await? {
            Ok(answer) if answer.head.status() >= 500 => return self.failed(worker, WITH_AN_ERROR),
            Ok(answer) => answer,
            Err(reason) => return self.failed(worker, reason),
        };
        let verdict = match &self.said.protocol {
            ExtAuthProtocol::Http { .. } => http::verdict(answer, to_backend, changes),
            ExtAuthProtocol::Subrequest(said) => {
                let sign_in = (answer.head.status() == 401)
                    .then(|| subrequest::sign_in(&self.asked(worker, down, head, changes.lines()), said));
                subrequest::verdict(answer, sign_in.flatten(), said, changes)
            }
            ExtAuthProtocol::Grpc => grpc::verdict(&answer, head, changes),
        };
        match verdict {
            Ok(None) => Ok(()),
            Ok(Some(denial)) => Err(Denied::Told(Box::new(denial))),
            Err(reason) => self.failed(worker, reason),
        }
    }

    fn asked<'a, S: Transport>(
        &'a self,
        worker: &'a Worker,
        down: &'a Downstream<S>,
        head: &'a RequestHead,
        said: &'a LineEdits,
    ) -> Asked<'a> {
        let (client, is_http2) = (&*down.client, down.stream.is_http2());
        Asked { worker, client, head, said, is_http2, sees: &self.said.headers_to_ext_auth }
    }

    fn failed(&self, worker: &Worker, reason: &'static str) -> Result<(), Denied> {
        tracing::debug!(backend = %self.said.backend, reason, "external authorization failed");
        let (outcome, done) = match self.said.fails_open {
            true => ("open", Ok(())),
            false => ("closed", Err(Denied::Failed(self.said.status_on_error, reason))),
        };
        worker.metrics().ext_auth_failures.inc(worker.index, outcome);
        done
    }

    /// Asks. The inner error says why nobody has answered.
    ///
    /// # Errors
    /// The client is gone meanwhile, or it is to blame that nobody can be asked.
    async fn ask<S: Transport>(
        &self,
        worker: &Rc<Worker>,
        listener: &Arc<Listener>,
        down: &mut Downstream<S>,
        Question { head: mut text, body: content }: Question,
    ) -> Result<Result<Answer, &'static str>, Denied> {
        let unreachable = "the external authorization service cannot be reached";
        let Some(action) = &self.action else { return Ok(Err(unreachable)) };
        let limits = &worker.config().limits;
        let mut head = RequestHead::default();
        if !head.parse(&mut text, limits).unwrap_or(false) {
            let (status, reason) = TOO_LARGE;
            return Err(Denied::Failed(status, reason));
        }
        let capture = Capture::default();
        let mut side = Downstream::new(worker, capture.clone(), down.client.clone());
        // It has come already, as behind a head that a client sends in one piece.
        side.read.extend_from_slice(&content);
        let framing = if content.is_empty() { Framing::None } else { Framing::Length(content.len() as u64) };
        let mut body = RequestBody::new(framing, limits);
        let forwarded = Forwarded::new(&down.client, false, false);
        let (ids, started) = (down.story.ids, Instant::now());
        let (cors, guard, changes) = (None, None, None);
        let work =
            Forward { worker, head: &head, action, listener, forwarded, ids, cors, guard, changes, started };
        let mut response = ResponseHead::default();
        let asked = forward::aside(&work, &mut side, &mut body, &mut response);
        let outcome = down.unless_gone(asked).await.map_err(|_| Denied::Gone)?;
        Ok(match outcome {
            Ok(_) => capture.answer(head.method(), limits).ok_or(UNREADABLE),
            // It is the request that cannot be asked about.
            Err((status @ 400, reason)) => return Err(Denied::Failed(status, reason)),
            Err((504, _)) => Err("the external authorization service did not answer in time"),
            Err(_) => Err(unreachable),
        })
    }
}
