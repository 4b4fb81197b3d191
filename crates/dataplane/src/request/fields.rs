use wire::{CAPTURES_MAX, HEADER_NAME_MAX, Payload, PayloadSpan, RequestFacts};

use super::{CONTENT_LENGTH_MAX, LINES_MAX, Names, Undecidable};
use crate::payload::decimal::decimal;
use crate::payload::field::{CLOSE, Field, FieldError, KEEP_ALIVE, field, short_text};
use crate::payload::line::CRLF;
use crate::payload::word::{front, text, word};
use crate::repeat::{Step, repeat};

/// What the walk over the field lines needs.
///
/// What changes from line to line is in the facts, in a map's value: of what is read there the verifier knows nothing, so
/// that all lines are alike to it. On the stack it would follow each from line to line.
struct Fields<'s, N> {
    payload: &'s Payload,
    names: &'s N,
    facts: &'s mut RequestFacts,
    len: u32,
    captures: bool,
}

/// In [`RequestFacts::seen`]: `Content-Length`.
const LENGTH: u8 = 1;

/// In [`RequestFacts::seen`]: `Connection`.
const CONNECTION: u8 = 2;

/// [`RequestFacts::fault`] for none; others are one more than the number of an [`Undecidable`].
const NO_FAULT: u8 = 0;

/// [`RequestFacts::fault`] until the empty line was found: there are more lines than are read.
const TOO_MANY: u8 = Undecidable::Head as u8 + 1;

