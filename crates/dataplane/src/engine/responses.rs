//! Where responses begin and end in a segment of the endpoint.

use wire::{PAYLOAD_MAX, PAYLOAD_ROOM, Payload, ResponseFacts};

use super::emit::end_with_zeros;
use super::{Env, Scratch};
use crate::flow::phase;
use crate::repeat::{Step, repeat};
use crate::response::chunks::{Chunks, Next, PIECE_MAX, Phase};
use crate::response::{self, Unknown};
use crate::sequence::before;

/// Steps of one walk: heads, bodies and boundaries in a segment. A chunk is two: one joined segment may hold 32 of them, as servers
/// write 2 KiB at a time.
const STEPS_MAX: u32 = 72;

/// A record keeps the walk's place in chunked framing in one byte: phase above, digits below.
const DIGITS_BITS: u32 = 5;
const DIGITS_MASK: u32 = (1 << DIGITS_BITS) - 1;

struct Walk<'w, E> {
    env: &'w mut E,
    scratch: &'w mut Scratch,
    /// The end of the segment's data, in the leg's space.
    end: u32,
}

/// Walks over the data of the segment at hand, from where `scratch.view` says that the responses are.
#[inline(never)]
pub(super) fn walk<E: Env>(env: &mut E, scratch: &mut Scratch) {
    let end = scratch.image.seq.wrapping_add(scratch.image.payload_len);
    let mut walk = Walk { env, scratch, end };
    repeat(STEPS_MAX, &mut walk, |round, walk| {
        if round + 1 == STEPS_MAX {
            walk.scratch.view.phase = u32::from(phase::UNKNOWN);
        }
        walk.step()
    });
}

