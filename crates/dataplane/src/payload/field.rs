use wire::{Payload, PayloadSpan};

use super::line::{CRLF, control_byte};
use super::word::{
    TOPS, alphanumeric, before, byte, equal, first, forget, front, nothing, small, text, word,
};
use crate::repeat::{Step, repeat};

/// Words of a name that are kept.
const WORDS: usize = wire::HEADER_NAME_MAX / 8;

/// The longest name that is read.
const NAME_MAX: u32 = 64;

/// A field line; offsets in the payload.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    /// The first 32 bytes of the name, letters made small, zeros behind it. No name holds a zero byte, so a comparison
    /// of words compares the length, too.
    pub(crate) name: [u64; WORDS],
    /// Length of the name.
    pub(crate) name_len: u32,
    /// First byte of the value, one space before it stepped over.
    pub(crate) start: u32,
    /// Behind the last byte of the value.
    pub(crate) end: u32,
}

/// What is wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldError {
    /// It does not end within the payload.
    Incomplete,
    /// It is none that is read here.
    Odd,
}

/// Reads the field line at `at`, whose name may have letters, digits, hyphens and, if `UNDERSCORE`, underscores, and
/// whose value may have no control byte, HTAB neither. `scratch` is in a map's value.
///
/// `field-line = field-name ":" OWS field-value OWS` (RFC 9112 section 5).
#[inline(always)]
pub(crate) fn field<const UNDERSCORE: bool>(
    payload: &Payload,
    at: u32,
    len: u32,
    scratch: &mut u16,
) -> Result<Field, FieldError> {
    let (name, name_len) = name::<UNDERSCORE>(payload, at);
    let name_len = forget(name_len, scratch);
    if name_len == 0 {
        let incomplete = control_byte(payload, at, len) + 2 > len;
        return Err(if incomplete { FieldError::Incomplete } else { FieldError::Odd });
    }
    let colon = at + name_len;
    let end = forget(control_byte(payload, colon + 1, len), scratch);
    if end + 2 > len {
        return Err(FieldError::Incomplete);
    }
    if word(payload, end) & 0xffff != CRLF {
        return Err(FieldError::Odd);
    }
    let spaced = byte(payload, colon + 1) == b' ';
    Ok(Field { name, name_len, start: colon + 1 + u32::from(spaced), end })
}

impl Field {
    /// The value, unless there is more white space around it than the one usual space.
    #[inline(always)]
    pub(crate) fn value(&self, payload: &Payload) -> Option<PayloadSpan> {
        let len = self.end.wrapping_sub(self.start);
        let blank = byte(payload, self.start) == b' ' || byte(payload, self.end.wrapping_sub(1)) == b' ';
        if len > 0 && blank {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "offsets in a payload")]
        Some(PayloadSpan { start: self.start as u16, len: len as u16 })
    }
}

/// `keep-alive` as [`short_text`].
pub(crate) const KEEP_ALIVE: [u64; 2] = [text(b"keep-ali"), text(b"ve")];
/// `close` as [`short_text`].
pub(crate) const CLOSE: [u64; 2] = [text(b"close"), 0];

/// A value of up to 16 bytes, letters made small; zeros for a longer one.
#[inline(always)]
pub(crate) fn short_text(payload: &Payload, value: PayloadSpan) -> [u64; 2] {
    let (start, len) = (u32::from(value.start), u32::from(value.len));
    if len > 16 {
        return [0; 2];
    }
    let second = if len > 8 { small(word(payload, start + 8)) & front(len - 8) } else { 0 };
    [small(word(payload, start)) & front(len), second]
}

/// The name at `at` and its length; length 0 if it is none, or longer than [`NAME_MAX`].
#[inline(always)]
fn name<const UNDERSCORE: bool>(payload: &Payload, at: u32) -> ([u64; WORDS], u32) {
    let mut name = [nothing(word(payload, at)); WORDS];
    let mut index = 0;
    while index < WORDS {
        let offset = index as u32 * 8;
        let text = word(payload, at + offset);
        let colon = equal(text, b':');
        let mine = before(colon);
        if odd::<UNDERSCORE>(text) & mine != 0 {
            return (name, 0);
        }
        name[index] = small(text) & mine;
        if colon != 0 {
            return (name, offset + first(colon));
        }
        index += 1;
    }
    (name, long_name::<UNDERSCORE>(payload, at))
}

/// Marks what may not stand in a name.
#[inline(always)]
fn odd<const UNDERSCORE: bool>(text: u64) -> u64 {
    let right = alphanumeric(text) | equal(text, b'-') | if UNDERSCORE { equal(text, b'_') } else { 0 };
    !right & TOPS
}

struct LongName<'p> {
    payload: &'p Payload,
    start: u32,
    len: u32,
}

/// Length of a name whose first 32 bytes are right; 0 if the rest is not.
#[inline(never)]
fn long_name<const UNDERSCORE: bool>(payload: &Payload, at: u32) -> u32 {
    let mut name = LongName { payload, start: at, len: 0 };
    repeat(NAME_MAX / 8 - WORDS as u32, &mut name, |round, name| {
        let offset = (round + WORDS as u32) * 8;
        let text = word(name.payload, name.start + offset);
        let colon = equal(text, b':');
        if odd::<UNDERSCORE>(text) & before(colon) != 0 {
            return Step::Stop;
        }
        if colon != 0 {
            name.len = offset + first(colon);
            return Step::Stop;
        }
        Step::Next
    });
    name.len
}
