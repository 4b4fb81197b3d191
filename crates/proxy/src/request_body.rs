//! The body of a request on its way to an endpoint: what is validated, what was sent, what can be sent again.

use std::rc::Rc;

use bytes::{Buf, BytesMut};
use http1::{Body, BodyError, Framing, Piece};

use crate::changes::Changes;
use crate::mirror::Tap;

/// Body bytes kept so that a request which no endpoint took can be sent to another one.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Less than that is kept in memory of its own.
const BUFFERED_BYTES_MIN: usize = 4 * 1024;

pub(crate) struct RequestBody {
    body: Body,
    /// Bytes at the start of the client's read buffer that are validated and not yet sent.
    pub(crate) pending: usize,
    pub(crate) replay: Replay,
    /// Who gets a copy.
    pub(crate) taps: Vec<Tap>,
    bytes: u64,
    /// Whether there is one still to come that is not this.
    hides_another: bool,
    /// What these take out of the head, or had checked there, is no trailer.
    changes: Option<Rc<Changes>>,
}

/// The body bytes sent so far, as long as they are few enough to keep.
#[derive(Default)]
pub(crate) struct Replay {
    sent: BytesMut,
    is_lost: bool,
}

impl RequestBody {
    pub(crate) fn new(framing: Framing, limits: &http1::Limits) -> Self {
        Self {
            body: Body::new(framing, limits),
            pending: 0,
            replay: Replay::default(),
            taps: Vec::new(),
            bytes: 0,
            hides_another: false,
            changes: None,
        }
    }

    /// None, in place of one that nobody reads; `is_taken`: nothing of that is still to come.
    pub(crate) fn instead(is_taken: bool, limits: &http1::Limits) -> Self {
        Self { hides_another: !is_taken, ..Self::new(Framing::None, limits) }
    }

    /// Lets no more than `bytes` of payload through; nothing has come yet.
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.body = self.body.clone().with_payload_max(bytes);
    }

    /// Lets no trailer through with a name that `changes` forbid: endpoints may put both together (RFC 9110 section 6.5.1).
    pub(crate) fn forbid_trailers(&mut self, changes: Option<&Rc<Changes>>) {
        self.changes = changes.cloned();
    }

    /// Whether all of it is validated, and sent but for `pending`.
    pub(crate) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// How many bytes of it have come so far, its framing included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Validates what has come in `read`, unless validated bytes still wait to be sent.
    pub(crate) fn validate(&mut self, read: &[u8]) -> Result<(), BodyError> {
        if self.pending == 0 && !self.body.is_done() && !read.is_empty() {
            self.pending = match self.changes.clone() {
                None => self.body.advance(read)?,
                Some(changes) => self.advance_without(&changes, read)?,
            };
            self.bytes += self.pending as u64;
        }
        Ok(())
    }

    /// Takes what has come out of `read` without sending it anywhere. Whether that was all of what belongs to the request.
    pub(crate) fn discard(&mut self, read: &mut BytesMut) -> Result<bool, BodyError> {
        loop {
            read.advance(self.pending);
            self.pending = 0;
            self.validate(read)?;
            if self.pending == 0 {
                return Ok(self.body.is_done() && !self.hides_another);
            }
        }
    }

    /// As [`Body::advance`] does, line by line.
    fn advance_without(&mut self, changes: &Changes, read: &[u8]) -> Result<usize, BodyError> {
        let mut at = 0;
        loop {
            let left = read.get(at..).unwrap_or_default();
            match self.body.next_piece(left)? {
                Piece::Data(bytes) | Piece::Framing(bytes) => at += bytes,
                Piece::Trailer(bytes) => {
                    let name = left.split(|byte| *byte == b':').next().unwrap_or_default();
                    if changes.forbids_trailer(name) {
                        return Err(BodyError::ForbiddenTrailer);
                    }
                    at += bytes;
                }
                Piece::NeedMore | Piece::Done => return Ok(at),
            }
        }
    }
}

impl Replay {
    /// What is to keep bytes, where so many more are worth a buffer of the thread's: many requests may wait, most of them
    /// with little to say.
    pub(crate) fn wants_memory(&mut self, bytes: usize) -> Option<&mut BytesMut> {
        (!self.is_lost && bytes >= BUFFERED_BYTES_MIN).then_some(&mut self.sent)
    }

    /// Gives the memory back; nothing is kept any more.
    pub(crate) fn into_memory(self) -> BytesMut {
        self.sent
    }

    pub(crate) fn record(&mut self, bytes: &[u8]) {
        if self.is_lost || bytes.is_empty() {
            return;
        }
        if self.sent.len() + bytes.len() > REPLAY_BYTES_MAX {
            *self = Self { sent: BytesMut::new(), is_lost: true };
        } else {
            self.sent.extend_from_slice(bytes);
        }
    }

    /// All body bytes sent so far; none when they were too many to keep.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        (!self.is_lost).then_some(&self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_can_be_replayed_a_large_one_cannot() {
        let mut replay = Replay::default();
        replay.record(b"ab");
        replay.record(b"cd");
        assert_eq!(replay.bytes(), Some(&b"abcd"[..]));
        replay.record(&vec![0; REPLAY_BYTES_MAX]);
        assert_eq!(replay.bytes(), None);
        replay.record(b"e");
        assert_eq!(replay.bytes(), None);
    }

    #[test]
    fn what_may_be_no_header_may_be_no_trailer() {
        let mut changes = Changes::default();
        changes.lines_mut().remove_alike("X-User");
        changes.lines_mut().add("X-User", b"anna");
        let changes = Rc::new(changes);
        for (name, is_let_through) in
            [("X-User", false), ("x_user", false), ("X.USER", false), ("X-Users", true), ("X-Sum", true)]
        {
            let text = format!("2\r\nab\r\n0\r\nX-First: X-User: 1\r\n{name}: eve\r\n\r\n");
            let mut body = RequestBody::new(Framing::Chunked, &http1::Limits::default());
            assert_eq!(body.validate(text.as_bytes()), Ok(()), "nobody forbids it");
            let mut body = RequestBody::new(Framing::Chunked, &http1::Limits::default());
            body.forbid_trailers(Some(&changes));
            let expected = if is_let_through { Ok(()) } else { Err(BodyError::ForbiddenTrailer) };
            assert_eq!(body.validate(text.as_bytes()), expected, "{name}");
            assert_eq!(
                (body.pending, body.is_done()),
                if is_let_through { (text.len(), true) } else { (0, false) }
            );
        }
    }

    #[test]
    fn discarding_stops_at_the_end_of_the_body() {
        let limits = http1::Limits::default();
        let mut body = RequestBody::new(Framing::Length(4), &limits);
        let mut read = BytesMut::from("ab");
        assert!(!body.discard(&mut read).unwrap());
        read.extend_from_slice(b"cdGET /");
        assert!(body.discard(&mut read).unwrap());
        assert_eq!(&read[..], b"GET /");
    }
}
