//! Answers that the gateway gives itself.

use std::borrow::Cow;

use http1::{RequestError, RequestHead};

use crate::connection::Downstream;
use crate::transport::Transport;
use crate::worker::Worker;

/// A short answer: status and a reason, which is body, log word and metric label at once.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: Cow<'static, str>,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
    head_only: bool,
    /// For clients of HTTP/1.0 that asked to keep the connection.
    says_keep_alive: bool,
}

impl Reply {
    /// There are as many connections as there may be.
    pub(crate) const OVERLOADED: Self = Self::constant(503, "too many connections");
    /// A head that did not come in time (RFC 9110 section 15.5.9).
    pub(crate) const HEADER_TIMEOUT: Self = Self::constant(408, "request head timed out");

    const fn constant(status: u16, reason: &'static str) -> Self {
        Self { status, reason: Cow::Borrowed(reason), closes: true, head_only: false, says_keep_alive: false }
    }

    /// For what is no valid request; the connection cannot go on behind it.
    pub(crate) fn refusal(error: RequestError) -> Self {
        Self::constant(error.status(), error.reason())
    }

    /// For a valid request.
    pub(crate) fn to(request: &RequestHead, status: u16, reason: Cow<'static, str>, closes: bool) -> Self {
        let closes = closes || !request.keep_alive();
        let says_keep_alive = !closes && request.version() == http1::Version::Http10;
        Self { status, reason, closes, head_only: request.method() == "HEAD", says_keep_alive }
    }
}

/// Sends it: how many bytes that was, 0 if the client is gone.
pub(crate) async fn send<S: Transport>(worker: &Worker, down: &mut Downstream<S>, reply: &Reply) -> u64 {
    let mut out = worker.take_buffer();
    let connection = match (reply.closes, reply.says_keep_alive) {
        (true, _) => Some("close"),
        (false, true) => Some("keep-alive"),
        (false, false) => None,
    };
    worker.with_date(|date| {
        let answer = http1::Answer {
            status: reply.status,
            body: &reply.reason,
            date: Some(date),
            connection,
            head_only: reply.head_only,
            ..Default::default()
        };
        http1::write_response(&mut out, &answer);
    });
    let length = out.len() as u64;
    let sent = if down.write(worker, &mut out).await { length } else { 0 };
    worker.return_buffer(out);
    sent
}
