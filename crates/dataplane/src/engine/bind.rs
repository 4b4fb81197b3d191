//! Binding a request to an endpoint: the record of its connection, the leg before, the SYN.

use wire::{Flow, Leg, PooledLeg, Reason, StoredRequest, TcpFlags, TcpOptions, Tuple};

use super::first::Request;
use super::reserve::{Chosen, Reserved, note_failure, note_silence, reserve};
use super::stored::{Kept, keep_request, load_again, text};
use super::{
    Env, FLOW_WORDS, Scratch, Verdict, affinity, copies, drop, emit, hand_off, observe, pool, retire, syn,
    way_back,
};
use crate::flow::{
    After, Plan, TRIES_MAX, after_leg, begin_leg, doom, is_through, join, open_with, plan_joined, state,
    take_back, unbind, word_of,
};
use crate::image::Image;

/// The first request of a connection.
#[inline(always)]
pub(super) fn first<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    scratch.client = scratch.image.tuple;
    let reserved = reserve(env, scratch, 0, u32::MAX, true);
    if reserved != Reserved::Yes {
        return hand_off::first(env, scratch, reserved.reason());
    }
    let (now, down) = (env.now(), way_back(env, &scratch.image));
    let text_len = text(scratch);
    let slot = env.next_slot();
    let insert_at = insert_at(scratch);
    let (isn, word_at) = {
        let Scratch { image, facts, settings, leg, leg_key, plan, flow, vip, request, chosen, taken, .. } =
            scratch;
        let flow = blank(flow);
        flow.client = image.tuple;
        flow.down = down;
        flow.client_options = image.options;
        flow.began = now;
        flow.isn = image.ack.wrapping_sub(1);
        flow.sent_end = image.ack;
        flow.client_ack = image.ack;
        flow.client_end = image.seq;
        flow.client_tsval = image.tsval;
        flow.sent_tsval = image.tsecr;
        flow.insert_len = text_len as u16;
        flow.listener = vip.listener;
        flow.vip_mss = if image.is_v6 != 0 { settings.mss_v6 } else { settings.mss_v4 };
        let has_scale = image.options.window_scale != TcpOptions::NO_SCALE;
        flow.vip_scale = if has_scale { syn::WINDOW_SCALE } else { TcpOptions::NO_SCALE };
        open_with(flow, image, facts, insert_at, now);
        begin(flow, leg_key, leg, chosen, request.action, now);
        flow.slot = slot;
        let isn = lead(flow, image, chosen, pool::as_leg(taken), text_len, now, plan);
        (isn, word_of(flow, image.seq))
    };
    let told = scratch.chosen.told;
    let kept = Kept { slot, len: scratch.image.payload_len, isn, insert_at, text_len, word_at, told };
    if isn == 0 || scratch.chosen.is_pooled == 0 && !keep_request(env, scratch, kept) {
        pool::abandon(env, scratch);
        return drop(env, Reason::DropMangle);
    }
    if !env.insert_flow(&scratch.image.tuple, as_flow(&mut scratch.flow)) {
        pool::abandon(env, scratch);
        // Another CPU has bound a copy of the request: the client repeats it if that one comes to nothing.
        if env.flow(&scratch.image.tuple).is_some() {
            return drop(env, Reason::DropRace);
        }
        return hand_off::first(env, scratch, Reason::HandNoRoom);
    }
    send_bound(env, scratch, Reason::Bound)
}

