use wire::{EndpointHealth, Flow, PAYLOAD_MAX, Reason, StoredRequest, TcpFlags, TcpOptions};

use super::observe::{self, Seen};
use super::{Env, Part, Scratch, Verdict, checksum, drop, emit, reserve, responses, retire, way_back, ways};
use crate::flow::{
    EndpointStep, ResponseView, accepted, is_first, learn_way_up, on_endpoint, response_view, state,
    take_back, unbind,
};
use crate::image::Image;

/// A segment for one of our legs.
#[inline(always)]
pub(super) fn segment<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    // Before anything in it is believed: a damaged length would move the place of every response behind it.
    if !checksum::is_sound(env, scratch) {
        return drop(env, Reason::DropChecksum);
    }
    let Some(flow) = env.flow(&scratch.old_key) else { return left(env, scratch) };
    if E::PRECEDES && !has_room(env, &scratch.image, flow) {
        return Verdict::DEFER;
    }
    if !ways::is_expected(env, flow) {
        return drop(env, Reason::DropDevice);
    }
    let image = &mut scratch.image;
    image.options = TcpOptions { mss: 536, window_scale: TcpOptions::NO_SCALE, flags: 0 };
    if image.read_options().is_err() {
        return drop(env, Reason::DropOptions);
    }
    // What the segment before it on this CPU has left there is not this one's.
    scratch.view = ResponseView::default();
    if image.payload_len != 0 && !image.has(TcpFlags::SYN | TcpFlags::RST) {
        let view = &mut scratch.view;
        env.locked(flow, |flow| {
            response_view(flow, view);
            view.is_first = u32::from(is_first(flow));
        });
        responses::walk(env, scratch);
    }
    let (now, device) = (env.now(), env.device());
    let (image, view, plan) = (&scratch.image, &scratch.view, &mut scratch.plan);
    let (step, seen) = env.locked(flow, |flow| {
        let seen = Seen::of(flow);
        let step = on_endpoint(flow, image, view, now, plan);
        learn_way_up(flow, image, device, step);
        (step, seen)
    });
    match step {
        EndpointStep::Orphan => left(env, scratch),
        EndpointStep::Accepted | EndpointStep::AcceptedAgain => env.go_on(Part::Open, scratch),
        EndpointStep::Refused => env.go_on(Part::Elsewhere, scratch),
        EndpointStep::Reset => reset(env, scratch, Reason::DropOrphan),
        EndpointStep::Forward => {
            if scratch.image.payload_len != 0 {
                let took = observe::response(env, &seen, scratch.view.status, now);
                observe::answered(env, scratch, &seen, took);
            }
            let verdict = emit::forward(env, scratch);
            let is_passed_on =
                scratch.image.has(TcpFlags::FIN) && scratch.plan.flags & u32::from(TcpFlags::FIN) != 0;
            if verdict != Verdict::DROP && is_passed_on {
                env.count(Reason::LegEnded);
            }
            verdict
        }
        EndpointStep::ForwardLast => {
            let is_reset = scratch.plan.flags & u32::from(TcpFlags::RST) != 0;
            env.count(if is_reset { Reason::Reset } else { Reason::Closed });
            env.remove_leg(&scratch.image.tuple);
            retire(env, &scratch.old_key);
            emit::forward(env, scratch)
        }
        // Should the endpoint say more, it is reset.
        EndpointStep::ForwardEnd => {
            env.remove_leg(&scratch.image.tuple);
            env.count(Reason::LegEnded);
            emit::forward(env, scratch)
        }
        EndpointStep::Ended => {
            env.remove_leg(&scratch.image.tuple);
            emit::bare(env, scratch, false, Reason::LegEnded)
        }
        EndpointStep::EndedSilently => {
            env.remove_leg(&scratch.image.tuple);
            drop(env, Reason::LegEnded)
        }
        EndpointStep::Gap if scratch.view.is_surplus != 0 => drop(env, Reason::DropSurplus),
        EndpointStep::Gap => drop(env, Reason::DropGap),
        EndpointStep::Useless => drop(env, Reason::DropUseless),
    }
}

/// Whether the segment has room for what may become of it: a SYN-ACK becomes the stored request, a refusal the SYN to another endpoint.
#[inline(always)]
fn has_room<E: Env>(env: &mut E, image: &Image, flow: *mut Flow) -> bool {
    if image.has(TcpFlags::SYN) {
        let slot = env.locked(flow, |flow| flow.slot);
        // SAFETY: a live map value; one word, and what is another's by then is not sent.
        let len = env.slot(slot).map_or(0, |stored| unsafe { (&raw const (*stored).len).read_volatile() });
        return env.has_room(len.min(PAYLOAD_MAX as u32));
    }
    let longest = if image.has(TcpFlags::RST) { emit::HANDSHAKE_MAX } else { 0 };
    env.has_room(longest.saturating_sub(image.tcp_len + image.payload_len))
}

/// A leg that no flow has: it waits for one, or nobody has it.
#[inline(always)]
fn left<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    if env.pooled(&scratch.image.tuple).is_some() {
        return env.go_on(Part::Pooled, scratch);
    }
    if is_taken(env, scratch) { env.go_on(Part::Endpoint, scratch) } else { orphan(env, scratch) }
}

