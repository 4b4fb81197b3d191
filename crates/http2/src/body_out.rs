use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::SendStream;
use http::HeaderMap;
use http1::{Body, Framing, Limits, Piece};

use crate::error::{invalid, io_error};
use crate::fields;

/// Payload that goes into one DATA frame at most.
const FRAME_BYTES: usize = 16 * 1024;

/// A body that comes as HTTP/1 text and leaves in DATA frames.
pub(crate) struct BodyOut {
    stream: SendStream<Bytes>,
    body: Body,
    /// Whether it ends with [`BodyOut::poll_end`].
    is_unbounded: bool,
    /// Text that is not yet taken apart.
    text: BytesMut,
    /// Payload that waits for the peer's window.
    payload: Bytes,
    trailers: HeaderMap,
    is_over: bool,
    /// Payload that left since someone asked.
    sent: usize,
}

impl BodyOut {
    /// `text`: what came behind the head.
    pub(crate) fn new(stream: SendStream<Bytes>, framing: Framing, limits: &Limits, text: BytesMut) -> Self {
        Self {
            stream,
            body: Body::new(framing, limits),
            is_unbounded: framing == Framing::UntilClose,
            text,
            payload: Bytes::new(),
            trailers: HeaderMap::new(),
            is_over: false,
            sent: 0,
        }
    }

    /// Whether the last frame is on its way.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes of payload that left since the last call.
    pub(crate) fn take_sent(&mut self) -> usize {
        std::mem::take(&mut self.sent)
    }

    /// Takes more text. What was taken before must be gone first: Pending until it is.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        if self.is_over {
            return Poll::Ready(Err(invalid("bytes behind the end of a body")));
        }
        let mut left = text;
        // Line for line and frame for frame; only what waits is kept as text, no more than one write of the caller.
        while self.text.is_empty() && !left.is_empty() {
            let size = self.take_apart(left)?;
            left = left.get(size..).unwrap_or_default();
            if let Poll::Ready(sent) = self.poll_payload(cx) {
                sent?;
                if size > 0 && !self.is_over {
                    continue;
                }
            }
            break;
        }
        self.text.extend_from_slice(left);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(text.len())),
        }
    }

    /// Sends what is there as far as the peer's window allows; ready when nothing waits.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut text = std::mem::take(&mut self.text);
            let taken = self.take_apart(&text);
            text.advance(*taken.as_ref().unwrap_or(&0));
            if !text.is_empty() {
                self.text = text;
            }
            let is_all = taken? == 0 && self.payload.is_empty();
            ready!(self.poll_payload(cx))?;
            if is_all {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends the payload that is there, and the end of a body that is whole.
    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_over {
            if self.payload.is_empty() {
                if self.body.is_done() {
                    self.end()?;
                }
                break;
            }
            let room = ready!(self.poll_room(cx))?;
            let size = room.min(self.payload.len());
            let is_last = size == self.payload.len() && self.body.is_done() && self.trailers.is_empty();
            self.stream.send_data(self.payload.split_to(size), is_last).map_err(io_error)?;
            self.is_over = is_last;
            self.sent += size;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is there, and ends a body whose framing does not say where it ends; ready when all has left.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        if self.is_unbounded && !self.is_over {
            self.end()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Resets the stream, so that the peer cannot take half a body for a whole one.
    pub(crate) fn reset(&mut self) {
        self.stream.send_reset(h2::Reason::INTERNAL_ERROR);
    }

    /// Ready when the peer has reset the stream.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }

    /// Makes payload of text, unless some waits: how much of the text it was, up to a frame of payload and what ends behind it.
    fn take_apart(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        if !self.payload.is_empty() {
            return Ok(taken);
        }
        // Most often one piece, which is copied once; small ones share a frame.
        let mut first: &[u8] = &[];
        let mut joined = BytesMut::new();
        while first.len() + joined.len() < FRAME_BYTES && !self.body.is_done() {
            let left = text.get(taken..).unwrap_or_default();
            let piece = self.body.next_piece(left).map_err(|_| invalid("a body that is not well framed"))?;
            let size = match piece {
                Piece::NeedMore | Piece::Done => break,
                Piece::Data(size) | Piece::Framing(size) | Piece::Trailer(size) => size,
            };
            let here = left.get(..size).unwrap_or_default();
            match piece {
                Piece::Data(_) if first.is_empty() && joined.is_empty() => first = here,
                Piece::Data(_) => {
                    joined.extend_from_slice(std::mem::take(&mut first));
                    joined.extend_from_slice(here);
                }
                Piece::Trailer(_) => fields::read_trailer(here, &mut self.trailers)
                    .map_err(|_| invalid("a trailer that HTTP/2 cannot carry"))?,
                _ => {}
            }
            taken += size;
        }
        self.payload = if joined.is_empty() { Bytes::copy_from_slice(first) } else { joined.freeze() };
        Ok(taken)
    }

    fn end(&mut self) -> io::Result<()> {
        self.is_over = true;
        if self.trailers.is_empty() {
            self.stream.send_data(Bytes::new(), true).map_err(io_error)
        } else {
            self.stream.send_trailers(std::mem::take(&mut self.trailers)).map_err(io_error)
        }
    }

    /// How many bytes of payload may leave now.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.reserve_capacity(self.payload.len().min(FRAME_BYTES));
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }
}
