//! One request and its response between a client and one endpoint.
//!
//! A single future drives both directions, so that a response may begin, and end, before the request's body has: each
//! call polls the upload as far as it goes, then the download. Bytes are validated by `http1::Body` and then written
//! from the buffer they were read into.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use compress::EncodeError;
use http1::{BodyError, Framing, RequestHead, ResponseEdits, ResponseError, ResponseHead};
use model::{AnswerRewrites, Compression};
use tokio::time::Instant;

use crate::changes::Changes;
use crate::downstream::Downstream;
use crate::request_body::RequestBody;
use crate::retry::Chance;
use crate::transport::Transport;
use crate::upstream::Upstream;
use crate::worker::{BUFFER_BYTES, Worker};

mod coded;
mod download;
mod drain;
mod splice;
mod tunnel;
mod upload;

use download::Download;
pub(crate) use drain::drain;
use upload::UploadError;

/// A read in the middle of a large body.
const READ_BODY_BYTES: usize = 64 * 1024;

/// How much to read of a body at once: a stream of HTTP/2 gives one DATA frame at a time.
fn read_body_bytes(is_http2: bool) -> usize {
    if is_http2 { BUFFER_BYTES } else { READ_BODY_BYTES }
}

/// Why an exchange did not end as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The endpoint closed or reset the connection before the first byte of an answer: the first error of either
    /// direction, `UnexpectedEof` if it closed.
    #[error("no answer: {0}")]
    Unanswered(io::Error),
    /// What the endpoint sent is no valid response.
    #[error("no valid response: {0}")]
    InvalidResponse(ResponseError),
    /// The endpoint switched protocols without being asked or sent interim responses without end.
    #[error("a response that was not asked for")]
    UnexpectedResponse,
    /// The endpoint stopped in the middle of the response, or its body is not framed as HTTP wants it.
    #[error("the response breaks off")]
    BrokenOff,
    /// There is no memory for more of a response that is compressed.
    #[error("the response cannot be compressed: {0}")]
    Encoding(EncodeError),
    /// The endpoint speaks HTTP/2, which has no form for the request: what of it. The endpoint has got nothing.
    #[error("{0}")]
    Uncarried(&'static str),
    /// The client closed or reset its connection.
    #[error("the client is gone")]
    ClientGone,
    /// The framing of the request's body is not valid.
    #[error("bad request body: {0}")]
    BadBody(BodyError),
    /// The client sent or took nothing for too long.
    #[error("the client stalls")]
    ClientTimeout,
    /// The endpoint answered with this status, and the route wants another try.
    #[error("another try instead of an answer with {0}")]
    Retried(u16),
    /// The endpoint answered with this status, and the route has another answer for it.
    #[error("another answer in the place of one with {0}")]
    Replaced(u16),
    /// The endpoint sent nothing for too long, or the route's time is up.
    #[error("the endpoint is too slow")]
    EndpointTimeout,
    /// The route's time was up while the client had not sent, or not taken, what is its part.
    #[error("the time is up before the client did its part")]
    ClientLate,
}

impl Failure {
    /// Whether it is the endpoint that failed.
    pub(crate) fn is_endpoints(&self) -> bool {
        !matches!(
            self,
            Self::ClientGone
                | Self::BadBody(_)
                | Self::ClientTimeout
                | Self::ClientLate
                | Self::Retried(_)
                | Self::Replaced(_)
                | Self::Encoding(_)
                | Self::Uncarried(_)
        )
    }
}

/// How far the upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Active,
    Over,
    /// The endpoint takes no more; it may still answer.
    Broken,
}

/// Time limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When the route's time is up.
    pub(crate) deadline: Option<Instant>,
    /// An endpoint that sends nothing; none: as long as the gateway has it.
    pub(crate) read: Option<Duration>,
    /// One that takes nothing.
    pub(crate) send: Option<Duration>,
}

