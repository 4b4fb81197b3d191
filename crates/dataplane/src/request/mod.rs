//! What of a request the kernel may decide: exactly one request, in one segment, whose head can be read in one way only.
//!
//! The scan is narrower than [`crate::head`], which Tier 3 reads with: whatever it accepts, that scanner and Tier 3's
//! codec accept with the same meaning. When in doubt it says [`Undecidable`], and Tier 3 decides.

mod fields;
mod host;
mod method;
mod target;
mod undecidable;

pub use undecidable::Undecidable;

use wire::{HEADER_NAME_MAX, Method, PAYLOAD_MAX, Payload, RequestFacts};

use crate::payload::line::{CRLF, control_byte};
use crate::payload::word::{forget, word};
use fields::fields;
use host::host;
use method::method;
use target::target;

/// The longest path in bytes: what fits the keys of route tables.
pub const PATH_MAX: u32 = 248;

/// The most field lines.
pub const LINES_MAX: u32 = 64;

/// The largest Content-Length.
pub const CONTENT_LENGTH_MAX: u64 = 1 << 30;

/// The field names that some route matches on.
pub trait Names {
    /// The number (below [`wire::CAPTURES_MAX`]) of `name`: lower case, zeros behind it.
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8>;
}

/// Reads the one request that a segment of `len` bytes holds; with `captures`, the values of fields that `names` has a
/// number for. `payload` has the segment's first bytes, at least the smaller of `len` and [`PAYLOAD_MAX`].
///
/// A body may be missing its tail, or all of it: compare [`RequestFacts::content_length`] with the bytes behind the head.
/// Forwarding headers are no reason to refuse, only told ([`RequestFacts::FORWARDING`]).
///
/// # Errors
/// Why the request is Tier 3's; `facts` means nothing then.
///
/// Source: RFC 9112 sections 2 to 6, RFC 9110 sections 7.2, 7.6 and 8.6; each narrowed to what can be read in one way only.
#[inline(never)]
pub fn scan<N: Names>(
    payload: &Payload,
    len: u32,
    captures: bool,
    names: &N,
    facts: &mut RequestFacts,
) -> Result<(), Undecidable> {
    let segment = len;
    let len = forget(segment.min(PAYLOAD_MAX as u32), &mut facts.line_len);
    let Some((method, method_len)) = method(payload) else { return Err(no_method(payload, len)) };
    facts.method = method as u8;
    let method_len = forget(method_len, &mut facts.line_len);
    let line_end = forget(request_line_end(payload, method_len, len)?, &mut facts.line_len);
    target(payload, method_len, line_end - VERSION_LEN, facts)?;
    #[expect(clippy::cast_possible_truncation, reason = "an offset in a payload")]
    let line_len = (line_end + 2) as u16;
    facts.line_len = line_len;
    facts.head_len = line_len;
    let has_length = fields(payload, len, captures, names, facts)?;
    host(payload, facts)?;
    const HAVE_BODIES: u32 = 1 << Method::Post as u32 | 1 << Method::Put as u32 | 1 << Method::Patch as u32;
    let has_body = HAVE_BODIES >> (facts.method & 7) & 1 == 1;
    if has_body && !has_length || !has_body && facts.content_length > 0 {
        return Err(Undecidable::Body);
    }
    if segment - u32::from(facts.head_len) > facts.content_length {
        return Err(Undecidable::MoreThanOne);
    }
    Ok(())
}

/// ` HTTP/1.1`
const VERSION_LEN: u32 = 9;

/// Where the request line's CRLF is; the line ends with a space and the version.
#[inline(always)]
fn request_line_end(payload: &Payload, method_len: u32, len: u32) -> Result<u32, Undecidable> {
    const HTTP_1_1: u64 = crate::payload::word::text(b"HTTP/1.1");
    let end = control_byte(payload, method_len, len);
    if end + 2 > len {
        return Err(Undecidable::Incomplete);
    }
    if word(payload, end) & 0xffff != CRLF {
        return Err(Undecidable::Head);
    }
    // There is a target of at least one byte, and a space before the version.
    let space = end.wrapping_sub(VERSION_LEN);
    let spaced = word(payload, space) & 0xff == u64::from(b' ');
    if end <= method_len + VERSION_LEN || !spaced || word(payload, end - 8) != HTTP_1_1 {
        return Err(Undecidable::Version);
    }
    Ok(end)
}

/// A method that is none of ours, or the first bytes of one.
#[inline(always)]
fn no_method(payload: &Payload, len: u32) -> Undecidable {
    if control_byte(payload, 0, len) < len { Undecidable::Method } else { Undecidable::Incomplete }
}
