use wire::{Flow, TcpFlags, TcpOptions};

use super::challenge::is_outdated;
use super::leg::roll_back;
use super::plan::is_over;
use super::pool::is_early;
use super::{Plan, closing, flag, leg_flag, phase, points, state, told, unbind, ways};
use crate::image::Image;
use crate::sequence::{before, is_near, latest, not_after};

/// What to do with a segment of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum EndpointStep {
    /// The leg is no longer this flow's: answer with RST.
    Orphan,
    /// A SYN-ACK to our SYN: call [`super::accepted`].
    Accepted,
    /// The SYN-ACK again: our answer to it was lost.
    AcceptedAgain,
    /// The endpoint refused: bind another.
    Refused,
    /// Answer the endpoint with RST; the leg goes on (an old connection of its own was in the way).
    Reset,
    /// Send it to the client as the plan says.
    Forward,
    /// The same, and forget the connection: it is over.
    ForwardLast,
    /// The same, and forget the leg: the client, which has closed its side, is sent the end.
    ForwardEnd,
    /// The leg has ended, the client stays: answer with RST as the plan says.
    Ended,
    /// The same, but there is nothing to answer.
    EndedSilently,
    /// Drop: it is outside the window or behind a gap that may hide the end of a response.
    Gap,
    /// Drop: nothing that anyone waits for.
    Useless,
}

/// What the engine knows of the responses before it looks into the segment, and what it found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ResponseView {
    /// See `Flow`.
    pub remaining: u64,
    /// See `Flow`.
    pub leg_next: u32,
    /// See `Flow`.
    pub heads: u32,
    /// See `Flow`.
    pub outstanding: u32,
    /// See `Flow`.
    pub phase: u32,
    /// See `Flow`.
    pub digits: u32,
    /// `Flow::leg_next` when the view was taken: the walk counts only if it still is that.
    pub taken_at: u32,
    /// Set if an endpoint or its response said that the connection will close.
    pub closes: u32,
    /// Status of the last final response head in the segment; 0: none.
    pub status: u32,
    /// How many responses ended in the segment.
    pub ended: u32,
    /// Set if the segment holds data that no request asked for.
    pub is_surplus: u32,
    /// Set if a head or boundary lies behind a gap.
    pub is_behind_gap: u32,
    /// Set if the response before the newest request had not ended after all.
    pub has_not_ended: u32,
    /// Where that head begins.
    pub begins_at: u32,
    /// How many responses ended in the segment before that head.
    pub ended_before: u32,
    /// Where the last response ended that did so in the segment.
    pub ended_at: u32,
    /// Set if what stands in the place of an answer is none, on a leg that was another client's.
    pub is_unasked: u32,
    /// Set if the endpoint may know by the connection who the client is.
    pub is_personal: u32,
    /// Where the newest final head says `keep-alive`, in the leg's space, if `says_keep_alive` is not 0.
    pub keep_alive_at: u32,
    /// See `keep_alive_at`.
    pub says_keep_alive: u32,
    /// Set if the next byte is the first of an answer on a leg that was another client's.
    pub is_first: u32,
}

/// A view of where the responses are.
#[inline(always)]
pub fn response_view(flow: &Flow, view: &mut ResponseView) {
    *view = ResponseView {
        remaining: flow.remaining,
        leg_next: flow.leg_next,
        heads: flow.heads,
        outstanding: u32::from(flow.outstanding),
        phase: u32::from(flow.phase),
        digits: u32::from(flow.chunk_digits),
        taken_at: flow.leg_next,
        ..ResponseView::default()
    };
}

