use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
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
    payload: BytesMut,
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
            payload: BytesMut::new(),
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
        self.text.extend_from_slice(text);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What waits for the window is kept here, no more than one write of the caller.
            _ => Poll::Ready(Ok(text.len())),
        }
    }

    /// Sends what is there as far as the peer's window allows; ready when nothing waits.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_over {
            self.take_apart()?;
            if self.payload.is_empty() {
                if self.body.is_done() {
                    self.end()?;
                }
                return Poll::Ready(Ok(()));
            }
            let room = ready!(self.poll_room(cx))?;
            let size = room.min(self.payload.len());
            let is_last = size == self.payload.len() && self.body.is_done() && self.trailers.is_empty();
            self.stream.send_data(self.payload.split_to(size).freeze(), is_last).map_err(io_error)?;
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

    /// Moves payload out of the text until a frame is full.
    fn take_apart(&mut self) -> io::Result<()> {
        while self.payload.len() < FRAME_BYTES && !self.body.is_done() {
            let piece =
                self.body.next_piece(&self.text).map_err(|_| invalid("a body that is not well framed"))?;
            match piece {
                Piece::Data(size) if self.payload.is_empty() => self.payload = self.text.split_to(size),
                Piece::Data(size) => self.payload.extend_from_slice(&self.text.split_to(size)),
                Piece::Framing(size) => drop(self.text.split_to(size)),
                Piece::Trailer(size) => {
                    let line = self.text.split_to(size);
                    fields::read_trailer(&line, &mut self.trailers)
                        .map_err(|_| invalid("a trailer that HTTP/2 cannot carry"))?;
                }
                Piece::NeedMore | Piece::Done => break,
            }
        }
        Ok(())
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
