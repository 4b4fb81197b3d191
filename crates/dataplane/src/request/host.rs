use wire::{Payload, RequestFacts};

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

/// Leaves in [`RequestFacts::host`], which is the value of Host, the host without its port: letters, digits, hyphens, and dots
/// between labels. No trailing dot. (A function of its own for the sake of the stack.)
///
/// `Host = uri-host [ ":" port ]` (RFC 9110 section 7.2).
#[inline(never)]
pub(super) fn host(payload: &Payload, facts: &mut RequestFacts) -> Result<(), Undecidable> {
    let start = u32::from(facts.host.start);
    let end = start + u32::from(facts.host.len);
    let mut host = Host { payload, odd: 0, dot: 0x80, start, end, host_end: end };
    // Most hosts are short: two words without the loop's cost.
    if host_word(0, &mut host) == Step::Next && host_word(1, &mut host) == Step::Next {
        // A colon must be found, or the host is too long.
        repeat(HOST_MAX / 8, &mut host, |round, host| host_word(round + 2, host));
    }
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
    #[expect(clippy::cast_possible_truncation, reason = "an offset in a payload")]
    {
        facts.host.len = len as u16;
    }
    Ok(())
}

/// Takes in eight bytes.
#[inline(always)]
fn host_word(index: u32, host: &mut Host<'_>) -> Step {
    let at = host.start + index * 8;
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
}
