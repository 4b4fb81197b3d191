use dataplane::head::{Field, HeadError, Known, scan_field_section};
use memchr::memchr;

use crate::chunk::parse_chunk_line;
use crate::{BodyError, Framing, Limits};

/// Walks the body of one message: says which bytes belong to it, and which of them are payload.
///
/// The bytes stay with the caller, who takes away from the front of its buffer what a step allowed and keeps the rest:
/// lines of the framing are let through whole or not at all.
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
    limits: Limits,
    /// So much payload may still come.
    payload_left: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_lines: usize,
}

/// What stands at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// More bytes are needed to tell.
    NeedMore,
    /// So many bytes of payload.
    Data(usize),
    /// So many bytes of framing: chunk lines, the CRLF behind a chunk's data, the empty line behind trailers.
    Framing(usize),
    /// One trailer line with its CRLF, so many bytes.
    Trailer(usize),
    /// Nothing of this message: it has ended.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkLine,
    ChunkData(u64),
    ChunkDataEnd,
    Trailers,
    Done,
}

impl Body {
    /// The body of a message framed as `framing`.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        let limits = *limits;
        Self { state, limits, payload_left: u64::MAX, extension_bytes: 0, trailer_bytes: 0, trailer_lines: 0 }
    }

    /// The same, of which no more than `bytes` of payload may come in all: a length or chunk that goes beyond is refused before a
    /// byte of it is let through.
    #[must_use]
    pub fn with_payload_max(self, bytes: u64) -> Self {
        Self { payload_left: bytes, ..self }
    }

    /// Payload that is to come of a body with Content-Length; none of any other.
    pub fn length_left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) if left <= self.payload_left => Some(left),
            _ => None,
        }
    }

    /// So much payload of [`Body::length_left`] has passed without being seen.
    pub fn pass(&mut self, bytes: u64) {
        if let State::Length(left) = self.state {
            let left = left.saturating_sub(bytes);
            self.state = if left == 0 { State::Done } else { State::Length(left) };
        }
    }

    /// Whether the message has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes at the start of `buf` belong to the message and are well framed: forward them as they came. What
    /// is left in `buf` then is the start of a line of the framing, or, if [`Body::is_done`], the next message.
    ///
    /// # Errors
    /// [`BodyError`]; nothing of `buf` may be forwarded, and the message stays incomplete.
    pub fn advance(&mut self, buf: &[u8]) -> Result<usize, BodyError> {
        let mut at = 0;
        loop {
            match self.next_piece(buf.get(at..).unwrap_or_default())? {
                Piece::Data(n) | Piece::Framing(n) | Piece::Trailer(n) => at += n,
                Piece::NeedMore | Piece::Done => return Ok(at),
            }
        }
    }

    /// The next piece, which the caller takes away from `buf` before it asks again.
    ///
    /// # Errors
    /// [`BodyError`]; the message stays incomplete.
    pub fn next_piece(&mut self, buf: &[u8]) -> Result<Piece, BodyError> {
        match self.state {
            State::Done => Ok(Piece::Done),
            _ if buf.is_empty() => Ok(Piece::NeedMore),
            State::UntilClose => {
                self.announce(buf.len() as u64)?;
                Ok(Piece::Data(buf.len()))
            }
            State::Length(left) if left > self.payload_left => Err(BodyError::TooLarge),
            State::Length(left) => Ok(self.data(buf, left, State::Length, State::Done)),
            State::ChunkData(left) => Ok(self.data(buf, left, State::ChunkData, State::ChunkDataEnd)),
            State::ChunkDataEnd => self.chunk_data_end(buf),
            State::ChunkLine => self.chunk_line(buf),
            State::Trailers => self.trailer_line(buf),
        }
    }

    /// The sender has closed: the end of a body that lasts until then.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the message has not ended.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// Counts payload that comes.
    fn announce(&mut self, bytes: u64) -> Result<(), BodyError> {
        self.payload_left = self.payload_left.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
        Ok(())
    }

    fn data(&mut self, buf: &[u8], left: u64, more: fn(u64) -> State, end: State) -> Piece {
        let here = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let left = left - here as u64;
        self.state = if left == 0 { end } else { more(left) };
        Piece::Data(here)
    }

    fn chunk_data_end(&mut self, buf: &[u8]) -> Result<Piece, BodyError> {
        match buf {
            [b'\r'] => Ok(Piece::NeedMore),
            [b'\r', b'\n', ..] => {
                self.state = State::ChunkLine;
                Ok(Piece::Framing(2))
            }
            _ => Err(BodyError::ChunkDataEnd),
        }
    }

    fn chunk_line(&mut self, buf: &[u8]) -> Result<Piece, BodyError> {
        let Some(line) = parse_chunk_line(buf, self.limits.chunk_line_bytes_max)? else {
            return Ok(Piece::NeedMore);
        };
        self.extension_bytes += line.extension_len;
        if self.extension_bytes > self.limits.chunk_extension_bytes_max {
            return Err(BodyError::ChunkExtensionsTooLarge);
        }
        self.announce(line.size)?;
        self.state = if line.size == 0 { State::Trailers } else { State::ChunkData(line.size) };
        Ok(Piece::Framing(line.line_len))
    }

    /// One line of the trailer section, or the empty one that ends it.
    fn trailer_line(&mut self, buf: &[u8]) -> Result<Piece, BodyError> {
        if let [b'\r', b'\n', ..] = buf {
            self.state = State::Done;
            return Ok(Piece::Framing(2));
        }
        let window = buf.get(..self.limits.trailer_line_bytes_max).unwrap_or(buf);
        let Some(lf) = memchr(b'\n', window) else {
            let full = buf.len() >= self.limits.trailer_line_bytes_max;
            return if full { Err(BodyError::TrailersTooLarge) } else { Ok(Piece::NeedMore) };
        };
        let line = window.get(..=lf).unwrap_or_default();
        self.trailer_bytes += line.len();
        self.trailer_lines += 1;
        if self.trailer_bytes + 2 > self.limits.trailer_bytes_max
            || self.trailer_lines > self.limits.headers_max
        {
            return Err(BodyError::TrailersTooLarge);
        }
        check_trailer(line)?;
        Ok(Piece::Trailer(line.len()))
    }
}

/// Checks one complete line by the rules of a head, and its name.
fn check_trailer(line: &[u8]) -> Result<(), BodyError> {
    let mut name = None;
    let mut take = |field: Field| {
        name = Some((field.known, field.name));
        true
    };
    match scan_field_section(line, &mut take) {
        // The line is no whole section, and was right so far.
        Ok(None) => {}
        Ok(Some(_)) | Err(HeadError::TooManyFields) => return Err(BodyError::Trailer),
        Err(_) => return Err(BodyError::Trailer),
    }
    match name {
        Some((known, span)) if is_allowed_trailer(known, span.of(line)) => Ok(()),
        Some(_) => Err(BodyError::ForbiddenTrailer),
        None => Err(BodyError::Trailer),
    }
}

/// RFC 9110 section 6.5.1: no fields for framing, routing, request modifiers, authentication or content format.
fn is_allowed_trailer(known: Known, name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 12] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"max-forwards",
        b"range",
        b"set-cookie",
        b"www-authenticate",
        b"vary",
        b"age",
    ];
    matches!(known, Known::Other | Known::Date | Known::Server)
        && !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}
