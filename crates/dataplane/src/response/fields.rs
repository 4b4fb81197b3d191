use wire::{Payload, PayloadSpan, ResponseFacts};

use super::{LINES_MAX, Unknown};
use crate::payload::decimal::decimal;
use crate::payload::field::{CLOSE, Field, FieldError, KEEP_ALIVE, field, short_text};
use crate::payload::line::CRLF;
use crate::payload::word::{front, small, text, word};
use crate::repeat::{Step, repeat};

/// What the walk over the field lines needs. What changes from line to line is in the facts (as for requests).
struct Fields<'s> {
    payload: &'s Payload,
    facts: &'s mut ResponseFacts,
    len: u32,
}

/// [`ResponseFacts::fault`] for none; others are one more than the number of an [`Unknown`].
const NO_FAULT: u8 = 0;

/// [`ResponseFacts::fault`] until the empty line was found: there are more lines than are read.
const TOO_MANY: u8 = Unknown::Head as u8 + 1;

/// Walks over the field lines from [`ResponseFacts::head_len`] up to and with the empty line.
#[inline(always)]
pub(super) fn fields(payload: &Payload, len: u32, facts: &mut ResponseFacts) -> Result<(), Unknown> {
    facts.seen = 0;
    facts.keep_alive_at = 0;
    facts.fault = TOO_MANY;
    let mut fields = Fields { payload, facts, len };
    repeat(LINES_MAX + 1, &mut fields, |_, fields| match line(fields) {
        Ok(step) => step,
        Err(error) => {
            fields.facts.fault = error as u8 + 1;
            Step::Stop
        }
    });
    match fields.facts.fault {
        NO_FAULT => Ok(()),
        fault => Err(Unknown::of(fault - 1)),
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets in a payload")]
fn line(fields: &mut Fields<'_>) -> Result<Step, Unknown> {
    let payload = fields.payload;
    let at = u32::from(fields.facts.head_len);
    if at + 2 > fields.len {
        return Err(Unknown::Incomplete);
    }
    if word(payload, at) & 0xffff == CRLF {
        fields.facts.fault = NO_FAULT;
        fields.facts.head_len = (at + 2) as u16;
        return Ok(Step::Stop);
    }
    let field =
        field::<true>(payload, at, fields.len, &mut fields.facts.head_len).map_err(|error| match error {
            FieldError::Incomplete => Unknown::Incomplete,
            FieldError::Odd => Unknown::Head,
        })?;
    fields.facts.head_len = (field.end + 2) as u16;
    take(fields, &field)?;
    Ok(Step::Next)
}

/// Does what the name asks for.
#[inline(always)]
fn take(fields: &mut Fields<'_>, field: &Field) -> Result<(), Unknown> {
    const CONTENT: u64 = text(b"content-");
    const CONNECTION: u64 = text(b"connecti");
    const TRANSFER: u64 = text(b"transfer");
    const UPGRADE: u64 = text(b"upgrade");
    let payload = fields.payload;
    let second = field.name[1];
    match field.name[0] {
        CONTENT if second == const { text(b"length") } => {
            let first = fields.facts.flags & ResponseFacts::LENGTH == 0;
            let value = field.value(payload).filter(|_| first).ok_or(Unknown::Length)?;
            fields.facts.content_length = content_length(payload, value).ok_or(Unknown::Length)?;
            fields.facts.flags |= ResponseFacts::LENGTH;
        }
        TRANSFER if second == const { text(b"-encodin") } && field.name[2] == u64::from(b'g') => {
            let value = field.value(payload).ok_or(Unknown::Encoding)?;
            // HTTP/1.0, or seen before (RFC 9112 section 6.1 on encodings in HTTP/1.0).
            let version = word(payload, 0);
            let first = fields.facts.flags & ResponseFacts::CHUNKED == 0;
            if !first || version != const { text(b"HTTP/1.1") } || short_text(payload, value) != CHUNKED {
                return Err(Unknown::Encoding);
            }
            fields.facts.flags |= ResponseFacts::CHUNKED;
        }
        CONNECTION if second == const { text(b"on") } => {
            let first = fields.facts.seen == 0;
            let value = field.value(payload).filter(|_| first).ok_or(Unknown::Connection)?;
            fields.facts.seen = 1;
            fields.facts.flags |= connection(payload, value).ok_or(Unknown::Connection)?;
            if short_text(payload, value) == KEEP_ALIVE {
                fields.facts.keep_alive_at = u32::from(value.start);
            }
        }
        UPGRADE => fields.facts.flags |= ResponseFacts::UPGRADE,
        _ => {}
    }
    Ok(())
}

/// A length below 2^63, so that no recipient can read it as negative.
#[inline(always)]
fn content_length(payload: &Payload, value: PayloadSpan) -> Option<u64> {
    let count = u32::from(value.len);
    let number = decimal(payload, u32::from(value.start) + count, count)?;
    if number <= u64::MAX / 2 { Some(number) } else { None }
}

const CHUNKED: [u64; 2] = [text(b"chunked"), 0];

/// The flags that the value of Connection stands for; `None` for other values than the usual.
///
/// Some endpoints offer an upgrade with every response: `Upgrade, Keep-Alive`, or `upgrade` alone.
#[inline(always)]
fn connection(payload: &Payload, value: PayloadSpan) -> Option<u16> {
    const UPGRADE: [u64; 2] = [text(b"upgrade"), 0];
    const UPGRADE_KEEP: [u64; 2] = [text(b"upgrade,"), text(b" keep-al")];
    if value.len == 19 {
        let tail = small(word(payload, u32::from(value.start) + 16)) & front(3);
        let value = PayloadSpan { len: 16, ..value };
        return (short_text(payload, value) == UPGRADE_KEEP && tail == const { text(b"ive") }).then_some(0);
    }
    match short_text(payload, value) {
        KEEP_ALIVE | UPGRADE => Some(0),
        CLOSE => Some(ResponseFacts::CLOSE),
        _ => None,
    }
}
