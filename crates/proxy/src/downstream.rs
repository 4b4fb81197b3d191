//! A client's side of a connection: reading heads, writing answers, ending well.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http1::{RequestError, RequestHead};
use tokio::time::Instant;

use crate::client::Client;
use crate::io::{poll_read, poll_write_both};
use crate::story::Story;
use crate::transport::Transport;
use crate::watchdog::{Expired, Watchdog};
use crate::worker::Worker;

/// A read of requests.
const READ_BYTES: usize = 4 * 1024;
/// How long a refused client is listened to, so that it can read why. However much it sends: closing in the middle of an
/// upload would reset the connection under the answer.
const LINGER: Duration = Duration::from_secs(2);

/// The client's side of a connection.
pub(crate) struct Downstream<S> {
    pub(crate) stream: S,
    pub(crate) client: Rc<Client>,
    /// Bytes that came and are not yet taken.
    pub(crate) read: BytesMut,
    /// Requests so far.
    pub(crate) requests: u64,
    /// Of the request under way.
    pub(crate) story: Story,
    watchdog: Option<Watchdog>,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The next request may come.
    Keep,
    /// All is said.
    Close,
    /// The client may still be sending: closing at once would reset the connection before it has read the answer.
    Linger,
}

/// The client wants no answer any more.
pub(crate) struct Gone;

/// How much of HTTP/2's preface is there.
enum Preface {
    Absent,
    Partly,
    Whole,
}

/// What a connection brings next.
pub(crate) enum Next {
    Request,
    Closed,
    /// The preface of HTTP/2 instead of a first request; it is in the read buffer.
    Http2,
    Refused(RequestError),
    TimedOut,
}

impl<S: Transport> Downstream<S> {
    pub(crate) fn new(worker: &Worker, stream: S, client: Rc<Client>) -> Self {
        Self {
            stream,
            client,
            read: BytesMut::new(),
            requests: 0,
            story: Story::default(),
            watchdog: Some(Watchdog::new(worker.config().timeouts.idle)),
        }
    }

    /// Whether `request` is one of gRPC, which is HTTP/2's alone.
    pub(crate) fn is_grpc(&self, request: &RequestHead) -> bool {
        self.stream.is_http2() && http1::is_grpc(request.values("content-type"))
    }

    /// Reads until a whole head is there.
    pub(crate) async fn next_request(&mut self, worker: &Worker, head: &mut RequestHead) -> Next {
        let timeouts = worker.config().timeouts;
        let mut begun = None;
        loop {
            match self.preface() {
                Preface::Whole => return Next::Http2,
                Preface::Partly => {}
                Preface::Absent => match head.parse(&mut self.read, &worker.config().limits) {
                    Ok(true) => return Next::Request,
                    Ok(false) => {}
                    Err(error) => return Next::Refused(error),
                },
            }
            let deadline = match (self.read.is_empty(), begun) {
                (true, _) => Instant::now() + timeouts.idle,
                (false, None) => *begun.insert(Instant::now() + timeouts.header_read),
                (false, Some(deadline)) => deadline,
            };
            match self.read_more(worker, deadline).await {
                Ok(Ok(0) | Err(_)) => return Next::Closed,
                Ok(Ok(_)) => {}
                Err(Expired) if self.read.is_empty() => return Next::Closed,
                Err(Expired) => return Next::TimedOut,
            }
        }
    }

    /// Waits for bytes. A connection that waits for its next request holds no buffer, and ends soon when the gateway
    /// drains.
    async fn read_more(
        &mut self,
        worker: &Worker,
        deadline: Instant,
    ) -> Result<std::io::Result<usize>, Expired> {
        let mut watchdog = self.take_watchdog();
        let mut deadline = deadline;
        let mut knows_of_draining = false;
        let result = watchdog
            .guard(|cx| {
                if self.read.capacity() == 0 {
                    self.read = worker.take_buffer();
                }
                let read = poll_read(&mut self.stream, cx, &mut self.read, READ_BYTES);
                if read.is_pending() && self.read.is_empty() {
                    worker.return_buffer(std::mem::take(&mut self.read));
                    if worker.is_draining() {
                        if !knows_of_draining {
                            knows_of_draining = true;
                            deadline = deadline.min(Instant::now() + worker.config().timeouts.drain_idle);
                        }
                    } else {
                        worker.park(self.client.connection, cx.waker());
                    }
                }
                (read, deadline)
            })
            .await;
        self.return_watchdog(watchdog);
        result
    }