/// A request on a connection whose leg, if it has one, is idle and is left.
#[inline(always)]
pub(super) fn again<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.image.tuple) else { return drop(env, Reason::DropRace) };
    // A leg that is left to draw anew may go where it went; one that was lost should not, unless the client keeps it: then a
    // leg that does not open says so.
    let keeps = affinity::is_kept(env, scratch.request.action);
    let (legs, avoided, options) = env.locked(flow, |flow| {
        let avoided = if keeps || flow.state == state::SPLICED { u32::MAX } else { flow.endpoint };
        (flow.legs, avoided, flow.client_options)
    });
    scratch.client = scratch.image.tuple;
    scratch.image.options = options;
    let reserved = reserve(env, scratch, legs, avoided, true);
    if reserved != Reserved::Yes {
        return leave_and_hand_off(env, scratch, flow, reserved.reason());
    }
    let now = env.now();
    leave(env, scratch, flow, now);
    let text_len = text(scratch);
    let insert_at = insert_at(scratch);
    let slot = env.next_slot();
    let Scratch { image, facts, leg, leg_key, plan, request, chosen, taken, .. } = scratch;
    let taken = pool::as_leg(taken);
    let (isn, word_at) = env.locked(flow, |flow| {
        if flow.state != state::UNBOUND || flow.next_seq != image.seq || flow.client != image.tuple {
            return (0, 0);
        }
        flow.insert_len = text_len as u16;
        open_with(flow, image, facts, insert_at, now);
        begin(flow, leg_key, leg, chosen, request.action, now);
        flow.slot = slot;
        let isn = lead(flow, image, chosen, taken, text_len, now, plan);
        if isn == 0 {
            take_back(flow, flow.request_seq);
            unbind(flow);
        }
        (isn, word_of(flow, image.seq))
    });
    let told = scratch.chosen.told;
    let kept = Kept { slot, len: scratch.image.payload_len, isn, insert_at, text_len, word_at, told };
    if isn == 0 || scratch.chosen.is_pooled == 0 && !keep_request(env, scratch, kept) {
        pool::abandon(env, scratch);
        return drop(env, Reason::DropRace);
    }
    send_bound(env, scratch, Reason::Rebound)
}

/// The leg that was reserved begins, and the plan is its SYN; or it goes on from where another client left it, and the plan is the
/// request. Returns its first number less one; 0: it lacks what the client was promised.
#[inline(always)]
fn lead(
    flow: &mut Flow,
    image: &Image,
    chosen: &Chosen,
    taken: &PooledLeg,
    text_len: u32,
    now: u64,
    plan: &mut Plan,
) -> u32 {
    if chosen.is_pooled == 0 {
        plan_syn(plan, flow);
        return flow.leg_isn;
    }
    if !join(flow, taken, now) {
        return 0;
    }
    plan_joined(flow, image, flow.points[0].wrapping_sub(image.seq), text_len, plan);
    // A number, not whether it is 0, is what callers look at.
    flow.leg_isn | 1
}

/// Sends what [`lead`] has planned: a SYN, for `reason`, or the request.
#[inline(always)]
fn send_bound<E: Env>(env: &mut E, scratch: &mut Scratch, reason: Reason) -> Verdict {
    if scratch.chosen.is_pooled == 0 {
        observe::request(env, scratch, reason);
        return send_syn(env, scratch, reason);
    }
    if !pool::taken(env, scratch) {
        lose(env, scratch);
        return drop(env, Reason::PoolEnded);
    }
    env.count(Reason::Pooled);
    observe::request(env, scratch, Reason::Pooled);
    emit::forward(env, scratch)
}

/// The leg that the request was to go over is not to be used: the client's repetition is bound anew.
#[inline(always)]
fn lose<E: Env>(env: &E, scratch: &mut Scratch) {
    pool::abandon(env, scratch);
    let Scratch { image, leg_key, .. } = &*scratch;
    if let Some(flow) = env.flow(&image.tuple) {
        env.locked(flow, |flow| {
            if flow.leg == *leg_key && flow.client == image.tuple {
                take_back(flow, flow.request_seq);
                unbind(flow);
            }
        });
    }
}