/// Walks over the field lines from [`RequestFacts::head_len`] up to and with the empty line. Returns whether there is a
/// Content-Length; [`RequestFacts::host`] is the value of Host then, or starts at 0.
#[inline(always)]
pub(super) fn fields<N: Names>(
    payload: &Payload,
    len: u32,
    captures: bool,
    names: &N,
    facts: &mut RequestFacts,
) -> Result<bool, Undecidable> {
    facts.captured = 0;
    facts.flags = 0;
    facts.seen = 0;
    facts.close_at = 0;
    facts.content_length = 0;
    facts.host = PayloadSpan { start: 0, len: 0 };
    facts.fault = TOO_MANY;
    let mut fields = Fields { payload, names, facts, len, captures };
    repeat(LINES_MAX + 1, &mut fields, |_, fields| match line(fields) {
        Ok(step) => step,
        Err(error) => {
            fields.facts.fault = error as u8 + 1;
            Step::Stop
        }
    });
    match fields.facts.fault {
        NO_FAULT => Ok(fields.facts.seen & LENGTH != 0),
        fault => Err(Undecidable::of(fault - 1)),
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets in a payload")]
fn line<N: Names>(fields: &mut Fields<'_, N>) -> Result<Step, Undecidable> {
    let payload = fields.payload;
    let at = u32::from(fields.facts.head_len);
    if at + 2 > fields.len {
        return Err(Undecidable::Incomplete);
    }
    if word(payload, at) & 0xffff == CRLF {
        fields.facts.fault = NO_FAULT;
        fields.facts.head_len = (at + 2) as u16;
        return Ok(Step::Stop);
    }
    let field =
        field::<false>(payload, at, fields.len, &mut fields.facts.head_len).map_err(|error| match error {
            FieldError::Incomplete => Undecidable::Incomplete,
            FieldError::Odd => Undecidable::Head,
        })?;
    fields.facts.head_len = (field.end + 2) as u16;
    take(fields, &field)?;
    if fields.captures && field.name_len <= HEADER_NAME_MAX as u32 {
        capture(fields, &field)?;
    }
    Ok(Step::Next)
}

/// Does what the name asks for.
#[inline(always)]
fn take<N: Names>(fields: &mut Fields<'_, N>, field: &Field) -> Result<(), Undecidable> {
    let payload = fields.payload;
    match kind(&field.name) {
        Kind::Other => {}
        Kind::HopByHop => return Err(Undecidable::HopByHop),
        Kind::TransferEncoding => return Err(Undecidable::TransferEncoding),
        Kind::Forwarding => fields.facts.flags |= RequestFacts::FORWARDING,
        Kind::Host => {
            // RFC 9112 section 3.2: "any request message that contains more than one Host header field line" is a 400.
            let value = field.value(payload).filter(|_| fields.facts.host.start == 0);
            fields.facts.host = value.ok_or(Undecidable::Host)?;
        }
        Kind::ContentLength => {
            let value = field.value(payload).filter(|_| is_first(fields, LENGTH));
            let value = value.ok_or(Undecidable::Body)?;
            fields.facts.content_length = content_length(payload, value).ok_or(Undecidable::Body)?;
        }
        Kind::Connection => {
            let value = field.value(payload).filter(|_| is_first(fields, CONNECTION));
            let value = value.ok_or(Undecidable::Connection)?;
            match short_text(payload, value) {
                KEEP_ALIVE => {}
                CLOSE => {
                    fields.facts.flags |= RequestFacts::CLOSE;
                    fields.facts.close_at = u32::from(value.start);
                }
                _ => return Err(Undecidable::Connection),
            }
        }
    }
    Ok(())
}

/// Notes that a field is there; whether it was not seen before.
#[inline(always)]
fn is_first<N: Names>(fields: &mut Fields<'_, N>, field: u8) -> bool {
    let before = fields.facts.seen;
    fields.facts.seen = before | field;
    before & field == 0
}

/// A length of at most [`CONTENT_LENGTH_MAX`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 2^30")]
fn content_length(payload: &Payload, value: PayloadSpan) -> Option<u32> {
    const DIGITS_MAX: u32 = 10;
    let count = u32::from(value.len);
    if count > DIGITS_MAX {
        return None;
    }
    let number = decimal(payload, u32::from(value.start) + count, count)?;
    if number <= CONTENT_LENGTH_MAX { Some(number as u32) } else { None }
}

/// Keeps the value if some route matches on the name.
#[inline(always)]
fn capture<N: Names>(fields: &mut Fields<'_, N>, field: &Field) -> Result<(), Undecidable> {
    let name = field.name.map(u64::to_le);
    // SAFETY: four words are 32 bytes, any of which are valid.
    let name: &[u8; HEADER_NAME_MAX] = unsafe { &*name.as_ptr().cast() };
    let Some(number) = fields.names.number(name) else { return Ok(()) };
    let number = u32::from(number) % CAPTURES_MAX as u32;
    if fields.facts.captured & (1 << number) != 0 {
        return Err(Undecidable::HeaderTwice);
    }
    fields.facts.captured |= 1 << number;
    let value = field.value(fields.payload).ok_or(Undecidable::Head)?;
    // SAFETY: `number` is below CAPTURES_MAX.
    unsafe { *fields.facts.captures.get_unchecked_mut(number as usize) = value };
    Ok(())
}

/// What a field means to a gateway.
#[derive(Clone, Copy)]
enum Kind {
    Other,
    Host,
    ContentLength,
    Connection,
    TransferEncoding,
    Forwarding,
    HopByHop,
}

/// The kind of field called `name`, as [`crate::head::Known`] tells them apart.
#[inline(always)]
fn kind(name: &[u64; 4]) -> Kind {
    const HOST: u64 = text(b"host");
    const CONTENT: u64 = text(b"content-");
    const CONNECTION: u64 = text(b"connecti");
    const TRANSFER: u64 = text(b"transfer");
    const FORWARDED: u64 = text(b"forwarde");
    const X_FORWARDED: u64 = text(b"x-forwar");
    const X_REAL_IP: u64 = text(b"x-real-i");
    const TE: u64 = text(b"te");
    const TRAILER: u64 = text(b"trailer");
    const UPGRADE: u64 = text(b"upgrade");
    const EXPECT: u64 = text(b"expect");
    const KEEP: u64 = text(b"keep-ali");
    const HTTP2_SETTINGS: u64 = text(b"http2-se");
    const PROXY: u64 = text(b"proxy");
    const PROXY_: u64 = text(b"proxy-");
    let second = name[1];
    match name[0] {
        HOST => Kind::Host,
        CONTENT if second == const { text(b"length") } => Kind::ContentLength,
        CONNECTION if second == const { text(b"on") } => Kind::Connection,
        TRANSFER if second == const { text(b"-encodin") } && name[2] == u64::from(b'g') => {
            Kind::TransferEncoding
        }
        FORWARDED if second == u64::from(b'd') => Kind::Forwarding,
        X_FORWARDED if second & front(4) == const { text(b"ded-") } => Kind::Forwarding,
        X_REAL_IP if second == u64::from(b'p') => Kind::Forwarding,
        TE | TRAILER | UPGRADE | EXPECT | PROXY => Kind::HopByHop,
        KEEP if second == const { text(b"ve") } => Kind::HopByHop,
        HTTP2_SETTINGS if second == const { text(b"ttings") } => Kind::HopByHop,
        other if other & front(6) == PROXY_ => Kind::HopByHop,
        _ => Kind::Other,
    }
}
