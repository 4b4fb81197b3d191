//! Segments that could end a connection or take its place (RFC 5961, RFC 6191).
//!
//! Who cannot see a connection must not be able to end it: what is not exactly right is answered with an acknowledgement, a
//! challenge. A client that does have the connection ignores it; one that has not answers with a RST at the number that the
//! challenge acknowledges, and that one is believed.

use wire::{Flow, TcpFlags, TcpOptions};

use super::{Plan, flag, state, to_client};
use crate::image::Image;
use crate::sequence::before;

/// How long a connection must be silent before another one may take its place, in nanoseconds.
const SILENT_NS: u64 = 1_000_000_000;

/// The time between two challenges of a connection, in milliseconds (RFC 5961 section 7; Linux: `tcp_invalid_ratelimit`).
const CHALLENGE_MS: u32 = 500;

/// What to do with something that a connection on the same ports would have to give way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Rival {
    /// The record is not this connection's, or gives way: as if there were none.
    Yes,
    /// Answer the client as the plan says; the connection stays.
    Challenge,
    /// The first segment of the connection itself, again.
    Repeated,
    /// Drop: challenged a moment ago.
    Useless,
}

/// A SYN (RFC 5961 section 4). `isn`: the cookie that answers it, if the connection gives way.
#[inline(always)]
pub fn on_syn(flow: &mut Flow, image: &Image, isn: u32, now: u64, plan: &mut Plan) -> Rival {
    if flow.state == state::FREE || flow.client != image.tuple {
        return Rival::Yes;
    }
    if !gives_way(flow, now) {
        return challenge(flow, now, plan);
    }
    flow.offered_seq = image.seq.wrapping_add(1);
    flow.offered_ack = isn.wrapping_add(1);
    Rival::Yes
}

/// A segment whose acknowledgement is a valid cookie. If the connection gives way, its record is FREE: the caller's to remove.
#[inline(always)]
pub fn on_newcomer(flow: &mut Flow, image: &Image, now: u64, plan: &mut Plan) -> Rival {
    if flow.state == state::FREE || flow.client != image.tuple || flow.isn == image.ack.wrapping_sub(1) {
        return Rival::Repeated;
    }
    if !gives_way(flow, now) && !is_offered(flow, image) {
        return challenge(flow, now, plan);
    }
    flow.state = state::FREE;
    Rival::Yes
}

/// Whether an acknowledgement is older than any that can still be on its way: by more than the largest window that its sender,
/// who agreed to `options`, can have given (RFC 5961 section 5.2). `newest` is its newest acknowledgement.
#[inline(always)]
pub(super) fn is_outdated(ack: u32, newest: u32, options: TcpOptions) -> bool {
    let shift =
        if options.window_scale == TcpOptions::NO_SCALE { 0 } else { u32::from(options.window_scale & 15) };
    before(ack, newest.wrapping_sub(65_535 << shift))
}

/// Whether the segment starts the connection whose SYN was answered while this one was silent.
#[inline(always)]
pub(super) fn is_offered(flow: &Flow, image: &Image) -> bool {
    flow.offered_ack != 0 && image.ack == flow.offered_ack && image.seq == flow.offered_seq
}

/// Plans an acknowledgement of what has arrived at the endpoint, unless there was one just now.
#[inline(always)]
pub(super) fn challenge(flow: &mut Flow, now: u64, plan: &mut Plan) -> Rival {
    let clock = (now / 1_000_000) as u32;
    if clock.wrapping_sub(flow.challenged) < CHALLENGE_MS {
        return Rival::Useless;
    }
    flow.challenged = clock;
    plan.tuple = flow.client.reversed();
    plan.hop = flow.down;
    plan.seq = flow.sent_end;
    plan.ack = arrived(flow);
    plan.tsval = flow.sent_tsval;
    plan.tsecr = flow.client_tsval;
    plan.options = flow.client_options;
    // 64 KB, as in the handshake: the endpoint's own next segment says what it is.
    let shift = if flow.vip_scale == TcpOptions::NO_SCALE { 0 } else { u32::from(flow.vip_scale & 15) };
    plan.window = 65_535 >> shift;
    plan.flags = u32::from(TcpFlags::ACK);
    Rival::Challenge
}

/// Just behind what the receiver of the client's bytes has acknowledged: less than what was sent on, which may be lost.
#[inline(always)]
pub(super) fn arrived(flow: &Flow) -> u32 {
    match flow.state {
        state::OPENING => flow.request_seq,
        state::SPLICED => to_client(flow, flow.leg_ack),
        state::HANDED | state::TAKEN => flow.next_seq,
        _ => flow.client_end,
    }
}

/// Whether another connection may take the place of this one: it ends, or userspace had it, or it is silent.
#[inline(always)]
fn gives_way(flow: &Flow, now: u64) -> bool {
    const BOTH: u8 = flag::CLIENT_FIN | flag::LEG_FIN;
    let ends = matches!(flow.state, state::CLOSING | state::ENDING) || flow.flags & BOTH == BOTH;
    let was_handed = flow.state == state::HANDED || flow.state == state::TAKEN;
    ends || was_handed || now.saturating_sub(flow.last_seen) >= SILENT_NS
}
