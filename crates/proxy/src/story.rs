//! What is told of a request when it is over: in the access log, and in spans.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http1::{RequestHead, Version};
use model::Listener;
use telemetry::Protocol;
use telemetry::access::{Entry, Show};
use tokio::time::Instant;

use crate::client::Client;
use crate::downstream::Downstream;
use crate::ids::Ids;
use crate::reply::{CLIENT_GONE, Outcome, STATUS_CLIENT_GONE};
use crate::spans::{self, Tried};
use crate::transport::Transport;
use crate::worker::Worker;

/// Statuses from here on are always logged.
const FAILED: u16 = 400;

/// What is learned of a request under way.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) ids: Ids,
    /// Why the gateway answered itself, or broke the answer off.
    pub(crate) reason: Option<Cow<'static, str>>,
    /// Who had it last.
    pub(crate) endpoint: Option<SocketAddr>,
    /// How long connecting took, where that was done for it.
    pub(crate) connect: Option<Duration>,
    /// Its tries, if its trace is recorded.
    pub(crate) tried: Vec<Tried>,
    /// When the head of the final response was there.
    pub(crate) answered: Option<Instant>,
}

/// A request that is over.
pub(crate) struct Told<'t> {
    pub(crate) story: &'t Story,
    pub(crate) protocol: Protocol,
    pub(crate) head: &'t RequestHead,
    pub(crate) listener: Option<&'t Listener>,
    pub(crate) route: Option<&'t model::Route>,
    pub(crate) started: Instant,
    pub(crate) bytes_in: u64,
    pub(crate) outcome: Outcome,
}

/// Logs a request and sends its spans, if that is to be done.
pub(crate) fn tell(worker: &Worker, client: &Client, told: &Told<'_>) {
    let Told { story, head, outcome, started, .. } = told;
    let is_quiet = told.route.is_some_and(|route| route.is_unlogged) && !is_failed(outcome.status);
    let is_logged = worker.logs(outcome.status) && !is_quiet;
    if !is_logged && worker.config().spans.is_none() {
        return;
    }
    let took = started.elapsed();
    let now = SystemTime::now();
    let began = now.checked_sub(took);
    spans::send(worker, client, told, began.unwrap_or(now), now);
    if !is_logged {
        return;
    }
    worker.log(&Entry {
        time: began,
        listener: told.listener.map(|listener| &listener.id as &dyn Show),
        route: told.route.map(|route| &route.id as &dyn Show),
        endpoint: story.endpoint,
        method: Some(head.method()),
        host: Some(head.host()).filter(|host| !host.is_empty()),
        path: Some(head.sent_path()),
        query: head.query(),
        status: outcome.status,
        reason: story.reason.as_deref().or((outcome.status == STATUS_CLIENT_GONE).then_some(CLIENT_GONE)),
        bytes_in: Some(told.bytes_in),
        bytes_out: Some(outcome.bytes_out),
        duration: Some(took),
        first_byte: story.answered.map(|at| at.duration_since(*started)),
        connect: story.connect,
        protocol: Some(told.protocol.as_str()),
        user_agent: head.values("user-agent").next(),
        request_id: story.ids.request_id(&worker.config().ids, head),
        trace_id: story.ids.trace.map(|trace| trace.own.trace),
        ..of_client(client)
    });
}

/// What a request came by.
pub(crate) fn protocol<S: Transport>(down: &Downstream<S>, head: &RequestHead) -> Protocol {
    match head.version() {
        _ if down.stream.is_http2() => Protocol::Http2,
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
    }
}

/// Logs what was refused before there was a request.
pub(crate) fn tell_refusal(worker: &Worker, client: &Client, status: u16, reason: &str, bytes_out: u64) {
    if worker.logs(status) {
        worker.log(&Entry {
            time: Some(SystemTime::now()),
            status,
            reason: Some(reason),
            bytes_out: Some(bytes_out),
            ..of_client(client)
        });
    }
}

/// Whether a request with this status is always logged.
pub(crate) fn is_failed(status: u16) -> bool {
    status >= FAILED
}

fn of_client(client: &Client) -> Entry<'_> {
    let (tls_version, sni) = match &client.tls {
        Some(tls) => (tls.version, Some(&*tls.name).filter(|name| !name.is_empty())),
        None => (None, None),
    };
    Entry {
        client: Some(client.peer),
        tier: 3,
        bytes_in: Some(0),
        bytes_out: Some(0),
        tls_version,
        sni,
        ..Default::default()
    }
}