/// The endpoint of an opening leg does not answer: another one, for the same request, which the client sent again.
#[inline(always)]
fn replace<E: Env>(env: &mut E, scratch: &mut Scratch, flow: *mut Flow) -> Verdict {
    let Scratch { image, old_key, .. } = &mut *scratch;
    let (is_ours, legs, action, avoided, generation, point) = env.locked(flow, |flow| {
        *old_key = flow.leg;
        let endpoint = (flow.endpoint, flow.endpoint_generation);
        (is_opening(flow, image), flow.legs, flow.route, endpoint.0, endpoint.1, open_point(flow))
    });
    if !is_ours {
        return drop(env, Reason::DropRace);
    }
    note_failure(env, scratch, avoided, generation);
    scratch.client = scratch.image.tuple;
    scratch.request = Request { action, inserts: u32::from(point.is_some()) };
    let mut reserved = reserve(env, scratch, legs, avoided, false);
    if reserved == Reserved::Yes && scratch.chosen.endpoint == avoided {
        // There is no other: userspace waits for it, and knows how to say that it is not there.
        env.remove_leg(&scratch.leg_key);
        reserved = Reserved::NoEndpoint;
    }
    if reserved != Reserved::Yes {
        let Scratch { image, old_key, .. } = &*scratch;
        let is_left = env.locked(flow, |flow| {
            if !is_opening(flow, image) || flow.leg != *old_key {
                return false;
            }
            flow.state = state::HANDED;
            take_back(flow, image.seq);
            true
        });
        if !is_left {
            return drop(env, Reason::DropRace);
        }
        forget_leg(env, scratch);
        // It was not among those that are copied. Userspace has to know.
        copies::draw(env, scratch, action);
        return hand_off::midstream(env, scratch, flow, reserved.reason());
    }
    let now = env.now();
    let text_len = text(scratch);
    let slot = env.next_slot();
    let Scratch { image, leg, leg_key, old_key, plan, chosen, .. } = scratch;
    let (isn, request_len, word_at) = env.locked(flow, |flow| {
        if !is_opening(flow, image) || flow.leg != *old_key {
            return (0, 0, 0);
        }
        begin(flow, leg_key, leg, chosen, action, now);
        flow.slot = slot;
        plan_syn(plan, flow);
        (flow.leg_isn, flow.next_seq.wrapping_sub(flow.request_seq), word_of(flow, image.seq))
    });
    // The next request may be in the segment too: nothing was decided on it.
    let len = image.payload_len.min(request_len);
    let told = scratch.chosen.told;
    let kept = Kept { slot, len, isn, insert_at: point, text_len, word_at, told };
    if isn != 0 {
        forget_leg(env, scratch);
    }
    if isn == 0 || !load_again(env, scratch) || !keep_request(env, scratch, kept) {
        env.remove_leg(&scratch.leg_key);
        return drop(env, Reason::DropRace);
    }
    observe::request(env, scratch, Reason::Replaced);
    send_syn(env, scratch, Reason::Replaced)
}

/// The SYN of an opening leg again, with what the client repeated as its request; or, after too many tries, another endpoint's. On an
/// open leg, the request behind what its endpoint is told first.
#[inline(always)]
pub(super) fn reopen<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.image.tuple) else { return drop(env, Reason::DropRace) };
    if scratch.plan.keep != 0 {
        return retell(env, scratch, flow);
    }
    if env.locked(flow, |flow| flow.tries >= TRIES_MAX) {
        // It may end in a hand-off.
        return if E::PRECEDES { Verdict::DEFER } else { replace(env, scratch, flow) };
    }
    let slot = env.next_slot();
    let Scratch { image, plan, leg_key, .. } = scratch;
    let (is_ours, isn, point, word_at, told) = env.locked(flow, |flow| {
        if !is_opening(flow, image) {
            return (false, 0, None, 0, 0);
        }
        let is_same = flow.next_seq.wrapping_sub(flow.request_seq) == image.payload_len;
        if is_same {
            flow.slot = slot;
        }
        plan_syn(plan, flow);
        *leg_key = flow.leg;
        let isn = if is_same { flow.leg_isn } else { 0 };
        (true, isn, open_point(flow), word_of(flow, image.seq), flow.told)
    });
    if !is_ours {
        return drop(env, Reason::DropRace);
    }
    scratch.request.inserts = u32::from(point.is_some());
    let text_len = text(scratch);
    let kept = Kept { slot, len: scratch.image.payload_len, isn, insert_at: point, text_len, word_at, told };
    if isn != 0 && !(load_again(env, scratch) && keep_request(env, scratch, kept)) {
        return drop(env, Reason::DropMangle);
    }
    send_syn(env, scratch, Reason::Reopened)
}

