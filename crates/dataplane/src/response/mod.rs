//! Where a response ends: its head, and the framing of its body.

pub mod chunks;
mod fields;
mod unknown;

pub use unknown::Unknown;

use wire::{PAYLOAD_MAX, Payload, ResponseFacts};

use crate::payload::line::{CRLF, control_byte};
use crate::payload::word::{digits, front, text, word};
use fields::fields;

/// The most field lines.
pub const LINES_MAX: u32 = 64;

/// Reads the response head at the start of the first `len` bytes of `payload`. What is behind it is not looked at.
///
/// # Errors
/// Why the end of the response cannot be told; `facts` means nothing then.
///
/// Source: RFC 9112 sections 4 to 6; narrowed to what can be read in one way only.
#[inline(never)]
pub fn scan(payload: &Payload, len: u32, facts: &mut ResponseFacts) -> Result<(), Unknown> {
    let len = len.min(PAYLOAD_MAX as u32);
    let line_end = status_line(payload, len, facts)?;
    #[expect(clippy::cast_possible_truncation, reason = "an offset in a payload")]
    {
        facts.head_len = (line_end + 2) as u16;
    }
    fields(payload, len, facts)?;
    let both = ResponseFacts::LENGTH | ResponseFacts::CHUNKED;
    if facts.flags & both == both { Err(Unknown::LengthAndEncoding) } else { Ok(()) }
}

/// Writes what the status line says; returns where its CRLF is.
///
/// `status-line = HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 section 4).
#[inline(always)]
fn status_line(payload: &Payload, len: u32, facts: &mut ResponseFacts) -> Result<u32, Unknown> {
    const HTTP_1_1: u64 = text(b"HTTP/1.1");
    const HTTP_1_0: u64 = text(b"HTTP/1.0");
    // ` 200`, and a space or the CR behind it.
    const STATUS_END: u32 = 12;
    let end = control_byte(payload, 0, len);
    if end + 2 > len {
        return Err(Unknown::Incomplete);
    }
    let version = word(payload, 0);
    let code = word(payload, 8);
    let three = (code >> 8) & front(3);
    let all_digits = digits(three) == 0x0080_8080 && code & 0xff == u64::from(b' ');
    let behind = (code >> 32) & 0xff;
    let parted = end == STATUS_END || behind == u64::from(b' ');
    if !matches!(version, HTTP_1_1 | HTTP_1_0) || end < STATUS_END || !all_digits || !parted {
        return Err(Unknown::StatusLine);
    }
    if word(payload, end) & 0xffff != CRLF {
        return Err(Unknown::Head);
    }
    let digit = |place: u32| ((three >> (8 * place)) & 0xf) as u16;
    let status = digit(0) * 100 + digit(1) * 10 + digit(2);
    if status < 100 {
        return Err(Unknown::StatusLine);
    }
    facts.status = status;
    facts.content_length = 0;
    facts.flags = if version == HTTP_1_0 { ResponseFacts::CLOSE } else { 0 };
    if status == 101 {
        facts.flags |= ResponseFacts::UPGRADE;
    }
    Ok(end)
}
