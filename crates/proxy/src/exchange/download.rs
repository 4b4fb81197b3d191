//! From the endpoint to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http1::{Body, BodyError, Framing, LineEdits, ResponseFraming, Version};
use model::AnswerRewrites;
use policy::{replaced_cookie, replaced_location};
use tokio::time::Instant;

use super::coded::{Coded, Refused};
use super::tunnel::Tunnel;
use super::{Exchange, Failure, Upload, read_body_bytes};
use crate::compression::Compressed;
use crate::io::{poll_read, poll_write_both};
use crate::transport::Transport;

/// A read of a head or of a small body.
const READ_BYTES: usize = 8 * 1024;
/// Interim responses before a final one; more is an endpoint gone mad.
const INTERIM_MAX: u32 = 32;

/// How far the response has come.
pub(super) enum Download {
    Head,
    Body {
        body: Body,
        recode: Recode,
        pending: usize,
        has_open_chunk: bool,
    },
    /// A body that is compressed.
    Coded(Box<Coded>),
    Flush,
    /// What follows is no HTTP any more.
    Tunnel(Tunnel),
}

/// What becomes of body bytes on their way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recode {
    /// They pass as they came.
    Keep,
    /// Chunk framing is taken off, for HTTP/1.0 clients.
    Dechunk,
    /// Chunk framing is put around a body that the endpoint ends by closing.
    Chunk,
}

