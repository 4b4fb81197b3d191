//! Answers that the gateway gives itself.

use std::borrow::Cow;

use http1::{LineEdits, RequestError, RequestHead};

use crate::downstream::{Downstream, Fate};
use crate::grpc::GrpcLines;
use crate::request_body::RequestBody;
use crate::story;
use crate::transport::Transport;
use crate::worker::Worker;

/// Why the gateway answers itself: a status, and a reason for people.
pub(crate) type Refusal = (u16, &'static str);

/// How a request ended, for the connection and for the metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) fate: Fate,
    pub(crate) status: u16,
    pub(crate) bytes_out: u64,
}

/// A client that went away before its answer: not a status of HTTP, but one that operators know from nginx.
pub(crate) const STATUS_CLIENT_GONE: u16 = 499;

/// What is told of it.
pub(crate) const CLIENT_GONE: &str = "client gone";

/// A short answer: status and a reason, which is body, log word and metric label at once.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: Cow<'static, str>,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
    head_only: bool,
    /// Whether who asked understands a status of gRPC, which then stands in place of this one.
    is_for_grpc: bool,
    /// For clients of HTTP/1.0 that asked to keep the connection.
    says_keep_alive: bool,
}

impl Reply {
    /// There are as many connections as there may be.
    pub(crate) const OVERLOADED: Self = Self::constant(503, "too many connections");
    /// A head that did not come in time (RFC 9110 section 15.5.9).
    pub(crate) const HEADER_TIMEOUT: Self = Self::constant(408, "request head timed out");

    const fn constant(status: u16, reason: &'static str) -> Self {
        let reason = Cow::Borrowed(reason);
        Self { status, reason, closes: true, head_only: false, is_for_grpc: false, says_keep_alive: false }
    }

    /// For what is no valid request; the connection cannot go on behind it.
    fn refusal(error: RequestError) -> Self {
        Self::constant(error.status(), error.reason())
    }

    /// For a valid request.
    pub(crate) fn to(request: &RequestHead, status: u16, reason: Cow<'static, str>, closes: bool) -> Self {
        let closes = closes || !request.keep_alive();
        let says_keep_alive = !closes && request.version() == http1::Version::Http10;
        let head_only = request.method() == "HEAD";
        Self { status, reason, closes, head_only, is_for_grpc: false, says_keep_alive }
    }
}

/// Header lines of an answer beside those that every one has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra<'a> {
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
    /// What the route changes.
    pub(crate) lines: Option<&'a LineEdits>,
    /// What the body is, instead of the reason; clients of gRPC get that all the same.
    pub(crate) page: Option<Page<'a>>,
}

/// A body that somebody wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

/// Sends it to who has sent no request that could be told of, and tells that.
pub(crate) async fn send<S: Transport>(worker: &Worker, down: &mut Downstream<S>, reply: &Reply) {
    let sent = send_with(worker, down, reply, Extra::default()).await;
    story::tell_refusal(worker, &down.client, reply.status, &reply.reason, sent);
}

/// How many bytes that was, 0 if the client is gone.
async fn send_with<S: Transport>(
    worker: &Worker,
    down: &mut Downstream<S>,
    reply: &Reply,
    extra: Extra<'_>,
) -> u64 {
    let mut out = worker.take_buffer();
    let connection = match (reply.closes, reply.says_keep_alive) {
        (true, _) => Some("close"),
        (false, true) => Some("keep-alive"),
        (false, false) => None,
    };
    let grpc = reply.is_for_grpc.then(|| GrpcLines::new(reply.status, &reply.reason));
    let told = worker.config().reason_header.as_deref().filter(|_| reply.status >= 400);
    let told = told.map(|name| (name, reply.reason.as_bytes()));
    let lines = grpc.as_ref().map(GrpcLines::as_array);
    let lines = lines.iter().flatten().copied().chain(told);
    let headers = match lines.clone().next() {
        Some(_) => Cow::Owned(lines.chain(extra.headers.iter().copied()).collect::<Vec<_>>()),
        None => Cow::Borrowed(extra.headers),
    };
    let (status, page) = if grpc.is_some() { (200, None) } else { (reply.status, extra.page) };
    let body = match (page, &grpc) {
        (Some(page), _) => page.body,
        (None, Some(_)) => &[],
        (None, None) => reply.reason.as_bytes(),
    };
    worker.with_date(|date| {
        let answer = http1::Answer {
            status,
            body,
            content_type: page.map(|page| page.content_type),
            date: Some(date),
            connection,
            head_only: reply.head_only,
            headers: &headers,
            lines: extra.lines,
        };
        http1::write_response(&mut out, &answer);
    });
    let length = out.len() as u64;
    let sent = if down.write(worker, &mut out).await { length } else { 0 };
    worker.return_buffer(out);
    sent
}

/// Refuses what is no valid request, and counts it.
pub(crate) async fn refuse<S: Transport>(worker: &Worker, down: &mut Downstream<S>, error: RequestError) {
    worker.metrics().refused(worker.index, error.reason());
    tracing::debug!(peer = %down.client.peer, reason = error.reason(), "request refused");
    send(worker, down, &Reply::refusal(error)).await;
}

/// Answers from here. The connection goes on if nothing of the request is still to come.
pub(crate) async fn answer<S: Transport>(
    worker: &Worker,
    down: &mut Downstream<S>,
    head: &RequestHead,
    body: &mut RequestBody,
    status: u16,
    reason: impl Into<Cow<'static, str>>,
) -> Outcome {
    answer_with(worker, down, head, body, (status, reason.into()), Extra::default()).await
}

/// The same with more header lines.
pub(crate) async fn answer_with<S: Transport>(
    worker: &Worker,
    down: &mut Downstream<S>,
    head: &RequestHead,
    body: &mut RequestBody,
    (status, reason): (u16, Cow<'static, str>),
    extra: Extra<'_>,
) -> Outcome {
    let is_taken = body.discard(&mut down.read).unwrap_or(false);
    if let Cow::Borrowed(reason) = reason {
        worker.metrics().response_generated(worker.index, reason);
    } else {
        worker.metrics().response_generated(worker.index, "route");
    }
    let mut reply = Reply::to(head, status, reason, !is_taken || worker.is_draining());
    reply.is_for_grpc = status >= 400 && down.is_grpc(head);
    let sent = send_with(worker, down, &reply, extra).await;
    down.story.reason = Some(reply.reason);
    let fate = match (sent, reply.closes) {
        (0, _) => Fate::Close,
        (_, false) => Fate::Keep,
        (_, true) => close(is_taken, down),
    };
    Outcome { fate, status, bytes_out: sent }
}

/// How to close a connection: a client that may still be sending is listened to, so that it gets to read the answer.
pub(crate) fn close<S>(has_taken_all: bool, down: &Downstream<S>) -> Fate {
    if has_taken_all && down.read.is_empty() { Fate::Close } else { Fate::Linger }
}
