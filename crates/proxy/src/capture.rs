//! The client of a request that the gateway makes itself: it takes an answer in, up to a limit.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http1::{Body, Framing, Limits, Piece, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// The longest answer with its head.
const BYTES_MAX: usize = 128 * 1024;

/// What came so far; copies share it.
#[derive(Clone, Default)]
pub(crate) struct Capture(Rc<RefCell<BytesMut>>);

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    pub(crate) body: Vec<u8>,
}

impl Capture {
    /// The answer to a request with this method; none: it is not whole.
    pub(crate) fn answer(&self, method: &str, limits: &Limits) -> Option<Answer> {
        let mut read = self.0.take();
        let mut head = ResponseHead::default();
        loop {
            if !head.parse(&mut read, limits).ok()? {
                return None;
            }
            if !head.is_informational() {
                break;
            }
        }
        let framing = head.framing(method).ok()?;
        if framing == Framing::UntilClose {
            return Some(Answer { head, body: read.to_vec() });
        }
        let (mut parser, mut body) = (Body::new(framing, limits), Vec::new());
        loop {
            match parser.next_piece(&read).ok()? {
                Piece::Data(length) => body.extend_from_slice(&read.split_to(length)),
                Piece::Framing(length) | Piece::Trailer(length) => read.advance(length),
                Piece::Done => return Some(Answer { head, body }),
                Piece::NeedMore => return None,
            }
        }
    }
}

impl AsyncRead for Capture {
    /// It says nothing, and stays.
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Capture {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut held = self.0.borrow_mut();
        if held.len() + bytes.len() > BYTES_MAX {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Capture {
    fn reset_on_close(&mut self) {}
}
