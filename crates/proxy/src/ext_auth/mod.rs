//! Services that decide about requests: what they are asked, and what their answers mean.

use std::rc::Rc;
use std::sync::Arc;

use balance::WeightedChoice;
use bytes::BytesMut;
use http1::{Framing, RequestHead, ResponseHead};
use model::{ExtAuthProtocol, Listener, Timeouts};
use policy::{HeadKind, header_refusal};
use tokio::time::Instant;

use crate::capture::{Answer, Capture};
use crate::changes::Changes;
use crate::downstream::Downstream;
use crate::forward::{self, Forward};
use crate::forwarded::Forwarded;
use crate::reply::STATUS_CLIENT_GONE;
use crate::request_body::RequestBody;
use crate::state::{ForwardAction, Target};
use crate::transport::Transport;
use crate::worker::Worker;

/// Headers that the gateway writes for the service itself, whatever a request says in them.
const OWN: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-method", "x-forwarded-uri"];
/// Headers of requests that the service always gets.
const ALWAYS: &str = "authorization";
/// Headers of answers that are the gateway's own to write, beside those of framing and connections.
const NEVER_DOWN: [&str; 5] = ["date", "content-type", "trailer", "alt-svc", "strict-transport-security"];

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
    pub(crate) body: String,
}

impl ExtAuth {
    /// `target`: how its backend is reached; none: not at all.
    pub(crate) fn new(said: &model::ExtAuth, target: Option<Target>) -> Self {
        let timeouts = Timeouts { request: Some(said.timeout), backend_request: None };
        let action = target.map(|target| ForwardAction {
            choice: WeightedChoice::new(&[1]),
            draw_subject: None,
            targets: vec![Some(target)],
            timeouts,
            retry: None,
            session: None,
        });
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
        let ExtAuthProtocol::Http { path, headers_to_backend } = &self.said.protocol;
        for name in headers_to_backend {
            changes.lines_mut().remove_alike(name);
        }
        let question = self.question(worker, down, head, path);
        let answer = match self.ask(worker, listener, down, question).await.ok_or(Denied::Gone)? {
            Ok(answer) if answer.head.status() < 500 => answer,
            Ok(_) => return self.failed("the external authorization service answered with an error"),
            Err(reason) => return self.failed(reason),
        };
        if !(200..300).contains(&answer.head.status()) {
            return Err(Denied::Told(Box::new(denial(answer))));
        }
        for name in headers_to_backend {
            for value in answer.head.values(name) {
                changes.lines_mut().add(name, value);
            }
        }
        Ok(())
    }

    fn failed(&self, reason: &'static str) -> Result<(), Denied> {
        tracing::debug!(backend = %self.said.backend, reason, "external authorization failed");
        if self.said.fails_open { Ok(()) } else { Err(Denied::Failed(self.said.status_on_error, reason)) }
    }

    /// What the service is asked: a request like this one, without its body.
    fn question<S: Transport>(
        &self,
        worker: &Worker,
        down: &Downstream<S>,
        head: &RequestHead,
        prefix: &str,
    ) -> BytesMut {
        let local = down.client.local.to_string();
        let host = if head.authority().is_empty() { &local } else { head.authority() };
        let path = if head.path().starts_with('/') { head.path() } else { "/" };
        let mut uri = path.to_owned();
        if let Some(query) = head.query() {
            uri.push('?');
            uri.push_str(query);
        }
        let client = down.client.address(worker, head).map(|ip| ip.to_string());
        let mut out = BytesMut::new();
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        put(&[head.method().as_bytes(), b" ", prefix.as_bytes(), uri.as_bytes(), b" HTTP/1.1\r\n"]);
        let mut line = |name: &str, value: &[u8]| put(&[name.as_bytes(), b": ", value, b"\r\n"]);
        line("Host", host.as_bytes());
        if let Some(client) = &client {
            line("X-Forwarded-For", client.as_bytes());
        }
        line("X-Forwarded-Proto", down.client.scheme().as_bytes());
        line("X-Forwarded-Host", host.as_bytes());
        line("X-Forwarded-Method", head.method().as_bytes());
        line("X-Forwarded-Uri", uri.as_bytes());
        let asked = self.said.headers_to_ext_auth.iter().map(|name| &**name);
        let is_theirs = |name: &&str| !OWN.contains(name) && !matches!(*name, ALWAYS | "host");
        for name in std::iter::once(ALWAYS).chain(asked.filter(is_theirs)) {
            head.values(name).for_each(|value| line(name, value));
        }
        put(&[b"Content-Length: 0\r\n\r\n"]);
        out
    }

    /// Asks; none: the client is gone meanwhile.
    async fn ask<S: Transport>(
        &self,
        worker: &Rc<Worker>,
        listener: &Arc<Listener>,
        down: &mut Downstream<S>,
        mut question: BytesMut,
    ) -> Option<Result<Answer, &'static str>> {
        let unreachable = "the external authorization service cannot be reached";
        let Some(action) = &self.action else { return Some(Err(unreachable)) };
        let limits = &worker.config().limits;
        let mut head = RequestHead::default();
        if !head.parse(&mut question, limits).unwrap_or(false) {
            return Some(Err("the request is too large for the external authorization service"));
        }
        let capture = Capture::default();
        let mut side = Downstream::new(worker, capture.clone(), down.client.clone());
        let mut body = RequestBody::new(Framing::None, limits);
        let forwarded = Forwarded::new(&down.client, false, false);
        let (ids, started) = (down.story.ids, Instant::now());
        let (cors, guard, changes) = (None, None, None);
        let work =
            Forward { worker, head: &head, action, listener, forwarded, ids, cors, guard, changes, started };
        let mut response = ResponseHead::default();
        let asked = forward::aside(&work, &mut side, &mut body, &mut response);
        let outcome = down.unless_gone(asked).await.ok()?;
        Some(match outcome {
            Ok(outcome) if outcome.status != STATUS_CLIENT_GONE => capture
                .answer(head.method(), limits)
                .ok_or("the external authorization service answered with what cannot be read"),
            Ok(_) => Err("the answer of the external authorization service is too large"),
            Err((504, _)) => Err("the external authorization service did not answer in time"),
            Err(_) => Err(unreachable),
        })
    }
}

/// What a client gets of an answer that does not let it in: all but what belongs to the connection to the service.
fn denial(answer: Answer) -> Denial {
    let Answer { head, body } = answer;
    let is_ours = |name: &str| {
        header_refusal(HeadKind::Response, name).is_some()
            || NEVER_DOWN.iter().any(|own| own.eq_ignore_ascii_case(name))
    };
    let headers = head.headers().filter(|(name, _)| !is_ours(name));
    let content_type = head.values("content-type").next().unwrap_or(b"text/plain; charset=utf-8");
    Denial {
        status: head.status(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        content_type: String::from_utf8_lossy(content_type).into_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