impl<E: Env> Walk<'_, E> {
    #[inline(always)]
    fn step(&mut self) -> Step {
        let view = &mut self.scratch.view;
        if !before(view.leg_next, self.end) {
            return Step::Stop;
        }
        let is_cut = view.phase == u32::from(phase::PARTIAL) && before(view.leg_next, self.scratch.image.seq);
        if is_cut || view.phase == u32::from(phase::UNKNOWN) {
            view.phase = u32::from(phase::UNKNOWN);
            view.leg_next = self.end;
            return Step::Stop;
        }
        let in_chunk =
            view.phase == u32::from(phase::CHUNKED) && view.digits >> DIGITS_BITS == Phase::DataCr as u32;
        if view.phase == u32::from(phase::BODY) || in_chunk && view.remaining > 0 {
            return self.skip();
        }
        // A head or a boundary stands at `leg_next`: the segment must have it.
        if before(view.leg_next, self.scratch.image.seq) {
            view.is_behind_gap = 1;
            return Step::Stop;
        }
        if view.phase == u32::from(phase::CHUNKED) {
            return self.chunk();
        }
        if view.outstanding == 0 {
            view.is_surplus = 1;
            return Step::Stop;
        }
        self.head()
    }

    /// Over bytes whose number is known, seen or not.
    #[inline(always)]
    fn skip(&mut self) -> Step {
        let view = &mut self.scratch.view;
        let here = u64::from(self.end.wrapping_sub(view.leg_next));
        let step = here.min(view.remaining);
        view.leg_next = view.leg_next.wrapping_add(step as u32);
        view.remaining -= step;
        if view.remaining == 0 && view.phase == u32::from(phase::BODY) {
            self.ended();
        }
        Step::Next
    }

    #[inline(always)]
    fn head(&mut self) -> Step {
        let Scratch { image, payload, response: facts, view, .. } = &mut *self.scratch;
        let skipped = view.leg_next.wrapping_sub(image.seq);
        let left = self.end.wrapping_sub(view.leg_next);
        let len = left.min(PAYLOAD_MAX as u32 - 1);
        let at = image.payload_at() + skipped;
        let is_loaded = self.env.load_at::<PAYLOAD_ROOM, PAYLOAD_MAX>(at, &mut payload.bytes, 0, len);
        end_with_zeros(&mut payload.bytes, len);
        let scanned = if is_loaded { response::scan(payload, len, facts) } else { Err(Unknown::Head) };
        if let Err(unknown) = scanned {
            let begins = begins_as_a_head(payload, len);
            // What the client before was not promised, such as the body behind the response to a HEAD.
            if view.is_first != 0 && !begins {
                view.is_unasked = 1;
                view.is_surplus = 1;
                return Step::Stop;
            }
            if view.phase == u32::from(phase::RESUMED) && !begins {
                view.has_not_ended = 1;
            }
            // Its place stays where it is: a repetition may have all of it.
            if begins && left == len && matches!(unknown, Unknown::Incomplete) {
                view.phase = u32::from(phase::PARTIAL);
                return Step::Stop;
            }
            view.phase = u32::from(phase::UNKNOWN);
            view.leg_next = self.end;
            return Step::Stop;
        }
        view.phase = u32::from(phase::HEAD);
        let begins_at = view.leg_next;
        view.leg_next = view.leg_next.wrapping_add(u32::from(facts.head_len));
        // RFC 9110 section 15.2: an interim response is followed by the final one.
        if facts.status < 200 && facts.status != 101 {
            return Step::Next;
        }
        view.status = u32::from(facts.status);
        view.begins_at = begins_at;
        view.ended_before = view.ended;
        // What follows may be believed by the connection that it comes by, as with NTLM.
        if facts.status == 401 || facts.status == 407 {
            view.is_personal = 1;
        }
        view.says_keep_alive = 0;
        if facts.flags & ResponseFacts::CLOSE != 0 {
            view.closes = 1;
        } else if facts.keep_alive_at != 0 {
            view.says_keep_alive = 1;
            view.keep_alive_at = image.seq.wrapping_add(skipped).wrapping_add(facts.keep_alive_at);
        }
        // RFC 9112 section 6.3.
        let has_no_body = view.heads & 1 != 0 || facts.status == 204 || facts.status == 304;
        if has_no_body
            || facts.flags & (ResponseFacts::LENGTH | ResponseFacts::UPGRADE) == ResponseFacts::LENGTH
        {
            view.remaining = if has_no_body { 0 } else { facts.content_length };
            view.phase = u32::from(phase::BODY);
            if view.remaining == 0 {
                self.ended();
            }
        } else if facts.flags & (ResponseFacts::CHUNKED | ResponseFacts::UPGRADE) == ResponseFacts::CHUNKED {
            view.phase = u32::from(phase::CHUNKED);
            view.remaining = 0;
            view.digits = 0;
        } else {
            view.phase = u32::from(phase::UNKNOWN);
            view.closes = 1;
        }
        Step::Next
    }

    #[inline(always)]
    fn chunk(&mut self) -> Step {
        let Scratch { image, piece, view, .. } = &mut *self.scratch;
        let skipped = view.leg_next.wrapping_sub(image.seq);
        let len = self.end.wrapping_sub(view.leg_next).min(PIECE_MAX as u32);
        if !self.env.load(image.payload_at() + skipped, piece, len) {
            view.phase = u32::from(phase::UNKNOWN);
            return Step::Stop;
        }
        let mut chunks = Chunks {
            phase: (view.digits >> DIGITS_BITS) as u8,
            digits: (view.digits & DIGITS_MASK) as u8,
            remaining: view.remaining,
        };
        let fed = chunks.feed(piece, len);
        view.leg_next = view.leg_next.wrapping_add(fed.consumed);
        view.digits = u32::from(chunks.phase) << DIGITS_BITS | u32::from(chunks.digits);
        view.remaining = chunks.remaining;
        match fed.next {
            Next::Framing | Next::Data => Step::Next,
            Next::End => {
                self.ended();
                Step::Next
            }
            Next::Unknown => {
                view.phase = u32::from(phase::UNKNOWN);
                view.leg_next = self.end;
                Step::Stop
            }
        }
    }

    #[inline(always)]
    fn ended(&mut self) {
        let view = &mut self.scratch.view;
        view.phase = u32::from(phase::HEAD);
        view.remaining = 0;
        view.outstanding = view.outstanding.saturating_sub(1);
        view.heads >>= 1;
        view.ended += 1;
        view.ended_at = view.leg_next;
    }
}

/// Whether bytes that are no whole head may be the beginning of one (RFC 9112 section 4).
#[inline(always)]
fn begins_as_a_head(payload: &Payload, len: u32) -> bool {
    let [a, b, c, d, e, f, g, ..] = payload.bytes;
    if len < 7 { a == b'H' } else { [a, b, c, d, e, f, g] == *b"HTTP/1." }
}