/// A segment of the endpoint. `view` is what a walk over its bytes has found, starting from [`response_view`]; without data it
/// is not looked at.
#[inline(never)]
pub fn on_endpoint(
    flow: &mut Flow,
    image: &Image,
    view: &ResponseView,
    now: u64,
    plan: &mut Plan,
) -> EndpointStep {
    if flow.state == state::FREE || flow.leg != image.tuple {
        return EndpointStep::Orphan;
    }
    if flow.state == state::OPENING {
        return while_opening(flow, image);
    }
    if flow.state != state::SPLICED {
        return EndpointStep::Orphan;
    }
    if image.has(TcpFlags::SYN) {
        let is_again = image.has(TcpFlags::ACK) && image.seq == flow.leg_peer_isn;
        return if is_again { EndpointStep::AcceptedAgain } else { EndpointStep::Useless };
    }
    if !is_near(image.seq, flow.leg_end, reach(flow.client_options)) {
        return EndpointStep::Useless;
    }
    flow.last_seen = now;
    if image.has(TcpFlags::RST) {
        return on_reset(flow, image, plan);
    }
    if !image.has(TcpFlags::ACK) || before(flow.client_end, points::to_client(flow, image.ack)) {
        return EndpointStep::Useless;
    }
    if is_outdated(image.ack, flow.leg_ack, flow.leg_options) {
        return EndpointStep::Useless;
    }
    let is_early = is_early(flow, image);
    if is_early {
        flow.leg_flags |= leg_flag::DOUBTFUL;
    }
    let is_unasked = is_early && flow.leg_flags & leg_flag::POOLED != 0;
    // Nothing of before the bind: those numbers belong to another leg in the client's space.
    if !is_unasked && is_before_bind(flow, image.seq) && image.payload_len != 0 {
        return EndpointStep::Useless;
    }
    plan.down(flow, image);
    if is_unasked || is_hollow(flow, image) {
        return on_surplus(flow, image, is_unasked, plan);
    }
    if before(flow.leg_ack, image.ack) {
        ways::heard_up(flow);
        flow.leg_ack = image.ack;
        told::note(flow, image.ack);
    }
    points::fold(flow, image.ack);
    if flow.flags & flag::CLIENT_FIN != 0 && before(flow.client_fin, plan.ack) {
        flow.flags |= flag::CLIENT_FIN_ACKED;
    }
    let left = if image.payload_len != 0 { view.outstanding } else { u32::from(flow.outstanding) };
    if image.has(TcpFlags::FIN) && left != 0 && before(flow.leg_end, image.seq) {
        // What it ends may lie in the gap before it: it comes again.
        return behind_gap(flow);
    }
    if image.payload_len != 0 {
        if view.is_behind_gap != 0 {
            return behind_gap(flow);
        }
        if flow.leg_next != view.taken_at {
            if !skip(flow, image) {
                return EndpointStep::Gap;
            }
        } else if view.is_surplus != 0 {
            return on_surplus(flow, image, view.is_unasked != 0, plan);
        } else {
            advance(flow, image, view);
        }
    }
    note_sent(flow, image, plan);
    if image.payload_len != 0 {
        closing::tell(flow, image, plan);
    }
    if image.has(TcpFlags::FIN) {
        return on_fin(flow, image, plan);
    }
    if is_over(flow.flags) {
        flow.state = state::FREE;
        return EndpointStep::ForwardLast;
    }
    EndpointStep::Forward
}

/// Whether the segment is the endpoint's end behind bytes that nobody asked for, of a client that has closed its side: it waits for an end,
/// and would never have what is before this one.
#[inline(never)]
fn is_hollow(flow: &Flow, image: &Image) -> bool {
    image.has(TcpFlags::FIN)
        && image.payload_len == 0
        && flow.outstanding == 0
        && flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) == flag::CLIENT_FIN
        && before(flow.leg_next, image.seq)
}

/// What comes again may answer another client by then, if it is nothing that was asked for.
#[inline(always)]
fn behind_gap(flow: &mut Flow) -> EndpointStep {
    flow.leg_flags |= leg_flag::DOUBTFUL;
    EndpointStep::Gap
}

/// How far from the newest byte a segment of the endpoint may be: the client's own window bounds what may be under way (RFC 7323
/// section 2.3), and as much may be repeated. `client`: what it announced.
#[inline(always)]
pub(super) fn reach(client: TcpOptions) -> u32 {
    let shift = u32::from(client.window_scale);
    1 << (17 + if shift > 13 { 13 * u32::from(shift == 14) } else { shift })
}

/// A leg's first byte is remembered for so many bytes, then a later one, farther back than anything may be repeated: with 2^31 and
/// more between them, numbers do not say which one comes first.
const FORGOTTEN: u32 = 1 << 31;

/// Whether a segment that is near lies before the leg's first byte.
#[inline(always)]
const fn is_before_bind(flow: &Flow, seq: u32) -> bool {
    let said = flow.leg_end.wrapping_sub(flow.leg_peer_isn).wrapping_sub(1);
    before(seq, flow.leg_end) && flow.leg_end.wrapping_sub(seq) > said
}

#[inline(always)]
fn while_opening(flow: &Flow, image: &Image) -> EndpointStep {
    let answers_us = image.has(TcpFlags::ACK) && image.ack == flow.leg_isn.wrapping_add(1);
    if image.has(TcpFlags::RST) {
        return if answers_us { EndpointStep::Refused } else { EndpointStep::Useless };
    }
    if answers_us && image.has(TcpFlags::SYN) { EndpointStep::Accepted } else { EndpointStep::Reset }
}

