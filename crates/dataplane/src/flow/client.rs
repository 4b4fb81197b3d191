use wire::{Flow, TcpFlags};

use super::challenge::{arrived, challenge, is_offered, is_outdated};
use super::closing::{asks_no_more, blank, is_through};
use super::ending::while_ending;
use super::leg::roll_back;
use super::plan::is_over;
use super::request::note_pipelining;
use super::{
    OUTSTANDING_MAX, POINT_MAX, Plan, REACH, Rival, TRIES_MAX, flag, leg_flag, points, state, told, unbind,
    ways,
};
use crate::image::Image;
use crate::sequence::{before, is_near, latest, not_after};

/// What to do with a segment of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ClientStep {
    /// The record is not this connection's: look it up again or treat the segment as one without a flow.
    Stale,
    /// Send it to the endpoint as the plan says.
    Forward,
    /// The same, and forget the connection: it is over.
    ForwardLast,
    /// The same, and forget the leg: the plan ends it.
    ForwardReset,
    /// It starts a request: decode it, then call [`super::on_request`].
    Request,
    /// The same, again: the endpoint of the leg, which was another client's, has not heard it, and the connection has left it.
    Unheard,
    /// The request that opened the leg, again: send the SYN again, or, after [`super::TRIES_MAX`] tries, bind another endpoint.
    Reopen,
    /// The same on an open leg, as the plan says and behind what the endpoint is told first.
    Retell,
    /// Answer the client as the plan says.
    Answer,
    /// The same, and the connection is over: its record is FREE.
    AnswerLast,
    /// The same: it must show that it is there (RFC 5961).
    Challenge,
    /// Nothing to send, and the connection is over.
    Forget,
    /// Far from where the connection is: it may belong to a new one on the same ports.
    Stray,
    /// Drop: outside the window, or data behind a gap or a decision that is not made yet. The client sends it again.
    Early,
    /// Drop: nothing that anyone waits for.
    Useless,
    /// The host has it: a socket, or another attempt to hand it over.
    Handed,
    /// The client has all of its last response and our FIN is out: the leg is not its any more.
    Through,
}

/// A segment of the client that is no SYN.
#[inline(never)]
pub fn on_client(flow: &mut Flow, image: &Image, now: u64, plan: &mut Plan) -> ClientStep {
    if flow.state == state::FREE || flow.client != image.tuple {
        return ClientStep::Stale;
    }
    // A new connection may have numbers like those of the old one.
    if is_offered(flow, image) {
        return ClientStep::Stray;
    }
    if flow.state == state::HANDED || flow.state == state::TAKEN {
        return ClientStep::Handed;
    }
    let newest = latest(flow.client_end, flow.next_seq);
    if !is_near(image.seq, flow.client_end, REACH)
        || (image.has(TcpFlags::ACK) && before(flow.sent_end, image.ack))
    {
        return ClientStep::Stray;
    }
    // Nothing but a RST makes sense without an acknowledgement.
    if !image.has(TcpFlags::ACK) && !image.has(TcpFlags::RST) {
        return ClientStep::Useless;
    }
    // A RST is believed by its sequence number alone.
    if !image.has(TcpFlags::RST) && is_outdated(image.ack, flow.client_ack, flow.client_options) {
        return ClientStep::Useless;
    }
    flow.last_seen = now;
    if image.has(TcpFlags::RST) {
        return on_reset(flow, image, newest, now, plan);
    }
    if image.has(TcpFlags::SYN) {
        return challenged(flow, now, plan);
    }
    match flow.state {
        state::OPENING => while_opening(flow, image),
        state::SPLICED => while_spliced(flow, image, now, plan),
        state::UNBOUND => while_unbound(flow, image, plan),
        state::ENDING => while_ending(flow, image, plan),
        _ => while_closing(flow, image, plan),
    }
}

/// RFC 5961 section 3.2: only a RST that names exactly the next byte is believed: the next that we have not seen, or the next
/// that the endpoint has not, for that is what a challenge asks for. A client that is gone may have sent more than was let
/// through: it is asked.
#[inline(always)]
fn on_reset(flow: &mut Flow, image: &Image, newest: u32, now: u64, plan: &mut Plan) -> ClientStep {
    if image.seq != flow.client_end && image.seq != newest && image.seq != arrived(flow) {
        return challenged(flow, now, plan);
    }
    let was_spliced = flow.state == state::SPLICED;
    if was_spliced {
        plan.up(flow, image);
        plan.keep = 0;
        // Exactly where the endpoint is, or it would ask back.
        plan.seq = flow.leg_ack;
    }
    flow.state = state::FREE;
    if was_spliced { ClientStep::ForwardLast } else { ClientStep::Forget }
}