/// The request that opened a leg again, stored anew and sent as the plan says: the endpoint has not acknowledged what it is told first.
#[inline(never)]
fn retell<E: Env>(env: &mut E, scratch: &mut Scratch, flow: *mut Flow) -> Verdict {
    let slot = env.next_slot();
    let Scratch { image, plan, leg_key, .. } = scratch;
    let (isn, told) = env.locked(flow, |flow| {
        if flow.state != state::SPLICED || flow.client != image.tuple || flow.leg.reversed() != plan.tuple {
            return (0, 0);
        }
        flow.slot = slot;
        *leg_key = flow.leg;
        (flow.leg_isn, flow.told & !Flow::TOLD_HEARD)
    });
    let (len, text_len) = (plan.keep, plan.insert_len);
    // What stands for several segments must not grow; the client repeats them one by one in the end.
    let grows = told + len + text_len > image.payload_len;
    let insert_at = if text_len == 0 { None } else { Some(plan.insert_at) };
    scratch.request.inserts = text_len;
    text(scratch);
    // Who is told of its client takes over no word of it.
    let kept = Kept { slot, len, isn, insert_at, text_len, word_at: 0, told };
    if isn == 0 {
        return drop(env, Reason::DropRace);
    }
    let is_kept = !(grows && env.is_large()) && load_again(env, scratch) && keep_request(env, scratch, kept);
    if !is_kept {
        return drop(env, Reason::DropMangle);
    }
    let with_timestamps = scratch.image.timestamps_at != 0;
    let Some(stored) = env.slot(slot) else { return drop(env, Reason::DropMangle) };
    // SAFETY: a live map value; only this CPU writes its own slots.
    let stored: &StoredRequest = unsafe { &*stored };
    let len = stored.len;
    if len == 0 || len >= 2048 {
        return drop(env, Reason::DropMangle);
    }
    emit::request(env, scratch, with_timestamps, stored, len)
}

/// An endpoint refused its SYN, and the segment at hand says so: another one gets the stored request.
#[inline(always)]
pub(super) fn elsewhere<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.old_key) else { return drop(env, Reason::DropRace) };
    let old_key = &scratch.image.tuple;
    let (legs, action, avoided, generation, slot, isn, tries, told) = env.locked(flow, |flow| {
        if flow.state != state::OPENING || flow.leg != *old_key {
            return (0, 0, 0, 0, 0, 0, 0, 0);
        }
        let tries = flow.tries;
        // Should there be no other, the client's repetition looks once more, and then goes to userspace.
        flow.tries = TRIES_MAX;
        let (endpoint, generation) = (flow.endpoint, flow.endpoint_generation);
        (flow.legs, flow.route, endpoint, generation, flow.slot, flow.leg_isn, tries, flow.told)
    });
    if isn == 0 {
        return drop(env, Reason::DropUseless);
    }
    note_failure(env, scratch, avoided, generation);
    // Endpoints that all refuse must not send this round in circles.
    if tries >= TRIES_MAX {
        return drop(env, Reason::DropUseless);
    }
    scratch.client = scratch.old_key;
    scratch.request = Request { action, inserts: 0 };
    let is_other =
        reserve(env, scratch, legs, avoided, false) == Reserved::Yes && scratch.chosen.endpoint != avoided;
    // One that is told something else gets the client's repetition.
    if !is_other || scratch.chosen.told != told {
        env.remove_leg(&scratch.leg_key);
        return drop(env, Reason::DropUseless);
    }
    let now = env.now();
    let Scratch { image, leg, leg_key, plan, chosen, .. } = scratch;
    let new_isn = env.locked(flow, |flow| {
        if flow.state != state::OPENING || flow.leg != image.tuple {
            return 0;
        }
        begin(flow, leg_key, leg, chosen, action, now);
        flow.tries = tries + 1;
        plan_syn(plan, flow);
        flow.leg_isn
    });
    if new_isn == 0 || !rekey(env, scratch, slot, isn, new_isn) {
        env.remove_leg(&scratch.leg_key);
        return drop(env, Reason::DropRace);
    }
    env.remove_leg(&scratch.image.tuple);
    observe::request(env, scratch, Reason::Replaced);
    send_syn(env, scratch, Reason::Replaced)
}