/// Another segment has moved the place where the walk began. Whether this one can do without a walk: it holds nothing but what was
/// walked over, or bytes whose number is known, or such that nobody counts. Else it must come again.
#[inline(always)]
fn skip(flow: &mut Flow, image: &Image) -> bool {
    let end = image.seq.wrapping_add(image.payload_len);
    if !before(flow.leg_next, end) {
        return true;
    }
    flow.leg_flags |= leg_flag::DOUBTFUL;
    let length = u64::from(end.wrapping_sub(flow.leg_next));
    if flow.phase == phase::BODY && length < flow.remaining {
        flow.remaining -= length;
    } else if flow.phase != phase::UNKNOWN {
        return false;
    }
    flow.leg_next = end;
    true
}

/// Takes over what the walk found.
#[inline(always)]
fn advance(flow: &mut Flow, image: &Image, view: &ResponseView) {
    if before(view.taken_at, image.seq.wrapping_add(image.payload_len)) {
        flow.leg_next = view.leg_next;
        flow.remaining = view.remaining;
        flow.phase = view.phase as u8;
        flow.chunk_digits = view.digits as u8;
        if view.closes != 0 {
            flow.flags |= flag::CLOSE;
        } else if view.says_keep_alive != 0 {
            closing::note_head(flow, view.keep_alive_at.wrapping_sub(flow.ack_add));
        }
        // By how many, not how many: a request may have been added meanwhile.
        flow.heads = flow.heads.checked_shr(view.ended).unwrap_or(0);
        flow.outstanding = flow.outstanding.saturating_sub(view.ended as u8);
        if view.has_not_ended != 0 {
            flow.heads <<= 1;
            flow.outstanding = flow.outstanding.saturating_add(1);
            flow.flags |= flag::PIPELINES;
        }
        if view.phase == u32::from(phase::UNKNOWN) || view.has_not_ended | view.is_personal != 0 {
            flow.leg_flags |= leg_flag::DOUBTFUL;
        }
        flow.asked = 0;
    }
}

#[inline(always)]
fn note_sent(flow: &mut Flow, image: &Image, plan: &mut Plan) {
    let end = image.seq.wrapping_add(image.payload_len);
    // Without data nothing was sent: what it is behind may be lost, or a FIN that the client was not told of.
    if image.payload_len != 0 {
        if !before(flow.leg_end, end) {
            ways::repeated_down(flow, plan);
        }
        flow.leg_end = latest(flow.leg_end, end);
        if flow.leg_end.wrapping_sub(flow.leg_peer_isn) > FORGOTTEN {
            flow.leg_peer_isn = flow.leg_end.wrapping_sub(FORGOTTEN / 2);
        }
        flow.sent_end = latest(flow.sent_end, end.wrapping_sub(flow.ack_add));
    }
    flow.sent_tsval = latest(flow.sent_tsval, plan.tsval);
    flow.leg_peer_tsval = latest(flow.leg_peer_tsval, image.tsval);
}

/// Whether the endpoint may leave without the client noticing: all is answered, and nobody said goodbye.
#[inline(always)]
fn can_leave(flow: &Flow) -> bool {
    let is_told = !closing::asks_no_more(flow) || closing::is_ours(flow);
    flow.outstanding == 0
        && is_told
        && flow.flags & (flag::CLOSE | flag::CLIENT_FIN | flag::LEG_FIN) == 0
        && flow.client_end == flow.next_seq
}

/// Whether the endpoint closed while a request was on its way that it has seen nothing of: then it can be given to another.
#[inline(never)]
fn crossed(flow: &Flow) -> bool {
    let seen = points::to_client(flow, flow.leg_ack);
    flow.outstanding == 1
        && flow.asked != 0
        && flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) == 0
        && not_after(seen, flow.newest_seq)
        && flow.leg_next == flow.leg_end
        && not_after(flow.sent_end, flow.client_ack)
}

/// Whether the endpoint may have acted on a request that must not be sent twice: the reset is that of a host which knows no such connection
/// (RFC 9293 section 3.5.2), and says nothing of what was heard while there was one. Only in answer to the first copy nothing was.
#[inline(always)]
const fn may_have_acted(flow: &Flow, image: &Image) -> bool {
    flow.flags & flag::REPEATABLE == 0
        && !image.has(TcpFlags::ACK)
        && (ways::is_repeated_up(flow) || flow.leg_flags & leg_flag::RESET_AHEAD != 0)
}

