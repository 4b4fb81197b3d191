//! A leg begins, opens and ends.

use wire::{Flow, Hop, Leg, TcpOptions, Tuple};

use super::{Plan, closing, flag, phase, state};
use crate::image::Image;
use crate::initial;
use crate::sequence::latest;

/// Starts a leg in `flow`: state and numbers. The caller has chosen endpoint, port and hop, and knows the
/// [`initial::offsets`] of the leg: under the flow's lock a program cannot call for them. `told`: bytes that the endpoint is told first.
#[inline(always)]
pub fn begin_leg(flow: &mut Flow, leg: &Tuple, up: Hop, (offsets, told): (u64, u32), now: u64) {
    flow.state = state::OPENING;
    flow.flags &= flag::CLOSE | flag::REPEATABLE | flag::PIPELINES;
    flow.leg = *leg;
    flow.up = up;
    flow.tries = 0;
    flow.held = 0;
    flow.repeats = 0;
    flow.legs = flow.legs.wrapping_add(1);
    flow.last_seen = now;
    flow.leg_isn = initial::sequence(offsets, now);
    flow.leg_tsval = initial::timestamp(offsets, now);
    flow.leg_end = 0;
    flow.told = told;
    flow.leg_ack = flow.leg_isn.wrapping_add(1);
    flow.points_used = 0;
    flow.phase = phase::HEAD;
    flow.chunk_digits = 0;
    flow.remaining = 0;
    closing::begin(flow, told);
}

/// The endpoint's SYN-ACK came: both spaces are known. `inserted_at`: where the stored request has its inserted text, in
/// client bytes from its start, and `flow.insert_len` how much (0: none).
///
/// Returns whether the endpoint agreed to all that the client was promised.
#[inline(always)]
pub fn accepted(flow: &mut Flow, image: &Image, now: u64) -> bool {
    agree(flow, image.options, image.seq, image.tsval, now)
}

/// The same, of a leg whose endpoint announced `leg`, whose first byte for this client is behind `seq`, and whose newest timestamp is
/// `tsval`.
#[inline(always)]
pub(super) fn agree(flow: &mut Flow, leg: TcpOptions, seq: u32, tsval: u32, now: u64) -> bool {
    let client = flow.client_options;
    if leg.mss < flow.vip_mss || client.flags & !leg.flags != 0 {
        return false;
    }
    if client.window_scale != TcpOptions::NO_SCALE && leg.window_scale == TcpOptions::NO_SCALE {
        return false;
    }
    flow.leg_options = leg;
    flow.last_seen = now;
    flow.leg_peer_isn = seq;
    flow.leg_peer_tsval = tsval;
    flow.leg_end = seq.wrapping_add(1);
    flow.leg_next = flow.leg_end;
    flow.leg_ack = flow.leg_isn.wrapping_add(1);
    flow.seq_add = flow.leg_isn.wrapping_add(1).wrapping_add(flow.told).wrapping_sub(flow.request_seq);
    flow.ack_add = flow.leg_end.wrapping_sub(flow.request_ack);
    flow.tsval_add = flow.leg_tsval.wrapping_sub(flow.request_tsval);
    // The client must never see an older timestamp than it has seen, on whichever leg.
    let shown = latest(flow.sent_tsval, flow.request_tsecr);
    flow.tsecr_add = tsval.wrapping_sub(shown);
    flow.state = state::SPLICED;
    true
}

/// The leg is over, the client stays. Old numbers of the client's space remain.
#[inline(always)]
pub fn unbind(flow: &mut Flow) {
    // Its port may be another flow's soon.
    flow.leg = Tuple::default();
    if closing::is_ours(flow) {
        closing::end_client(flow);
    } else {
        flow.state = state::UNBOUND;
        flow.flags &= flag::CLOSE | flag::PIPELINES;
    }
    flow.leg_flags = 0;
    flow.told = 0;
    flow.outstanding = 0;
    flow.heads = 0;
    flow.points_used = 0;
    flow.held = 0;
    flow.phase = phase::HEAD;
}

/// What is remembered of a leg that is left while its endpoint is still connected: enough to reset it.
#[inline(always)]
pub fn doom(flow: &Flow, leg: &mut Leg, now: u64) {
    leg.client = Tuple::default();
    leg.opened = now;
    leg.reset_seq = flow.leg_ack;
    leg.up = flow.up;
}

/// Gives the request back that the endpoint has not seen, so that its repetition is bound anew.
#[inline(always)]
pub(super) fn roll_back(flow: &mut Flow, plan: &mut Plan) {
    plan.insert_len = 0;
    take_back(flow, flow.newest_seq);
    super::points::forget_from(flow, flow.newest_seq);
    unbind(flow);
}

/// Books the newest request, which begins at `seq`, as not given to any leg: its repetition, or userspace's, has its number.
#[inline(always)]
pub fn take_back(flow: &mut Flow, seq: u32) {
    flow.next_seq = seq;
    flow.client_end = seq;
    flow.requests = flow.requests.wrapping_sub(1);
}
