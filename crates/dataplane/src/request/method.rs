use wire::{Method, Payload};

use crate::payload::word::{front, text, word};

/// The method and the offset of the target behind it and its space.
///
/// Methods are case-sensitive (RFC 9110 section 9.1).
#[inline(always)]
pub(super) fn method(payload: &Payload) -> Option<(Method, u32)> {
    const GET: u64 = text(b"GET ");
    const PUT: u64 = text(b"PUT ");
    const HEAD: u64 = text(b"HEAD ");
    const POST: u64 = text(b"POST ");
    const PATCH: u64 = text(b"PATCH ");
    const DELETE: u64 = text(b"DELETE ");
    const OPTIONS: u64 = text(b"OPTIONS ");
    let line = word(payload, 0);
    match line & front(4) {
        GET => return Some((Method::Get, 4)),
        PUT => return Some((Method::Put, 4)),
        _ => {}
    }
    match line & front(5) {
        HEAD => return Some((Method::Head, 5)),
        POST => return Some((Method::Post, 5)),
        _ => {}
    }
    if line & front(6) == PATCH {
        Some((Method::Patch, 6))
    } else if line & front(7) == DELETE {
        Some((Method::Delete, 7))
    } else if line == OPTIONS {
        Some((Method::Options, 8))
    } else {
        None
    }
}