    /// How much of the preface of HTTP/2 the connection begins with.
    fn preface(&self) -> Preface {
        let begins = self.requests == 0 && self.read.first() == http2::PREFACE.first();
        if !begins {
            Preface::Absent
        } else if self.read.starts_with(http2::PREFACE) {
            Preface::Whole
        } else if http2::PREFACE.starts_with(&self.read) {
            Preface::Partly
        } else {
            Preface::Absent
        }
    }

    /// Writes `out`; false if the client is gone or takes nothing.
    pub(crate) async fn write(&mut self, worker: &Worker, out: &mut BytesMut) -> bool {
        let mut watchdog = self.take_watchdog();
        let stall = worker.config().timeouts.stall;
        let mut deadline = Instant::now() + stall;
        let (mut none, mut pending) = (BytesMut::new(), 0);
        let written = watchdog
            .guard(|cx| {
                let mut moved = 0;
                let taken = |_: &[u8]| {};
                let done =
                    poll_write_both(&mut self.stream, cx, out, &mut none, &mut pending, taken, &mut moved);
                let done = match done {
                    Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(cx),
                    done => done,
                };
                if moved + self.stream.take_sent() > 0 {
                    deadline = Instant::now() + stall;
                }
                (done, deadline)
            })
            .await;
        self.return_watchdog(watchdog);
        matches!(written, Ok(Ok(())))
    }

    /// Waits so long.
    ///
    /// # Errors
    /// The client has said meanwhile that it wants no answer.
    pub(crate) async fn waits_out(&mut self, time: Duration) -> Result<(), Gone> {
        let mut watchdog = self.take_watchdog();
        let gone = watchdog.timeout(time, self.stream.gone()).await;
        self.return_watchdog(watchdog);
        match gone {
            Ok(()) => Err(Gone),
            Err(Expired) => Ok(()),
        }
    }

    /// Waits for `future`.
    ///
    /// # Errors
    /// The client has said meanwhile that it wants no answer; `future` is dropped.
    pub(crate) async fn unless_gone<F: Future>(&mut self, future: F) -> Result<F::Output, Gone> {
        tokio::select! {
            biased;
            () = self.stream.gone() => Err(Gone),
            done = future => Ok(done),
        }
    }

    /// Waits until the client has taken what was written.
    pub(crate) async fn finish(&mut self, worker: &Worker) {
        self.write(worker, &mut BytesMut::new()).await;
    }

    /// Says goodbye where that is to be said.
    pub(crate) async fn close(&mut self) {
        if !self.stream.says_goodbye() {
            return;
        }
        let mut watchdog = self.take_watchdog();
        let deadline = Instant::now() + LINGER;
        let _ = watchdog.guard(|cx| (Pin::new(&mut self.stream).poll_shutdown(cx), deadline)).await;
        self.return_watchdog(watchdog);
    }

    /// Says that nothing more comes, and takes what the client still sends for a while.
    pub(crate) async fn linger(&mut self) {
        let mut watchdog = self.take_watchdog();
        let deadline = Instant::now() + LINGER;
        let mut is_shut = false;
        let _ = watchdog
            .guard(|cx| {
                if !is_shut {
                    match Pin::new(&mut self.stream).poll_shutdown(cx) {
                        Poll::Pending => return (Poll::Pending, deadline),
                        Poll::Ready(Err(_)) => return (Poll::Ready(()), deadline),
                        Poll::Ready(Ok(())) => is_shut = true,
                    }
                }
                loop {
                    self.read.clear();
                    match poll_read(&mut self.stream, cx, &mut self.read, READ_BYTES) {
                        Poll::Pending => return (Poll::Pending, deadline),
                        Poll::Ready(Ok(read)) if read > 0 && Instant::now() < deadline => {}
                        Poll::Ready(_) => return (Poll::Ready(()), deadline),
                    }
                }
            })
            .await;
        self.return_watchdog(watchdog);
    }

    /// Takes the connection's timer, to wait with it; it must be returned.
    pub(crate) fn take_watchdog(&mut self) -> Watchdog {
        self.watchdog.take().unwrap_or_else(|| Watchdog::new(LINGER))
    }

    pub(crate) fn return_watchdog(&mut self, watchdog: Watchdog) {
        self.watchdog = Some(watchdog);
    }
}