impl<S: Transport> Exchange<'_, S> {
    /// Moves the response on as far as it goes; ready when the client has all of it.
    pub(super) fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            match self.download {
                Download::Head => ready!(self.poll_head(cx))?,
                Download::Body { .. } => ready!(self.poll_body(cx))?,
                Download::Coded(_) => ready!(self.poll_coded(cx))?,
                Download::Flush => return self.poll_write_down(cx),
                Download::Tunnel(mut tunnel) => {
                    ready!(self.poll_write_down(cx))?;
                    let done = self.poll_tunnel(cx, &mut tunnel);
                    self.download = Download::Tunnel(tunnel);
                    return done;
                }
            }
        }
    }

    /// Reads a head, or more of it, and prepares what the client gets.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !self.up.read.is_empty() {
            let is_whole = self.response.parse(&mut self.up.read, &self.worker.config().limits);
            if is_whole.map_err(Failure::InvalidResponse)? {
                return Poll::Ready(self.on_head());
            }
        }
        // An interim response leaves at once; one that the client does not take must not keep us from reading on.
        if let Poll::Ready(Err(error)) = self.poll_write_down(cx) {
            return Poll::Ready(Err(error));
        }
        self.worker.lend_buffer(&mut self.up.read);
        match ready!(poll_read(&mut self.up.stream, cx, &mut self.up.read, READ_BYTES)) {
            Ok(0) if self.has_answered => Poll::Ready(Err(Failure::BrokenOff)),
            // A reset is told once; to a read behind the write that got it the stream just ends.
            Ok(0) => Poll::Ready(Err(Failure::Unanswered(
                self.upload_error.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            ))),
            Err(error) if !self.has_answered => Poll::Ready(Err(Failure::Unanswered(error))),
            Err(_) => Poll::Ready(Err(Failure::BrokenOff)),
            Ok(read) => {
                self.has_answered = true;
                self.moved += read;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn on_head(&mut self) -> Result<(), Failure> {
        let is_old_client = self.request.version() == Version::Http10;
        if self.to_down.capacity() == 0 {
            self.to_down = self.worker.take_buffer();
        }
        if self.response.is_informational() {
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Err(Failure::UnexpectedResponse);
            }
            self.has_continued |= self.response.status() == 100;
            if !is_old_client {
                self.response.write_downstream(&mut self.to_down, &http1::ResponseEdits::default());
            }
            return Ok(());
        }
        if self.is_measured {
            self.answered_at = Some(Instant::now());
        }
        if self.response.status() == 101 {
            return self.on_switch();
        }
        let status = self.response.status();
        if self.is_repeatable() && self.chance.is_some_and(|chance| chance.takes_status(status)) {
            return Err(Failure::Retried(status));
        }
        self.framing = self.response.framing(self.request.method()).map_err(Failure::InvalidResponse)?;
        // A stream of gRPC has its status behind the body.
        if self.replaced.contains(&status) && !self.may_pause && !self.has_begun_answer() {
            return Err(Failure::Replaced(status));
        }
        self.down.story.answered = Some(Instant::now());
        let replaced = self.replaced();
        let lines = replaced.as_ref().or(self.edits.lines);
        let (compressed, coded) = self.begin_coded(lines);
        let (framing, recode) = match (self.framing, is_old_client) {
            // RFC 9112 section 6.1: no Transfer-Encoding to HTTP/1.0, not even in a head without a body.
            (Framing::None, true) if self.response.values("transfer-encoding").next().is_some() => {
                (ResponseFraming::CloseDelimited, Recode::Keep)
            }
            (Framing::Chunked, true) => (ResponseFraming::CloseDelimited, Recode::Dechunk),
            (Framing::UntilClose, true) => (ResponseFraming::CloseDelimited, Recode::Keep),
            _ if coded.is_some() => (ResponseFraming::Chunked, Recode::Keep),
            (Framing::UntilClose, false) => (ResponseFraming::Chunked, Recode::Chunk),
            _ => (ResponseFraming::Keep, Recode::Keep),
        };
        // A client that waits for `100 Continue` may or may not send its body now (RFC 9110 section 10.1.1): only
        // closing tells both sides where the next request begins.
        let may_skip_body = self.waits_for_continue() && !self.body.is_done();
        self.closes_down = !self.request.keep_alive()
            || framing == ResponseFraming::CloseDelimited
            || may_skip_body
            || self.upload == Upload::Broken
            || self.worker.ends_after(self.down.requests);
        let connection = match (self.closes_down, is_old_client) {
            (true, _) => Some("close"),
            (false, true) => Some("keep-alive"),
            (false, false) => None,
        };
        let edits = http1::ResponseEdits { connection, framing, lines, keep_upgrade: false, ..self.edits };
        match &compressed {
            None => self.response.write_downstream(&mut self.to_down, &edits),
            Some(compressed) => compressed
                .with_edits(&edits, |edits| self.response.write_downstream(&mut self.to_down, edits)),
        }
        self.has_response_head = true;
        self.download = coded.map_or_else(
            || {
                let body = Body::new(self.framing, &self.worker.config().limits);
                Download::Body { body, recode, pending: 0, has_open_chunk: false }
            },
            Download::Coded,
        );
        Ok(())
    }

    /// Changes in the head where places in it are put in other words, or lines of ours stand behind it, before what the route changes;
    /// none: nothing is.
    fn replaced(&self) -> Option<LineEdits> {
        let mut lines = LineEdits::default();
        if let Some(said) = self.answers {
            self.put_in_other_words(said, &mut lines);
        }
        let status = self.response.status();
        let ours = self.changes.into_iter().flat_map(|changes| changes.answer_lines(status));
        ours.for_each(|(name, value)| lines.add(name, value));
        if lines.is_empty() {
            return None;
        }
        self.edits.lines.into_iter().for_each(|own| lines.extend(own));
        Some(lines)
    }

    fn put_in_other_words(&self, said: &AnswerRewrites, lines: &mut LineEdits) {
        let location = self.response.values("location").next();
        let location = location.zip(said.location.as_ref());
        if let Some(new) = location.and_then(|(value, said)| replaced_location(value, said)) {
            lines.set("Location", &new);
        }
        let (path, domain) = (said.cookie_path.as_ref(), said.cookie_domain.as_ref());
        let cookies: Vec<_> = self.response.values("set-cookie").collect();
        let new: Vec<_> = cookies.iter().map(|value| replaced_cookie(value, path, domain)).collect();
        if new.iter().any(Option::is_some) {
            // All lines of the name are written anew; ours come behind them.
            lines.remove("Set-Cookie");
            for (value, new) in cookies.iter().zip(&new) {
                lines.add("Set-Cookie", new.as_deref().unwrap_or(value));
            }
            let ours = self.edits.insert.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            ours.for_each(|(name, value)| lines.add(name, value));
        }
    }

    /// What compression, where the route asks for it, changes in this response, and its body if that is to be coded.
    fn begin_coded(&self, lines: Option<&LineEdits>) -> (Option<Compressed>, Option<Box<Coded>>) {
        if self.compression.is_empty() {
            return (None, None);
        }
        let mut compressed = Compressed::of(self.compression, self.request, self.response, lines);
        let coding = compressed.as_ref().and_then(|compressed| compressed.coding);
        let Some(coding) = coding.filter(|_| self.framing != Framing::None) else {
            return (compressed, None);
        };
        let coded = Coded::new(self.worker, coding, self.framing);
        if let (Err(refused), Some(compressed)) = (&coded, &mut compressed) {
            match refused {
                Refused::Crowded => tracing::debug!(reason = %refused, "a response is sent as it is"),
                Refused::Encoder(error) => tracing::warn!(%error, "a response is sent as it is"),
            }
            compressed.undo();
        }
        (compressed, coded.ok())
    }

    /// The endpoint switches protocols, which it may only if it was asked to (RFC 9110 section 15.2.2). What the client
    /// has sent behind its request belongs to the new one.
    fn on_switch(&mut self) -> Result<(), Failure> {
        let agreed = match (self.response.upgrade(), self.request.upgrade()) {
            (Some(switched), Some(asked)) => switched.eq_ignore_ascii_case(asked),
            _ => false,
        };
        if !agreed || !self.edits.keep_upgrade || self.upload != Upload::Over {
            return Err(Failure::UnexpectedResponse);
        }
        self.down.story.answered = Some(Instant::now());
        let replaced = self.replaced();
        let lines = replaced.as_ref().or(self.edits.lines);
        self.response.write_downstream(&mut self.to_down, &http1::ResponseEdits { lines, ..self.edits });
        self.has_response_head = true;
        self.closes_down = true;
        // A route's limit is for its answer, which this is.
        self.limits.deadline = None;
        self.download = Download::Tunnel(Tunnel::default());
        Ok(())
    }

    /// Moves body bytes on; the state becomes Flush behind the last one.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Download::Body { body, recode, pending, has_open_chunk } = &mut self.download else {
            return Poll::Ready(Ok(()));
        };
        if *pending == 0 && !body.is_done() && !self.up.read.is_empty() {
            let invalid = |_| Failure::BrokenOff;
            if *recode == Recode::Dechunk {
                dechunk(body, &mut self.up.read, &mut self.to_down).map_err(invalid)?;
            } else {
                *pending = body.advance(&self.up.read).map_err(invalid)?;
                if *recode == Recode::Chunk && *pending > 0 {
                    if *has_open_chunk {
                        http1::write_chunk_end(&mut self.to_down);
                    }
                    http1::write_chunk_header(&mut self.to_down, *pending);
                    *has_open_chunk = true;
                }
            }
        }
        let mut moved = 0;
        let taken = |_: &[u8]| {};
        let stream = &mut self.down.stream;
        let written =
            poll_write_both(stream, cx, &mut self.to_down, &mut self.up.read, pending, taken, &mut moved);
        self.moved += moved;
        self.bytes_down += moved as u64;
        if written.is_pending() {
            self.waits_for_client = true;
        }
        ready!(written).map_err(|_| Failure::ClientGone)?;
        if body.is_done() {
            self.download = Download::Flush;
            return Poll::Ready(Ok(()));
        }
        let is_spliced = body.length_left().filter(|_| *recode == Recode::Keep);
        if is_spliced.is_some_and(|left| self.pipe.is_some() || left >= super::splice::BYTES_MIN)
            && self.up.read.is_empty()
            && let Some(passed) = self.poll_splice(cx)
        {
            return passed;
        }
        let Download::Body { recode, has_open_chunk, .. } = &mut self.download else {
            return Poll::Ready(Ok(()));
        };
        self.worker.lend_buffer(&mut self.up.read);
        let size = read_body_bytes(self.up.is_http2());
        let read = poll_read(&mut self.up.stream, cx, &mut self.up.read, size);
        if read.is_pending() {
            if let Poll::Ready(Err(error)) = self.push_down(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Pending;
        }
        match ready!(read) {
            Ok(0) if self.framing == Framing::UntilClose => {
                if *recode == Recode::Chunk {
                    if *has_open_chunk {
                        http1::write_chunk_end(&mut self.to_down);
                    }
                    http1::write_last_chunk(&mut self.to_down, &[]);
                }
                self.download = Download::Flush;
            }
            Ok(0) | Err(_) => return Poll::Ready(Err(Failure::BrokenOff)),
            Ok(read) => self.moved += read,
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is prepared for the client, without body bytes.
    fn poll_write_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        ready!(self.poll_put_down(cx))?;
        self.push_down(cx)
    }

    /// The same, of which the client's transport may keep some back.
    pub(super) fn poll_put_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut moved = 0;
        let (mut none, mut pending) = (BytesMut::new(), 0);
        let stream = &mut self.down.stream;
        let written =
            poll_write_both(stream, cx, &mut self.to_down, &mut none, &mut pending, |_| {}, &mut moved);
        self.moved += moved;
        self.bytes_down += moved as u64;
        if written.is_pending() {
            self.waits_for_client = true;
        }
        written.map_err(|_| Failure::ClientGone)
    }

    /// Lets what the client's transport keeps back leave: TLS records and frames have a pace of their own.
    pub(super) fn push_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let pushed = Pin::new(&mut self.down.stream).poll_flush(cx);
        if pushed.is_pending() {
            self.waits_for_client = true;
        }
        pushed.map_err(|_| Failure::ClientGone)
    }
}

/// Moves the payload of what has come to `out`, without its chunk framing.
fn dechunk(body: &mut Body, read: &mut BytesMut, out: &mut BytesMut) -> Result<(), BodyError> {
    while !body.is_done() && !read.is_empty() {
        match body.next_piece(read)? {
            http1::Piece::NeedMore | http1::Piece::Done => break,
            http1::Piece::Data(length) => out.extend_from_slice(&read.split_to(length)),
            http1::Piece::Framing(length) | http1::Piece::Trailer(length) => drop(read.split_to(length)),
        }
    }
    Ok(())
}