#[inline(always)]
fn challenged(flow: &mut Flow, now: u64, plan: &mut Plan) -> ClientStep {
    if challenge(flow, now, plan) == Rival::Challenge { ClientStep::Challenge } else { ClientStep::Useless }
}

#[inline(always)]
fn while_opening(flow: &mut Flow, image: &Image) -> ClientStep {
    if before(flow.next_seq, image.seq.wrapping_add(image.payload_len)) {
        note_pipelining(flow, image);
    }
    if image.payload_len == 0 || image.seq != flow.request_seq {
        return ClientStep::Early;
    }
    flow.tries = flow.tries.saturating_add(1);
    ClientStep::Reopen
}

#[inline(always)]
fn while_spliced(flow: &mut Flow, image: &Image, now: u64, plan: &mut Plan) -> ClientStep {
    note_ack(flow, image);
    if is_through(flow, image) {
        return ClientStep::Through;
    }
    let to_next = flow.next_seq.wrapping_sub(image.seq);
    let has_data = image.payload_len != 0;
    // A client that has closed its side waits for the endpoint's FIN, which comes again.
    let may_leave = flow.flags & (flag::LEG_ENDS | flag::CLIENT_FIN) == flag::LEG_ENDS;
    if may_leave && not_after(flow.sent_end, flow.client_ack) {
        // The client has all that the endpoint sent before its FIN.
        if !has_data && !image.has(TcpFlags::FIN) {
            plan.up(flow, image);
            plan.seq = flow.leg_ack;
            plan.flags = u32::from(TcpFlags::RST | TcpFlags::ACK);
            unbind(flow);
            return ClientStep::ForwardReset;
        }
        unbind(flow);
        return while_unbound(flow, image, plan);
    }
    if has_data && to_next == 0 {
        // RFC 9112 section 9.6: nothing behind `close` is a request.
        return if asks_no_more(flow) { ClientStep::Early } else { ClientStep::Request };
    }
    if has_data && is_unheard(flow, image, now) {
        roll_back(flow, plan);
        return ClientStep::Unheard;
    }
    // Bytes from before the leg's first request are nobody's on it: they would stand where the endpoint reads who the client is.
    if told::is_due(flow) && before(image.seq, flow.request_seq) && (has_data || image.has(TcpFlags::FIN)) {
        plan.answer_client(flow, image, TcpFlags::ACK);
        plan.ack = arrived(flow);
        return ClientStep::Answer;
    }
    plan.up(flow, image);
    let told = told::due_with(flow, image);
    let decided = decided_end(flow);
    if before(decided, image.seq.wrapping_add(image.payload_len)) {
        note_pipelining(flow, image);
    }
    if before(decided, image.seq) {
        // A pure acknowledgement may come from there: its data was dropped.
        if has_data || image.has(TcpFlags::FIN) {
            return ClientStep::Early;
        }
        plan.seq = points::to_leg(flow, decided);
    } else {
        cut_and_insert(flow, image, (to_next, told), plan);
        let fin = plan.flags & u32::from(TcpFlags::FIN) != 0;
        let end = image.seq.wrapping_add(plan.keep).wrapping_add(u32::from(fin));
        // One from before what the client has sent since is no end of it.
        let is_new = before(flow.client_end, end);
        if !is_new && plan.keep != 0 {
            ways::repeated_up(flow, plan);
        }
        blank(flow, image, plan);
        flow.client_end = latest(flow.client_end, end);
        if fin && is_new {
            flow.flags |= flag::CLIENT_FIN;
            flow.client_fin = end.wrapping_sub(1);
        }
    }
    let acks_fin = flow.flags & flag::LEG_FIN != 0 && before(flow.leg_fin, image.ack);
    if acks_fin {
        flow.flags |= flag::LEG_FIN_ACKED;
    }
    if is_over(flow.flags) {
        flow.state = state::FREE;
        return ClientStep::ForwardLast;
    }
    if told != 0 && plan.keep != 0 { ClientStep::Retell } else { ClientStep::Forward }
}

/// Whether the client sends its only request once too often to an endpoint that was connected before, and has said nothing since: it may
/// be gone, as where a SYN is not answered. Only what may be sent twice: acknowledgements may be what is lost.
#[inline(always)]
fn is_unheard(flow: &mut Flow, image: &Image, now: u64) -> bool {
    let is_it = flow.leg_flags & leg_flag::POOLED != 0
        && image.seq == flow.request_seq
        && flow.newest_seq == flow.request_seq
        && flow.outstanding == 1
        && flow.asked != 0
        && flow.leg_ack == flow.leg_isn.wrapping_add(1)
        && flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN | flag::REPEATABLE) == flag::REPEATABLE;
    if is_it {
        flow.tries = flow.tries.saturating_add(1);
    }
    is_it && flow.tries >= TRIES_MAX && now.saturating_sub(flow.asked) >= UNHEARD_NS
}

