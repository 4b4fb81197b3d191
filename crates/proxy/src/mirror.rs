//! Copies of requests for other backends, whose answers nobody sees.
//!
//! A copy is a request of its own, with a task of its own: what the endpoint of the original does, it does not wait for.
//! Body bytes come through a buffer as the original's are taken from the client; a copy that does not keep up is given up.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use balance::Copies;
use bytes::{Buf, BytesMut};
use http1::ResponseHead;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::bodiless::{bodiless, with_query};
use crate::client::Client;
use crate::downstream::Downstream;
use crate::forward::{self, Forward};
use crate::request_body::RequestBody;
use crate::state::ForwardAction;
use crate::transport::Transport;
use crate::worker::Worker;

/// Body bytes that wait for one copy's endpoint: several reads of a client that sends at full speed.
const BUFFER_BYTES_MAX: usize = 512 * 1024;
/// Copies under way on one thread.
const ACTIVE_MAX: usize = 256;
/// How long a copy may take in all.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(30);

/// Who gets copies of shares of what goes to a target.
#[derive(Default)]
pub(crate) struct Mirrors {
    all: Vec<Mirror>,
    copies: Copies,
}

/// Who gets copies.
#[derive(Clone)]
pub(crate) struct Mirror {
    /// Its one target, and the limit of time.
    pub(crate) action: Arc<ForwardAction>,
    /// Whether copies have the body.
    pub(crate) has_body: bool,
}

impl Mirrors {
    /// Those of a list, each with the share of requests that are copied.
    pub(crate) fn new(all: impl IntoIterator<Item = (Mirror, (u32, u32))>) -> Self {
        let (all, shares): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        Self { all, copies: Copies::new(shares) }
    }

    /// What they do.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &Arc<ForwardAction>> {
        self.all.iter().map(|mirror| &mirror.action)
    }

    /// Those that get a copy of the `number`th request of this client's connection.
    fn of(&self, client: &Client, number: u64, worker: &Worker) -> impl Iterator<Item = &Mirror> {
        let places = if self.all.is_empty() {
            Vec::new()
        } else {
            self.copies.of(client.lot(worker, number), || worker.random())
        };
        places.into_iter().filter_map(|place| self.all.get(place))
    }
}

/// Starts the copies of a request, the `number`th of the client's connection, and makes `body` feed them.
pub(crate) fn start(
    work: &Forward<'_>,
    mirrors: &Mirrors,
    (client, number): (&Rc<Client>, u64),
    body: &mut RequestBody,
) {
    let worker = work.worker;
    // What follows an upgrade is no message that could be copied.
    if work.head.upgrade().is_some() {
        return;
    }
    for Mirror { action, has_body } in mirrors.of(client, number, worker) {
        let limits = &worker.config().limits;
        let head = if *has_body || !work.head.framing().has_body() {
            Some(work.head.clone())
        } else {
            let target = with_query(work.head.path(), work.head.query());
            bodiless(work.head, work.head.method(), &target, false, limits)
        };
        let Some(head) = head else {
            worker.metrics().mirrored(worker.index, "failed");
            continue;
        };
        let Some(active) = Active::begin(worker) else {
            worker.metrics().mirrored(worker.index, "too many");
            continue;
        };
        let tapped = Rc::new(RefCell::new(Tapped::default()));
        if head.framing().has_body() {
            body.taps.push(Tap(tapped.clone()));
        }
        let (worker, client) = (worker.clone(), client.clone());
        let (action, listener) = (action.clone(), work.listener.clone());
        let (forwarded, ids, changes) = (work.forwarded.clone(), work.ids, work.changes.clone());
        tokio::task::spawn_local(async move {
            let mut down = Downstream::new(&worker, Copy(tapped.clone()), client);
            let mut body = RequestBody::new(head.framing(), &worker.config().limits);
            let started = Instant::now();
            let work = Forward {
                worker: &worker,
                head: &head,
                action: &action,
                listener: &listener,
                forwarded,
                ids,
                cors: None,
                guard: None,
                changes,
                started,
            };
            let is_answered = forward::copy(&work, &mut down, &mut body, &mut ResponseHead::default()).await;
            let result = match (is_answered, tapped.borrow().is_lost) {
                (_, true) => "too slow",
                (true, false) => "ok",
                (false, false) => "failed",
            };
            worker.metrics().mirrored(worker.index, result);
            drop(active);
        });
    }
}

/// Counts a copy as under way until it goes.
struct Active(Rc<Worker>);

impl Active {
    fn begin(worker: &Rc<Worker>) -> Option<Self> {
        let active = worker.mirrors.get();
        (active < ACTIVE_MAX).then(|| {
            worker.mirrors.set(active + 1);
            Self(worker.clone())
        })
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

/// The original's end of a copy's body. Without it no more bytes come: of a body that is not whole by then, the copy breaks off.
pub(crate) struct Tap(Rc<RefCell<Tapped>>);

/// What came of a body and is not yet taken.
#[derive(Default)]
struct Tapped {
    bytes: BytesMut,
    is_over: bool,
    /// It did not keep up.
    is_lost: bool,
    reader: Option<Waker>,
    watcher: Option<Waker>,
}

impl Tap {
    /// Hands bytes of the body over.
    pub(crate) fn copy(&self, bytes: &[u8]) {
        let mut tapped = self.0.borrow_mut();
        if tapped.is_lost {
            return;
        }
        if tapped.bytes.len() + bytes.len() > BUFFER_BYTES_MAX {
            tapped.is_lost = true;
            tapped.bytes = BytesMut::new();
        } else {
            tapped.bytes.extend_from_slice(bytes);
        }
        tapped.wake();
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut tapped = self.0.borrow_mut();
        tapped.is_over = true;
        tapped.wake();
    }
}

impl Tapped {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.watcher.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// The client that a copy seems to come from: it sends the body and takes every answer.
struct Copy(Rc<RefCell<Tapped>>);

impl AsyncRead for Copy {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut tapped = self.0.borrow_mut();
        if tapped.bytes.is_empty() {
            if tapped.is_over || tapped.is_lost {
                return Poll::Ready(Ok(()));
            }
            tapped.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let size = tapped.bytes.len().min(buf.remaining());
        buf.put_slice(&tapped.bytes[..size]);
        tapped.bytes.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Copy {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Copy {
    fn reset_on_close(&mut self) {}

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut tapped = self.0.borrow_mut();
        if tapped.is_lost {
            return Poll::Ready(());
        }
        tapped.watcher = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn pair() -> (Tap, Copy) {
        let tapped = Rc::new(RefCell::new(Tapped::default()));
        (Tap(tapped.clone()), Copy(tapped))
    }

    #[tokio::test]
    async fn a_copy_reads_what_was_tapped_up_to_its_end() {
        let (tap, mut copy) = pair();
        tap.copy(b"one ");
        tap.copy(b"two");
        drop(tap);
        let mut all = String::new();
        copy.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "one two");
    }

    #[tokio::test]
    async fn a_copy_that_does_not_keep_up_is_given_up_and_holds_nothing() {
        let (tap, mut copy) = pair();
        let mut cx = Context::from_waker(Waker::noop());
        tap.copy(&vec![0; BUFFER_BYTES_MAX]);
        assert!(copy.poll_gone(&mut cx).is_pending());
        tap.copy(b"x");
        assert!(copy.poll_gone(&mut cx).is_ready());
        assert_eq!(copy.0.borrow().bytes.capacity(), 0);
        tap.copy(b"y");
        assert_eq!(copy.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