/// Gives a stored request to the new leg of its flow. If it is gone, the client will send it again.
#[inline(always)]
fn rekey<E: Env>(env: &E, scratch: &Scratch, slot: u32, isn: u32, new_isn: u32) -> bool {
    let Some(stored) = env.slot(slot) else { return false };
    // SAFETY: a live map value; its owner is checked, and only this leg's end gives it away.
    let stored: &mut StoredRequest = unsafe { &mut *stored };
    if stored.leg_isn == isn && stored.leg == scratch.image.tuple {
        stored.leg_isn = 0;
        stored.leg = scratch.leg_key;
        stored.leg_isn = new_isn;
    }
    true
}

/// Whether the segment is what the connection's opening leg waits with: another CPU may have been faster.
#[inline(always)]
fn is_opening(flow: &Flow, image: &Image) -> bool {
    flow.state == state::OPENING && flow.client == image.tuple && flow.request_seq == image.seq
}

/// Where the text of the request that opens a leg goes.
#[inline(always)]
fn insert_at(scratch: &Scratch) -> Option<u32> {
    if scratch.request.inserts != 0 { Some(u32::from(scratch.facts.line_len)) } else { None }
}

/// The same, of a request that was booked before.
#[inline(always)]
fn open_point(flow: &Flow) -> Option<u32> {
    if flow.points_used == 0 { None } else { Some(flow.points[0].wrapping_sub(flow.request_seq)) }
}

/// Leaves an idle leg, if there is one: it goes to the pool, or its endpoint will be reset.
#[inline(always)]
fn leave<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow, now: u64) {
    if pool::give(env, scratch, flow) != After::Kept {
        return;
    }
    let Scratch { image, old_leg, old_key, .. } = scratch;
    let is_left = env.locked(flow, |flow| {
        if flow.state != state::SPLICED || flow.next_seq != image.seq {
            return false;
        }
        doom(flow, old_leg, now);
        *old_key = flow.leg;
        unbind(flow);
        true
    });
    // By its key, not in its place: the endpoint may have spoken meanwhile, and the place be another's.
    if is_left && is_ours(env, old_key, &image.tuple) {
        env.change_leg(old_key, old_leg);
    }
}

/// The leg that the client's connection had, `old_key`, and lost by the segment at hand: its endpoint has not answered, and will be reset.
#[inline(always)]
pub(super) fn leave_silent<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow, now: u64) {
    let Scratch { image, old_leg, old_key, .. } = &mut *scratch;
    let (endpoint, generation) = env.locked(flow, |flow| {
        doom(flow, old_leg, now);
        (flow.endpoint, flow.endpoint_generation)
    });
    if is_ours(env, old_key, &image.tuple) {
        env.change_leg(old_key, old_leg);
    }
    note_silence(env, endpoint, generation);
}

/// Leaves the leg of a client that has its last response, and was sent our FIN: it goes to the pool, or its endpoint will be reset.
#[inline(always)]
pub(super) fn leave_for_good<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow) -> After {
    let after = pool::give(env, scratch, flow);
    if after != After::Kept {
        return after;
    }
    let now = env.now();
    let Scratch { image, old_leg, old_key, plan, .. } = scratch;
    let after = env.locked(flow, |flow| {
        if flow.client != image.tuple || !is_through(flow, image) {
            return After::Kept;
        }
        doom(flow, old_leg, now);
        *old_key = flow.leg;
        unbind(flow);
        after_leg(flow, image, plan)
    });
    if after != After::Kept && is_ours(env, old_key, &image.tuple) {
        env.change_leg(old_key, old_leg);
    }
    after
}

/// Takes out the leg `old_key` that the client's connection had, unless another connection has its ports by now.
#[inline(always)]
pub(super) fn forget_leg<E: Env>(env: &E, scratch: &Scratch) {
    if is_ours(env, &scratch.old_key, &scratch.image.tuple) {
        env.remove_leg(&scratch.old_key);
    }
}