/// How long an endpoint has for the acknowledgement of a request: copies of a segment come within less.
const UNHEARD_NS: u64 = 1_000_000_000;

/// Just behind all that may be sent on: requests that were decided, and a FIN behind them.
#[inline(always)]
const fn decided_end(flow: &Flow) -> u32 {
    let has_closed = flow.flags & flag::CLIENT_FIN != 0 && flow.client_fin == flow.next_seq;
    flow.next_seq.wrapping_add(has_closed as u32)
}

/// Cuts what belongs to the next request or to a second insertion; finds the insertion to repeat.
#[inline(always)]
fn cut_and_insert(flow: &Flow, image: &Image, (to_next, told): (u32, u32), plan: &mut Plan) {
    let (mut first, mut second) = points::within(flow, image.seq, image.payload_len);
    // Text goes near the start of what is stored: that of a request behind the first one waits.
    if told != 0 && first != u32::MAX && first > POINT_MAX {
        (first, second) = (u32::MAX, first);
    }
    let mut keep = image.payload_len.min(to_next).min(second);
    // Whatever is cut or grows becomes one plain segment, whose MSS counts options too (RFC 6691 section 2).
    let most = u32::from(flow.vip_mss).saturating_sub(if told == 0 { 0 } else { told + image.tcp_len - 20 });
    if first != u32::MAX {
        plan.insert_at = first;
        plan.insert_len = u32::from(flow.insert_len);
        keep = keep.min(most);
    } else if keep < image.payload_len || told != 0 {
        keep = keep.min(most);
    }
    if plan.insert_len != 0 && plan.insert_at >= keep {
        plan.insert_len = 0;
    }
    if keep < image.payload_len {
        plan.flags &= !u32::from(TcpFlags::FIN);
    }
    plan.keep = keep;
    if told != 0 && keep != 0 {
        told::put_before(plan, told);
    }
}

#[inline(always)]
fn while_unbound(flow: &mut Flow, image: &Image, plan: &mut Plan) -> ClientStep {
    note_ack(flow, image);
    if image.payload_len != 0 {
        if image.seq == flow.next_seq {
            return ClientStep::Request;
        }
        if before(flow.next_seq, image.seq) {
            return ClientStep::Early;
        }
        plan.answer_client(flow, image, TcpFlags::ACK);
        return ClientStep::Answer;
    }
    if image.has(TcpFlags::FIN) {
        if image.seq != flow.next_seq {
            return ClientStep::Early;
        }
        flow.client_end = image.end();
        plan.answer_client(flow, image, TcpFlags::FIN | TcpFlags::ACK);
        flow.sent_end = flow.sent_end.wrapping_add(1);
        flow.state = state::CLOSING;
        return ClientStep::Answer;
    }
    // A keep-alive probe (RFC 9293 section 3.8.4) asks for an answer; a plain acknowledgement does not.
    if image.seq == flow.client_end.wrapping_sub(1) {
        plan.answer_client(flow, image, TcpFlags::ACK);
        return ClientStep::Answer;
    }
    ClientStep::Useless
}

#[inline(always)]
fn while_closing(flow: &mut Flow, image: &Image, plan: &mut Plan) -> ClientStep {
    // Behind its FIN a client has nothing to send: a new connection on its port.
    if image.payload_len != 0 && !before(image.seq, flow.client_end) {
        return ClientStep::Early;
    }
    if image.ack == flow.sent_end {
        flow.state = state::FREE;
        return ClientStep::Forget;
    }
    if image.has(TcpFlags::FIN) {
        plan.answer_client(flow, image, TcpFlags::FIN | TcpFlags::ACK);
        plan.seq = flow.sent_end.wrapping_sub(1);
        return ClientStep::Answer;
    }
    ClientStep::Useless
}

#[inline(always)]
pub(super) fn note_ack(flow: &mut Flow, image: &Image) {
    if before(flow.client_ack, image.ack) {
        ways::heard_down(flow);
        flow.client_ack = image.ack;
    }
    if image.timestamps_at != 0 {
        flow.client_tsval = latest(flow.client_tsval, image.tsval);
    }
}

const _: () = assert!(OUTSTANDING_MAX as u32 <= u32::BITS, "one HEAD bit each");
