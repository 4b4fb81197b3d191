//! The client of a request that the gateway makes itself: it takes an answer in, up to a limit.

use std::cell::{Cell, RefCell};
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
pub(crate) struct Capture(Rc<Held>);

#[derive(Default)]
struct Held {
    bytes: RefCell<BytesMut>,
    /// More came than is taken.
    is_full: Cell<bool>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    pub(crate) body: Vec<u8>,
    /// The lines behind the body.
    trailers: Vec<u8>,
    /// Otherwise only the head of it came, or fitted: its body is empty.
    pub(crate) is_whole: bool,
}

impl Answer {
    /// The value of a trailer; of several the first.
    pub(crate) fn trailer(&self, name: &str) -> Option<&[u8]> {
        let lines = self.trailers.split(|&byte| byte == b'\n');
        lines.filter_map(|line| line.split_at_checked(line.iter().position(|&byte| byte == b':')?)).find_map(
            |(named, value)| {
                named
                    .eq_ignore_ascii_case(name.as_bytes())
                    .then(|| value.get(1..).unwrap_or_default().trim_ascii())
            },
        )
    }
}

impl Capture {
    /// The answer to a request with this method; none: its head is not whole, or cannot be read.
    pub(crate) fn answer(&self, method: &str, limits: &Limits) -> Option<Answer> {
        let mut read = self.0.bytes.take();
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
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let is_whole = if framing == Framing::UntilClose {
            body.extend_from_slice(&read);
            !self.0.is_full.get()
        } else {
            take_body(Body::new(framing, limits), &mut read, &mut body, &mut trailers)
        };
        if !is_whole {
            body.clear();
        }
        Some(Answer { head, body, trailers, is_whole })
    }
}

/// Whether all of it was there.
fn take_body(mut parser: Body, read: &mut BytesMut, body: &mut Vec<u8>, trailers: &mut Vec<u8>) -> bool {
    loop {
        match parser.next_piece(read) {
            Ok(Piece::Data(length)) => body.extend_from_slice(&read.split_to(length)),
            Ok(Piece::Trailer(length)) => trailers.extend_from_slice(&read.split_to(length)),
            Ok(Piece::Framing(length)) => read.advance(length),
            Ok(Piece::Done) => return true,
            Ok(Piece::NeedMore) | Err(_) => return false,
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
        let mut held = self.0.bytes.borrow_mut();
        if held.len() + bytes.len() > BYTES_MAX {
            self.0.is_full.set(true);
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