/// Whether the leg is one of the client's.
#[inline(always)]
fn is_ours<E: Env>(env: &E, leg: &Tuple, client: &Tuple) -> bool {
    // SAFETY: a live map value; torn, it is nobody's.
    env.leg(leg).is_some_and(|leg| unsafe { (*leg).client } == *client)
}

/// Leaves the leg, if any, and gives the connection to the host.
#[inline(never)]
pub(super) fn leave_and_hand_off<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    flow: *mut Flow,
    reason: Reason,
) -> Verdict {
    // Who carries it out must find the connection as it is here, and say why.
    if E::PRECEDES {
        return Verdict::DEFER;
    }
    let now = env.now();
    leave(env, scratch, flow, now);
    let image = &scratch.image;
    env.locked(flow, |flow| {
        if flow.state == state::UNBOUND && flow.next_seq == image.seq {
            flow.state = state::HANDED;
            flow.last_seen = now;
        }
    });
    hand_off::midstream(env, scratch, flow, reason)
}

/// Leaves the leg, if any, and resets the client.
#[inline(always)]
pub(super) fn leave_and_reset<E: Env>(env: &mut E, scratch: &mut Scratch, flow: *mut Flow) -> Verdict {
    let now = env.now();
    leave(env, scratch, flow, now);
    let Scratch { image, plan, .. } = &mut *scratch;
    env.locked(flow, |flow| {
        plan.answer_client(flow, image, TcpFlags::RST | TcpFlags::ACK);
        flow.state = state::FREE;
    });
    retire(env, &scratch.image.tuple);
    let with_timestamps = scratch.image.timestamps_at != 0;
    emit::bare(env, scratch, with_timestamps, Reason::Reset)
}

#[inline(always)]
fn begin(flow: &mut Flow, key: &Tuple, leg: &Leg, chosen: &Chosen, action: u32, now: u64) {
    let points = flow.points_used;
    begin_leg(flow, key, leg.up, (chosen.offsets, chosen.told), now);
    flow.points_used = points;
    flow.route = action;
    flow.backend = chosen.backend;
    flow.backend_serial = chosen.serial;
    flow.endpoint = chosen.endpoint;
    flow.endpoint_generation = chosen.generation;
}

/// An empty flow in the scratch.
#[inline(always)]
fn blank(words: &mut [u64; FLOW_WORDS]) -> &mut Flow {
    let at = words.as_mut_ptr();
    let mut i = 0;
    while i < FLOW_WORDS {
        // SAFETY: inside; volatile, or it would become a call that stores byte by byte.
        unsafe { at.add(i).write_volatile(0) };
        i += 1;
    }
    as_flow(words)
}

#[inline(always)]
const fn as_flow(words: &mut [u64; FLOW_WORDS]) -> &mut Flow {
    // SAFETY: size and alignment are those of a Flow, for which any bits will do.
    unsafe { &mut *words.as_mut_ptr().cast::<Flow>() }
}

/// The SYN of a flow's leg: it announces to the endpoint what the client announced to us.
#[inline(always)]
fn plan_syn(plan: &mut Plan, flow: &Flow) {
    plan.tuple = flow.leg.reversed();
    plan.hop = flow.up;
    plan.seq = flow.leg_isn;
    plan.ack = 0;
    plan.tsval = flow.leg_tsval;
    plan.tsecr = 0;
    plan.flags = u32::from(TcpFlags::SYN);
    // A SYN's window is not scaled (RFC 7323 section 2.2).
    let scale = if flow.client_options.window_scale == TcpOptions::NO_SCALE {
        0
    } else {
        u32::from(flow.client_options.window_scale & 15)
    };
    plan.window = (u32::from(flow.request_window) << scale).min(65_535);
    plan.options = flow.client_options;
}

#[inline(always)]
fn send_syn<E: Env>(env: &mut E, scratch: &mut Scratch, reason: Reason) -> Verdict {
    let options = scratch.plan.options;
    emit::handshake(env, scratch, options, reason)
}
