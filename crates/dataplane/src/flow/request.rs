use wire::{Flow, POINTS_MAX, RequestFacts, TcpFlags};

use super::{OUTSTANDING_MAX, Plan, closing, flag, leg_flag, phase, points, state};
use crate::image::Image;
use crate::sequence::{latest, not_after};

/// What the route of a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Wish {
    /// The endpoint of the leg is as good as any.
    SameLeg,
    /// Another endpoint.
    OtherLeg,
    /// The host's stack: not decidable here.
    Host,
}

/// What to do with a request on an established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RequestStep {
    /// The record changed meanwhile: drop, the client sends it again.
    Stale,
    /// Send it to the endpoint as the plan says.
    Forward,
    /// Leave the leg (it is idle, and the record says so now) and bind another endpoint.
    Bind,
    /// Leave the leg and give the connection to the host.
    HandOff,
    /// Responses are still under way: drop, the client sends it again.
    Hold,
    /// A hold that would never end: reset the client, which can ask again on another connection, and leave the leg.
    GiveUp,
}

/// A request, decoded as `facts`, at the place where the next request starts. `insert`: its forwarded headers are to be
/// inserted. `length`: its bytes, head and body, of which the segment holds all or a part.
#[inline(always)]
pub fn on_request(
    flow: &mut Flow,
    image: &Image,
    facts: &RequestFacts,
    wish: Wish,
    insert: bool,
    now: u64,
    plan: &mut Plan,
) -> RequestStep {
    let is_joined = flow.state == state::SPLICED;
    if flow.client != image.tuple
        || flow.next_seq != image.seq
        || !(is_joined || flow.state == state::UNBOUND)
        || closing::asks_no_more(flow)
    {
        return RequestStep::Stale;
    }
    if !is_joined {
        return match wish {
            Wish::Host => RequestStep::HandOff,
            _ => RequestStep::Bind,
        };
    }
    note_pipelining(flow, image);
    if wish == Wish::SameLeg && flow.flags & (flag::LEG_ENDS | flag::CLOSE) == 0 {
        // Who does not pipeline has seen the end of the answer before it.
        let resumes =
            flow.phase == phase::UNKNOWN && flow.outstanding == 1 && flow.flags & flag::PIPELINES == 0;
        // What cannot be told need not be counted.
        let is_counted = flow.outstanding < OUTSTANDING_MAX || flow.phase == phase::UNKNOWN;
        let has_room = is_counted && (!insert || flow.points_used < POINTS_MAX as u8);
        if !has_room || resumes && (!has_all(flow, image) || flow.asked != 0) {
            return hold(flow, image);
        }
        if resumes {
            flow.outstanding = 0;
        }
        let step = push(flow, image, facts, insert, now, plan);
        if resumes {
            flow.phase = phase::RESUMED;
        }
        return step;
    }
    // After a FIN has passed in either direction the ends know each other too well.
    if flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) != 0 || !is_idle(flow, image) {
        return hold(flow, image);
    }
    match wish {
        Wish::Host => RequestStep::HandOff,
        _ => RequestStep::Bind,
    }
}

#[inline(always)]
fn push(
    flow: &mut Flow,
    image: &Image,
    facts: &RequestFacts,
    insert: bool,
    now: u64,
    plan: &mut Plan,
) -> RequestStep {
    plan.up(flow, image);
    if insert {
        plan.insert_at = u32::from(facts.line_len);
        plan.insert_len = u32::from(flow.insert_len);
        points::add(flow, image.seq.wrapping_add(plan.insert_at));
    }
    if flow.outstanding == 0 {
        flow.asked = now;
        flow.heads = 0;
        if flow.phase != phase::HEAD || flow.leg_next != flow.leg_end {
            flow.leg_flags |= leg_flag::DOUBTFUL;
        }
        // Where the endpoint's next byte will be; what came before was answered for.
        flow.phase = phase::HEAD;
        flow.leg_next = flow.leg_end;
    } else {
        // Which of them an answer had heard of, nobody looks at.
        flow.leg_flags |= leg_flag::DOUBTFUL;
    }
    note(flow, image, facts);
    closing::blank(flow, image, plan);
    let fin = u32::from(image.has(TcpFlags::FIN));
    if fin != 0 {
        flow.flags |= flag::CLIENT_FIN;
        flow.client_end = latest(flow.client_end, image.end());
        flow.client_fin = image.end().wrapping_sub(1);
    }
    flow.drawn = flow.drawn.wrapping_add(1);
    RequestStep::Forward
}