#[inline(always)]
fn on_fin(flow: &mut Flow, image: &Image, plan: &mut Plan) -> EndpointStep {
    let fin = image.seq.wrapping_add(image.payload_len);
    // Data with it is a repetition: new bytes would have been an answer.
    if crossed(flow) {
        plan.reset_leg(flow, image);
        roll_back(flow, plan);
        return EndpointStep::Ended;
    }
    if can_leave(flow) {
        if image.payload_len == 0 && not_after(flow.sent_end, flow.client_ack) {
            plan.reset_leg(flow, image);
            unbind(flow);
            return EndpointStep::Ended;
        }
        flow.flags |= flag::LEG_ENDS;
        if !closing::is_ours(flow) {
            plan.flags &= !u32::from(TcpFlags::FIN);
        }
        // Repeated FINs without data tell the client nothing.
        return if image.payload_len == 0 { EndpointStep::Useless } else { EndpointStep::Forward };
    }
    flow.flags |= flag::LEG_FIN;
    flow.leg_fin = fin.wrapping_sub(flow.ack_add);
    flow.leg_end = latest(flow.leg_end, fin.wrapping_add(1));
    flow.sent_end = latest(flow.sent_end, flow.leg_fin.wrapping_add(1));
    if is_over(flow.flags) {
        flow.state = state::FREE;
        return EndpointStep::ForwardLast;
    }
    EndpointStep::Forward
}

/// RFC 5961 section 3.2: only a RST that names exactly the next byte is believed: the next that we have not seen, or the next
/// that the client has not, for a closed endpoint answers with what it was asked for.
#[inline(always)]
fn on_reset(flow: &mut Flow, image: &Image, plan: &mut Plan) -> EndpointStep {
    let missing = flow.client_ack.wrapping_add(flow.ack_add);
    if image.seq != flow.leg_end && image.seq != missing {
        // What is lost on this side of the client may lie before it: the client, which knows, asks back.
        plan.down(flow, image);
        plan.keep = 0;
        if !before(missing, image.seq) {
            return EndpointStep::Useless;
        }
        flow.leg_flags |= leg_flag::RESET_AHEAD;
        return EndpointStep::Forward;
    }
    // What only the reset acknowledges was not acted on, or its answer is lost: an idempotent request may be sent again.
    if image.has(TcpFlags::ACK) && flow.flags & flag::REPEATABLE == 0 {
        flow.leg_ack = latest(flow.leg_ack, image.ack);
    }
    if crossed(flow) && !may_have_acted(flow, image) {
        roll_back(flow, plan);
        return EndpointStep::EndedSilently;
    }
    // Without the lost tail that only the endpoint had, the client must learn of it.
    if can_leave(flow) && not_after(flow.sent_end, flow.client_ack) {
        unbind(flow);
        return EndpointStep::EndedSilently;
    }
    plan.down(flow, image);
    reset_client(flow, plan)
}

/// The connection ends, and the client hears of it.
#[inline(always)]
fn reset_client(flow: &mut Flow, plan: &mut Plan) -> EndpointStep {
    plan.keep = 0;
    plan.ack = flow.client_end;
    plan.flags = u32::from(TcpFlags::RST | TcpFlags::ACK);
    flow.state = state::FREE;
    EndpointStep::ForwardLast
}

/// Data that no request asked for would answer the next one: the leg is not to be trusted further.
#[inline(always)]
fn on_surplus(flow: &mut Flow, image: &Image, is_unasked: bool, plan: &mut Plan) -> EndpointStep {
    flow.leg_flags |= leg_flag::DOUBTFUL;
    if is_unasked {
        // The endpoint may act on what it gets yet: only the client knows whether to ask again. What is dropped would come again with
        // a newer acknowledgement, and look like an answer.
        if !crossed(flow) || flow.flags & flag::REPEATABLE == 0 {
            plan.seq = flow.sent_end;
            return reset_client(flow, plan);
        }
        plan.reset_leg(flow, image);
        roll_back(flow, plan);
        return EndpointStep::Ended;
    }
    let has_all = not_after(flow.sent_end, flow.client_ack);
    let closes =
        flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) == flag::CLIENT_FIN && !closing::is_ours(flow);
    if closes && has_all && flow.outstanding == 0 {
        // Its end would stand behind a hole.
        plan.keep = 0;
        plan.seq = flow.sent_end;
        plan.ack = flow.client_end;
        plan.flags = u32::from(TcpFlags::FIN | TcpFlags::ACK);
        unbind(flow);
        flow.sent_end = flow.sent_end.wrapping_add(1);
        flow.state = state::CLOSING;
        return EndpointStep::ForwardEnd;
    }
    // A request may have been sent on since the walk looked: then it is that one's to deal with.
    let has_asked = flow.outstanding != 0 || flow.client_end != flow.next_seq;
    if has_asked || flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) != 0 {
        return EndpointStep::Gap;
    }
    plan.reset_leg(flow, image);
    if has_all {
        unbind(flow);
        return EndpointStep::Ended;
    }
    // The client still waits for bytes that only this endpoint can repeat; then the leg ends.
    flow.flags |= flag::LEG_ENDS;
    EndpointStep::Gap
}

const _: () = assert!(phase::HEAD == 0, "a new leg starts with a head");
