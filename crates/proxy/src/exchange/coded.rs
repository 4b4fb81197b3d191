//! A response that is compressed on its way to the client.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use compress::{EncodeError, Encoder};
use http1::{Body, Framing, Piece};
use model::ContentCoding;
use telemetry::ShardedCounter;

use super::{Download, Exchange, Failure};
use crate::io::poll_read;
use crate::transport::Transport;
use crate::worker::{BUFFER_BYTES, Worker};

/// A body that is coded as it comes.
pub(super) struct Coded {
    body: Body,
    framing: Framing,
    /// None behind the end.
    encoder: Option<Encoder>,
    /// What the encoder has written, before it gets a chunk's framing.
    piece: Vec<u8>,
    /// Lines behind the body, as they came.
    trailers: Vec<u8>,
    bytes_in: Arc<ShardedCounter>,
    bytes_out: Arc<ShardedCounter>,
    shard: usize,
    /// Its place among the bodies that are compressed at a time.
    _admitted: Rc<()>,
}

/// Why a body is not compressed that could be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Those under way hold all the memory that there is for it.
    #[error("this thread compresses as many bodies as it may")]
    Crowded,
    /// There is no memory for it.
    #[error(transparent)]
    Encoder(#[from] EncodeError),
}

impl Coded {
    /// A body that the endpoint frames as `framing`.
    ///
    /// # Errors
    /// [`Refused`]: it is to pass as it is.
    pub(super) fn new(
        worker: &Worker,
        coding: ContentCoding,
        framing: Framing,
    ) -> Result<Box<Self>, Refused> {
        let admitted = worker.admit_encoder().ok_or(Refused::Crowded)?;
        let (metrics, label) = (worker.metrics(), coding.token());
        Ok(Box::new(Self {
            body: Body::new(framing, &worker.config().limits),
            framing,
            encoder: Some(Encoder::new(coding)?),
            piece: Vec::new(),
            trailers: Vec::new(),
            bytes_in: metrics.compression_in.counter(label),
            bytes_out: metrics.compression_out.counter(label),
            shard: worker.index,
            _admitted: admitted,
        }))
    }

    /// Takes what has come out of `read`, and writes what can leave of it to `out`; behind the last of it the end, too.
    fn take(&mut self, read: &mut BytesMut, out: &mut BytesMut) -> Result<(), Failure> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        while !self.body.is_done() && !read.is_empty() {
            match self.body.next_piece(read).map_err(|_| Failure::BrokenOff)? {
                Piece::NeedMore | Piece::Done => break,
                Piece::Data(length) => {
                    let data = read.split_to(length);
                    self.bytes_in.add(self.shard, length as u64);
                    encoder.encode(&data, &mut self.piece).map_err(Failure::Encoding)?;
                }
                Piece::Framing(length) => drop(read.split_to(length)),
                Piece::Trailer(length) => self.trailers.extend_from_slice(&read.split_to(length)),
            }
        }
        self.write_piece(out);
        if self.body.is_done() { self.end(out) } else { Ok(()) }
    }

    /// Writes what the encoder keeps back; whether there was anything.
    fn flush(&mut self, out: &mut BytesMut) -> Result<bool, Failure> {
        let Some(encoder) = self.encoder.as_mut().filter(|encoder| encoder.holds()) else { return Ok(false) };
        encoder.flush(&mut self.piece).map_err(Failure::Encoding)?;
        self.write_piece(out);
        Ok(true)
    }

    /// Writes the end.
    fn end(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        if let Some(encoder) = self.encoder.take() {
            encoder.finish(&mut self.piece).map_err(Failure::Encoding)?;
            self.write_piece(out);
            http1::write_last_chunk(out, &self.trailers);
        }
        Ok(())
    }

    fn write_piece(&mut self, out: &mut BytesMut) {
        if self.piece.is_empty() {
            return;
        }
        self.bytes_out.add(self.shard, self.piece.len() as u64);
        http1::write_chunk_header(out, self.piece.len());
        out.extend_from_slice(&self.piece);
        http1::write_chunk_end(out);
        self.piece.clear();
    }
}

impl<S: Transport> Exchange<'_, S> {
    /// Codes and moves what has come of the body, and reads more; the state becomes Flush behind the last of it.
    ///
    /// Nothing is read before the client's transport has taken what was made of the last read, and nothing waits in the encoder while
    /// the endpoint pauses.
    pub(super) fn poll_coded(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Download::Coded(coded) = &mut self.download else { return Poll::Ready(Ok(())) };
        self.worker.lend_buffer(&mut self.to_down);
        coded.take(&mut self.up.read, &mut self.to_down)?;
        if coded.body.is_done() {
            self.download = Download::Flush;
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_put_down(cx))?;
        self.worker.lend_buffer(&mut self.up.read);
        let read = poll_read(&mut self.up.stream, cx, &mut self.up.read, BUFFER_BYTES);
        let Download::Coded(coded) = &mut self.download else { return Poll::Ready(Ok(())) };
        match read {
            Poll::Pending if coded.flush(&mut self.to_down)? => {}
            Poll::Pending => {
                if let Poll::Ready(Err(error)) = self.push_down(cx) {
                    return Poll::Ready(Err(error));
                }
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) if coded.framing == Framing::UntilClose => {
                coded.end(&mut self.to_down)?;
                self.download = Download::Flush;
            }
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::BrokenOff)),
            Poll::Ready(Ok(read)) => self.moved += read,
        }
        Poll::Ready(Ok(()))
    }
}