/// Books a request as given to the leg.
#[inline(always)]
pub(crate) fn note(flow: &mut Flow, image: &Image, facts: &RequestFacts) {
    let is_head = u32::from(facts.method == wire::Method::Head as u8);
    flow.heads |= is_head << (flow.outstanding & 31);
    flow.outstanding = (flow.outstanding + 1).min(OUTSTANDING_MAX);
    flow.requests = flow.requests.wrapping_add(1);
    flow.newest_seq = image.seq;
    flow.next_seq = image.seq.wrapping_add(u32::from(facts.head_len)).wrapping_add(facts.content_length);
    // Its FIN, if any, is another matter: one that opens a leg leaves it behind.
    flow.client_end = latest(flow.client_end, image.seq.wrapping_add(image.payload_len));
    flow.client_ack = latest(flow.client_ack, image.ack);
    flow.held = 0;
    let is_repeatable = facts.method != wire::Method::Post as u8 && facts.method != wire::Method::Patch as u8;
    flow.flags = flow.flags & !flag::REPEATABLE | if is_repeatable { flag::REPEATABLE } else { 0 };
    closing::take_over(flow, image, facts);
}

/// Whether all responses have ended and the client has every byte of them. Where the end of a response cannot be seen, the same
/// request, held before and sent again though the endpoint sent nothing since, shows that the client saw it, unless it pipelines;
/// but a response that ends with its connection (RFC 9112 section 6.3) has not ended.
#[inline(always)]
fn is_idle(flow: &Flow, image: &Image) -> bool {
    let waited = flow.held > 1 && flow.held_seq == image.seq && flow.held_end == flow.leg_end;
    let cannot_tell = flow.flags & (flag::CLOSE | flag::PIPELINES) != 0;
    let seen = flow.phase == phase::UNKNOWN && waited && flow.asked == 0 && !cannot_tell;
    let has_ended = flow.outstanding == 0 || (flow.outstanding == 1 && seen);
    has_all(flow, image) && has_ended
}

/// Whether the client has acknowledged every byte that was sent to it.
#[inline(always)]
fn has_all(flow: &Flow, image: &Image) -> bool {
    not_after(flow.sent_end, latest(flow.client_ack, image.ack))
}

/// Notes from a segment at or behind the next request whether the client pipelines: it has sent that request (seen here or lost) while
/// a response had surely not ended, or without having all of it.
#[inline(always)]
pub(super) fn note_pipelining(flow: &mut Flow, image: &Image) {
    let may_have_ended =
        flow.phase == phase::UNKNOWN && flow.asked == 0 && not_after(flow.sent_end, image.ack);
    if flow.outstanding != 0 && !may_have_ended {
        flow.flags |= flag::PIPELINES;
    }
}

#[inline(always)]
fn hold(flow: &mut Flow, image: &Image) -> RequestStep {
    let is_same = flow.held != 0 && flow.held_seq == image.seq && flow.held_end == flow.leg_end;
    flow.held = if is_same { flow.held.saturating_add(1) } else { 1 };
    flow.held_seq = image.seq;
    flow.held_end = flow.leg_end;
    // Responses whose ends cannot be seen, and silence: nothing will ever tell that they ended, but where the connection ends with it.
    let is_untold = flow.outstanding > 1 || flow.flags & (flag::PIPELINES | flag::CLOSE) == flag::PIPELINES;
    let is_stuck = flow.held >= HOLDS_MAX && flow.phase == phase::UNKNOWN && is_untold;
    if is_stuck { RequestStep::GiveUp } else { RequestStep::Hold }
}

/// Holds in a row, at the client's growing distances: some ten seconds.
const HOLDS_MAX: u8 = 6;

/// Books the request in `image` as the one that opens a leg: what its segment said is what the leg starts from.
///
/// `insert_at`: where its forwarded headers are inserted, in bytes from its start; `None`: nowhere.
#[inline(always)]
pub fn open_with(flow: &mut Flow, image: &Image, facts: &RequestFacts, insert_at: Option<u32>, now: u64) {
    flow.request_seq = image.seq;
    // A request that was overtaken by later acknowledgements must not open the leg at places that have been filled since.
    flow.request_ack = latest(flow.client_ack, image.ack);
    flow.request_tsval = image.tsval;
    flow.request_tsecr = image.tsecr;
    flow.request_window = image.window as u16;
    flow.asked = now;
    flow.outstanding = 0;
    flow.heads = 0;
    flow.drawn = 0;
    flow.points_used = 0;
    if let Some(at) = insert_at {
        points::add(flow, image.seq.wrapping_add(at));
    }
    note(flow, image, facts);
}
