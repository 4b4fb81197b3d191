use wire::{Payload, PayloadSpan};

use super::Undecidable;
use crate::payload::decimal::decimal;
use crate::payload::word::{TOPS, alphanumeric, before, byte, equal, first, front, word};
use crate::repeat::{Step, repeat};

/// The longest host: a DNS name without its trailing dot (RFC 1035 section 2.3.4).
const HOST_MAX: u32 = 253;

struct Host<'p> {
    payload: &'p Payload,
    /// Not zero: something stood there that is not ours to judge.
    odd: u64,
    /// A mark in the first byte: a label must start here.
    dot: u64,
    start: u32,
    end: u32,
    /// Where the host ends: before the port.
    host_end: u32,
}

/// The host in the value of Host, without its port: letters, digits, hyphens, and dots between labels. No trailing dot.
///
/// `Host = uri-host [ ":" port ]` (RFC 9110 section 7.2).
#[inline(always)]
pub(super) fn host(payload: &Payload, value: PayloadSpan) -> Result<PayloadSpan, Undecidable> {
    let start = u32::from(value.start);
    let end = start + u32::from(value.len);
    let mut host = Host { payload, odd: 0, dot: 0x80, start, end, host_end: end };
    // One word more than the longest host has: a colon must be found, or the host is too long.
    repeat(HOST_MAX / 8 + 2, &mut host, |round, host| {
        let at = host.start + round * 8;
        let text = word(host.payload, at);
        let mine = front(host.end - at);
        let colon = equal(text, b':') & mine;
        let mine = mine & before(colon);
        let dots = equal(text, b'.') & mine;
        let right = alphanumeric(text) | equal(text, b'-') | dots;
        let behind_dot = (dots << 8) | host.dot;
        host.odd |= (!right & TOPS & mine) | (behind_dot & dots);
        host.dot = dots >> 56;
        if colon != 0 {
            host.host_end = at + first(colon);
            return Step::Stop;
        }
        if at + 8 < host.end { Step::Next } else { Step::Stop }
    });
    let len = host.host_end - start;
    if host.odd != 0 || len == 0 || len > HOST_MAX || byte(payload, host.host_end - 1) == b'.' {
        return Err(Undecidable::Host);
    }
    if host.host_end != end {
        let digits = end - host.host_end - 1;
        let port = decimal(payload, end, digits.min(6));
        if digits > 5 || port.is_none_or(|port| port > 0xffff) {
            return Err(Undecidable::Host);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a payload")]
    Ok(PayloadSpan { start: start as u16, len: len as u16 })
}