/// A leg that nobody has any more: the endpoint learns of it.
#[inline(never)]
fn orphan<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    env.remove_leg(&scratch.image.tuple);
    if scratch.image.has(TcpFlags::RST) {
        return drop(env, Reason::DropOrphan);
    }
    reset(env, scratch, Reason::DropOrphan)
}

/// Whether a request has taken the leg out of the pool while this segment was looked at: then `scratch.old_key` is whose it is, and the
/// segment is that one's. Dropped, it would come again with a newer acknowledgement, and what nobody asked for would look like an answer.
#[inline(never)]
pub(super) fn is_taken<E: Env>(env: &E, scratch: &mut Scratch) -> bool {
    let Scratch { image, old_key, .. } = scratch;
    let Some(leg) = env.leg(&image.tuple) else { return false };
    // SAFETY: a live map value; torn, it is nobody's.
    let client = unsafe { (*leg).client };
    let is_another = client != *old_key;
    *old_key = client;
    let has_it = |flow: &mut Flow| flow.leg == image.tuple && flow.state == state::SPLICED;
    is_another || env.flow(old_key).is_some_and(|flow| env.locked(flow, has_it))
}

/// RST in answer to the segment at hand (RFC 9293 section 3.5.2): its acknowledgement is our sequence number.
#[inline(never)]
pub(super) fn reset<E: Env>(env: &mut E, scratch: &mut Scratch, reason: Reason) -> Verdict {
    let hop = way_back(env, &scratch.image);
    let (image, plan) = (&scratch.image, &mut scratch.plan);
    plan.tuple = image.tuple.reversed();
    plan.hop = hop;
    plan.window = 0;
    let answers = image.has(TcpFlags::ACK);
    plan.seq = if answers { image.ack } else { 0 };
    plan.ack = image.end();
    plan.flags = u32::from(if answers { TcpFlags::RST } else { TcpFlags::RST | TcpFlags::ACK });
    emit::bare(env, scratch, false, reason)
}

/// The SYN-ACK becomes our acknowledgement with the stored request.
#[inline(always)]
pub(super) fn open<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.old_key) else { return drop(env, Reason::DropRace) };
    let now = env.now();
    let hop = way_back(env, &scratch.image);
    let (image, plan) = (&scratch.image, &mut scratch.plan);
    let opened = env.locked(flow, |flow| {
        let is_again = flow.state == state::SPLICED && flow.leg_peer_isn == image.seq;
        if !is_again {
            let is_ours = flow.state == state::OPENING
                && flow.leg == image.tuple
                && image.ack == flow.leg_isn.wrapping_add(1);
            if !is_ours || !accepted(flow, image, now) {
                if is_ours {
                    take_back(flow, flow.request_seq);
                    unbind(flow);
                }
                return (0, 0, flow.endpoint, flow.endpoint_generation, is_ours);
            }
            flow.up = hop;
        }
        plan.tuple = flow.leg.reversed();
        plan.hop = flow.up;
        plan.seq = flow.leg_isn.wrapping_add(1);
        plan.ack = flow.leg_peer_isn.wrapping_add(1);
        plan.tsval = flow.leg_tsval;
        plan.tsecr = flow.leg_peer_tsval;
        plan.window = u32::from(flow.request_window);
        plan.flags = u32::from(TcpFlags::ACK | PSH);
        (flow.leg_isn, flow.slot, flow.endpoint, flow.endpoint_generation, true)
    });
    let (isn, slot, endpoint, generation, is_ours) = opened;
    if isn == 0 {
        if is_ours {
            note_lack(env, endpoint, generation, now);
        }
        env.remove_leg(&scratch.image.tuple);
        return reset(env, scratch, Reason::DropLacksOptions);
    }
    reserve::with_health(env, endpoint, generation, |health| health.failures = 0);
    let with_timestamps = scratch.image.timestamps_at != 0;
    let Some(stored) = env.slot(slot) else { return drop(env, Reason::DropMangle) };
    // SAFETY: a live map value; whose it is, is checked before and after its bytes are copied.
    let stored: &StoredRequest = unsafe { &*stored };
    let len = stored.len;
    let is_there = |stored: &StoredRequest, scratch: &Scratch| {
        stored.leg_isn == isn && stored.leg == scratch.image.tuple && len > 0 && len < 2048
    };
    if !is_there(stored, scratch) {
        // Its slot went to another: the client sends the request again, over the leg that is open now.
        scratch.plan.flags = u32::from(TcpFlags::ACK);
        return emit::bare(env, scratch, with_timestamps, Reason::DropRace);
    }
    let verdict = emit::request(env, scratch, with_timestamps, stored, len);
    // SAFETY: a live field; volatile, for another CPU may have taken the slot meanwhile.
    if unsafe { (&raw const stored.leg_isn).read_volatile() } != isn {
        return drop(env, Reason::DropRace);
    }
    verdict
}

/// Push: the request is complete.
const PSH: u8 = 0x08;

/// How long an endpoint that does not take what clients are promised is left to userspace. Not for good: its largest segment may
/// have shrunk for a while, with the path to us.
const LACK_NS: u64 = 60_000_000_000;

/// Remembers that the endpoint does not take what clients are promised.
#[inline(always)]
pub(super) fn note_lack<E: Env>(env: &E, endpoint: u32, generation: u32, now: u64) {
    reserve::with_health(env, endpoint, generation, |health| {
        health.flags |= EndpointHealth::LACKS_OPTIONS;
        health.ejected_until = now + LACK_NS;
    });
}