pub(crate) struct Exchange<'x, S> {
    pub(crate) worker: &'x Worker,
    pub(crate) down: &'x mut Downstream<S>,
    pub(crate) up: &'x mut Upstream,
    pub(crate) request: &'x RequestHead,
    pub(crate) body: &'x mut RequestBody,
    pub(crate) response: &'x mut ResponseHead,
    limits: Limits,
    edits: ResponseEdits<'x>,
    /// What becomes of places that the response names.
    pub(crate) answers: Option<&'x AnswerRewrites>,
    /// What policies say to the client with the answer.
    pub(crate) changes: Option<&'x Changes>,
    /// Another try that may follow, as the route asks.
    pub(crate) chance: Option<Chance<'x>>,
    /// Statuses of answers that the client gets another one for.
    pub(crate) replaced: &'x [u16],
    /// What the response may be compressed with.
    pub(crate) compression: &'x [Compression],
    to_up: BytesMut,
    to_down: BytesMut,
    upload: Upload,
    upload_error: Option<io::Error>,
    download: Download,
    waits_for_client: bool,
    /// Whether a client that sends nothing may be waiting for the answer: a stream of gRPC is a conversation.
    may_pause: bool,
    moved: usize,
    progress: Instant,
    interims: u32,
    has_continued: bool,
    has_answered: bool,
    has_response_head: bool,
    /// Whether somebody wants to know when the endpoint answered, and when it did.
    pub(crate) is_measured: bool,
    pub(crate) answered_at: Option<Instant>,
    closes_down: bool,
    framing: Framing,
    pub(crate) bytes_down: u64,
    /// What a large body is on its way in.
    pipe: Option<l4::Pipe>,
}

impl<'x, S: Transport> Exchange<'x, S> {
    /// `to_up` holds the request's head for the endpoint, and what a replay sends again; `edits` what the route changes in
    /// the head of the final response, and whether the endpoint was asked for another protocol.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own; a struct would be filled once, here"
    )]
    pub(crate) fn new(
        worker: &'x Worker,
        down: &'x mut Downstream<S>,
        up: &'x mut Upstream,
        request: &'x RequestHead,
        body: &'x mut RequestBody,
        response: &'x mut ResponseHead,
        to_up: BytesMut,
        edits: ResponseEdits<'x>,
        limits: Limits,
    ) -> Self {
        let may_pause = down.is_grpc(request);
        Self {
            worker,
            down,
            up,
            request,
            body,
            response,
            limits,
            edits,
            answers: None,
            changes: None,
            chance: None,
            replaced: &[],
            compression: &[],
            to_up,
            to_down: BytesMut::new(),
            upload: Upload::Active,
            upload_error: None,
            download: Download::Head,
            waits_for_client: false,
            may_pause,
            moved: 0,
            progress: Instant::now(),
            interims: 0,
            has_continued: false,
            has_answered: false,
            has_response_head: false,
            is_measured: false,
            answered_at: None,
            closes_down: false,
            framing: Framing::None,
            bytes_down: 0,
            pipe: None,
        }
    }

    /// Runs to the end of the response.
    pub(crate) async fn run(&mut self) -> Result<(), Failure> {
        // The watchdog is lent out so that the guard may hold it while the exchange holds everything else.
        let mut watchdog = self.down.take_watchdog();
        let result = watchdog
            .guard(|cx| {
                let result = self.poll(cx);
                if self.moved + self.down.stream.take_sent() > 0 {
                    self.moved = 0;
                    self.progress = Instant::now();
                }
                (result, self.deadline())
            })
            .await;
        self.down.return_watchdog(watchdog);
        match result {
            Ok(result) => result,
            // Nobody has said anything for so long that nobody will.
            Err(_) if self.is_tunnel() => Ok(()),
            Err(_) => Err(self.timeout()),
        }
    }

    /// Whether the head of a final response, or a part of an interim one, is on its way to the client: then no other
    /// answer can be given.
    pub(crate) fn has_begun_answer(&self) -> bool {
        let is_within_interim = self.bytes_down > 0 && !self.to_down.is_empty();
        self.has_response_head || is_within_interim
    }

    /// Whether the request can be sent again: all of it is kept, and the client has seen nothing of an answer.
    fn is_repeatable(&self) -> bool {
        self.upload == Upload::Over
            && self.body.replay.bytes().is_some()
            && self.bytes_down == 0
            && self.to_down.is_empty()
    }

    /// How the response's body ends.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the endpoint's connection can carry another request.
    pub(crate) fn can_reuse_up(&self) -> bool {
        self.upload == Upload::Over
            && self.response.keep_alive()
            && self.framing != Framing::UntilClose
            && !self.is_tunnel()
            && self.up.read.is_empty()
            && !self.lies_about_body()
    }

    /// Whether the client's connection ends with this response.
    pub(crate) fn closes_down(&self) -> bool {
        self.closes_down
    }

    /// Whether the endpoint has got all of the request.
    pub(crate) fn has_sent_request(&self) -> bool {
        self.upload == Upload::Over
    }

    /// Gives the scratch buffers back.
    pub(crate) fn finish(self) {
        self.worker.return_buffer(self.to_up);
        self.worker.return_buffer(self.to_down);
        if let Some(pipe) = self.pipe {
            self.worker.pipes.give(pipe);
        }
        if self.up.read.is_empty() {
            self.worker.return_buffer(std::mem::take(&mut self.up.read));
        }
    }

    fn is_tunnel(&self) -> bool {
        matches!(self.download, Download::Tunnel(_))
    }

    /// Whether a response that can have no body announces one, which may come later.
    fn lies_about_body(&self) -> bool {
        let has_length = || self.response.values("content-length").any(|length| length != b"0");
        self.response.status() == 204
            && (self.response.values("transfer-encoding").next().is_some() || has_length())
    }

    /// Whether the client waits for 100 (RFC 9110 section 10.1.1), which has not come.
    fn waits_for_continue(&self) -> bool {
        self.request.expects_continue() && !self.has_continued
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.waits_for_client = false;
        if self.down.stream.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if self.upload == Upload::Active {
            match self.poll_upload(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    self.upload = Upload::Over;
                    self.release_upload();
                }
                Poll::Ready(Err(UploadError::Endpoint(error))) => {
                    if let Some(what) = http2::uncarried(&error) {
                        return Poll::Ready(Err(Failure::Uncarried(what)));
                    }
                    self.upload = Upload::Broken;
                    self.upload_error = Some(error);
                }
                Poll::Ready(Err(UploadError::Client)) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Ready(Err(UploadError::Body(error))) => {
                    return Poll::Ready(Err(Failure::BadBody(error)));
                }
            }
        }
        let done = self.poll_download(cx);
        if done.is_pending() {
            self.release_empty();
        }
        done
    }

    /// Gives back what holds nothing: most exchanges may be quiet for long.
    fn release_empty(&mut self) {
        let buffers = [&mut self.to_up, &mut self.to_down, &mut self.down.read, &mut self.up.read];
        for buffer in buffers.into_iter().filter(|buffer| buffer.is_empty()) {
            self.worker.return_buffer(std::mem::take(buffer));
        }
    }

    /// Gives back what only an upload needs: many requests may wait for their endpoints at once.
    fn release_upload(&mut self) {
        self.worker.return_buffer(std::mem::take(&mut self.to_up));
        if self.down.read.is_empty() {
            self.worker.return_buffer(std::mem::take(&mut self.down.read));
        }
    }

    fn deadline(&self) -> Instant {
        let (timeouts, limits) = (&self.worker.config().timeouts, &self.limits);
        let is_sending = self.upload == Upload::Active && (!self.to_up.is_empty() || self.body.pending > 0);
        let limit = if self.is_tunnel() {
            limits.read.unwrap_or(timeouts.tunnel_idle)
        } else if self.waits_for_client {
            timeouts.stall
        } else {
            if is_sending { limits.send } else { limits.read }.unwrap_or(timeouts.idle)
        };
        let deadline = self.progress + limit;
        self.limits.deadline.map_or(deadline, |at| at.min(deadline))
    }

    fn timeout(&self) -> Failure {
        let is_route_deadline = self.limits.deadline.is_some_and(|at| at <= Instant::now());
        // Nobody may have an endpoint thought ill of by sending half a request to it.
        let is_clients = self.waits_for_client || self.upload == Upload::Active;
        match (is_route_deadline, self.waits_for_client) {
            (false, true) => Failure::ClientTimeout,
            (true, _) if is_clients => Failure::ClientLate,
            _ => Failure::EndpointTimeout,
        }
    }
}
