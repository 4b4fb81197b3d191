use wire::{EndpointRecord, Flow, Reason, RouteAction, TcpFlags, Vip};

use super::checksum::is_sound;
use super::first::{Decoded, Request, decode, fits_segment, is_whole};
use super::{
    Env, Owner, Part, Scratch, TEXT_MAX, Verdict, affinity, bind, drop, emit, hand_off, observe, pass, pool,
    retire, retire_as, stored, syn, told, ways,
};
use crate::cookie::{self, Cookie};
use crate::flow::{
    After, ClientStep, HandedStep, RequestStep, Rival, Wish, is_due, learn_way_down, on_client, on_handed,
    on_newcomer, on_request, on_taken, state,
};
use crate::lookup::{Balancing, Drawn, choose, client_draw, endpoint as choose_endpoint, flow_hash};

/// A segment for one of our sockets.
#[inline(always)]
pub(super) fn segment<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let flow = env.flow(&scratch.image.tuple);
    if E::PRECEDES && !has_room(env, scratch, flow) {
        return Verdict::DEFER;
    }
    if scratch.image.has(TcpFlags::SYN) && !scratch.image.has(TcpFlags::ACK) {
        return syn::segment(env, scratch);
    }
    let Some(flow) = flow else {
        return env.go_on(Part::First, scratch);
    };
    if scratch.image.read_options().is_err() {
        return drop(env, Reason::DropOptions);
    }
    // What ends a connection is looked at closely: the endpoint would not believe it either.
    if scratch.image.has(TcpFlags::RST | TcpFlags::FIN) && !is_sound(env, scratch) {
        return drop(env, Reason::DropChecksum);
    }
    if scratch.image.has(TcpFlags::RST | TcpFlags::FIN) && scratch.image.payload_len == 0 {
        let after = pool::give(env, scratch, flow);
        if after != After::Kept {
            return left(env, scratch, after);
        }
    }
    let now = env.now();
    let Scratch { image, plan, old_key, .. } = &mut *scratch;
    let device = env.device();
    let step = env.locked(flow, |flow| {
        *old_key = flow.leg;
        let step = on_client(flow, image, now, plan);
        learn_way_down(flow, image, device, step);
        step
    });
    match step {
        ClientStep::Stale => drop(env, Reason::DropRace),
        ClientStep::Forward => {
            find_way(env, scratch, flow);
            send(env, scratch)
        }
        ClientStep::ForwardLast => {
            let reason = if scratch.plan.flags & u32::from(TcpFlags::RST) != 0 {
                Reason::Reset
            } else {
                Reason::Closed
            };
            env.count(reason);
            forget(env, scratch);
            emit::forward(env, scratch)
        }
        ClientStep::ForwardReset => {
            bind::forget_leg(env, scratch);
            emit::forward(env, scratch)
        }
        ClientStep::Request => env.go_on(Part::Request, scratch),
        ClientStep::Unheard => {
            bind::leave_silent(env, scratch, flow, now);
            env.go_on(Part::Request, scratch)
        }
        ClientStep::Reopen => {
            scratch.plan.keep = 0;
            env.go_on(Part::Reopen, scratch)
        }
        // What the plan keeps is not nothing.
        ClientStep::Retell => {
            find_way(env, scratch, flow);
            env.go_on(Part::Reopen, scratch)
        }
        ClientStep::Answer => {
            let with_timestamps = scratch.image.timestamps_at != 0;
            emit::bare(env, scratch, with_timestamps, Reason::Probe)
        }
        ClientStep::Challenge => {
            let with_timestamps = scratch.plan.options.timestamps();
            emit::bare(env, scratch, with_timestamps, Reason::Challenged)
        }
        ClientStep::AnswerLast => left(env, scratch, After::AnswerLast),
        ClientStep::Forget => {
            forget(env, scratch);
            drop(env, Reason::Closed)
        }
        ClientStep::Stray => stray(env, scratch, flow, now, Reason::DropUseless),
        ClientStep::Early => stray(env, scratch, flow, now, Reason::DropEarly),
        ClientStep::Useless => drop(env, Reason::DropUseless),
        ClientStep::Handed => handed(env, scratch, flow, now),
        ClientStep::Through => {
            // Nobody behind it would notice: the leg goes, and with it what the client may lack.
            if !is_sound(env, scratch) {
                return drop(env, Reason::DropChecksum);
            }
            let after = bind::leave_for_good(env, scratch, flow);
            left(env, scratch, after)
        }
    }
}

/// The segment comes from a client that has no leg any more.
#[inline(never)]
fn left<E: Env>(env: &mut E, scratch: &mut Scratch, after: After) -> Verdict {
    let with_timestamps = scratch.image.timestamps_at != 0;
    match after {
        After::Kept => drop(env, Reason::DropRace),
        After::Silent => drop(env, Reason::DropUseless),
        After::Answer => emit::bare(env, scratch, with_timestamps, Reason::Probe),
        After::AnswerLast => {
            retire_as(env, &scratch.image.tuple, true);
            emit::bare(env, scratch, with_timestamps, Reason::Closed)
        }
        After::Gone => {
            retire(env, &scratch.image.tuple);
            drop(env, Reason::Closed)
        }
    }
}

/// Where the host finds the next hop, its device may have changed.
#[inline(always)]
fn find_way<E: Env>(env: &mut E, scratch: &mut Scratch, flow: *mut Flow) {
    if scratch.plan.hop.destination == [0; 6] {
        ways::find_device(env, scratch, flow);
    }
}

/// Whether the segment has room for what may become of it: a request that goes over the leg that is there grows by its text, now or
/// again, and by what its endpoint is told first, but not what follows of its body; a SYN or an answer by options that the segment lacks.
#[inline(always)]
fn has_room<E: Env>(env: &mut E, scratch: &Scratch, flow: Option<*mut Flow>) -> bool {
    let image = &scratch.image;
    let has_text = scratch.vip.flags & Vip::FORWARDED_HEADERS != 0;
    let grows_by = |flow: &mut Flow| {
        let gets_text = has_text && (flow.next_seq == image.seq || flow.points_used != 0);
        let told = if is_due(flow) && flow.request_seq == image.seq { told::ROOM } else { 0 };
        told + if gets_text { TEXT_MAX } else { 0 }
    };
    let more = match flow {
        Some(flow) if image.payload_len != 0 => env.locked(flow, grows_by),
        // A first request goes over a leg of the pool as it is, with its text.
        None if image.payload_len != 0 && has_text && scratch.settings.pool_idle != 0 => TEXT_MAX,
        _ => 0,
    };
    if more != 0 {
        return env.has_room(more as u32);
    }
    let is_answered = image.payload_len == 0 && !image.has(TcpFlags::SYN);
    let longest = if is_answered { emit::BARE_MAX } else { emit::HANDSHAKE_MAX };
    env.has_room(longest.saturating_sub(image.tcp_len + image.payload_len))
}

/// A segment of a connection that was given to the host. The record stays for a while when userspace has ended it.
#[inline(always)]
fn handed<E: Env>(env: &mut E, scratch: &mut Scratch, flow: *mut Flow, now: u64) -> Verdict {
    let (image, plan) = (&scratch.image, &mut scratch.plan);
    match env.owner(&image.tuple, image.is_v6 != 0) {
        Owner::Connection => {
            env.locked(flow, |flow| on_taken(flow, image));
            return pass(env, Reason::PassOwned);
        }
        Owner::TimeWait => return pass(env, Reason::PassOwned),
        Owner::Listener | Owner::Nobody => {}
    }
    match env.locked(flow, |flow| on_handed(flow, image, plan)) {
        HandedStep::HandOff => hand_off::midstream(env, scratch, flow, Reason::HandUndecidable),
        HandedStep::Answer => {
            let with_timestamps = scratch.image.timestamps_at != 0;
            emit::bare(env, scratch, with_timestamps, Reason::Probe)
        }
        HandedStep::Forget => {
            forget(env, scratch);
            drop(env, Reason::Closed)
        }
        // The host says whether it knows of it.
        HandedStep::Stray => stray(env, scratch, flow, now, Reason::PassForeign),
        HandedStep::Early => drop(env, Reason::DropEarly),
        HandedStep::Useless => drop(env, Reason::DropUseless),
    }
}

/// Sends the segment on; a repeated request gets its text again.
#[inline(always)]
fn send<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    scratch.request.inserts = scratch.plan.insert_len;
    stored::text(scratch);
    emit::forward(env, scratch)
}

/// Takes a connection out whose record this segment made FREE; `old_key` is the leg that it had.
#[inline(always)]
fn forget<E: Env>(env: &E, scratch: &Scratch) {
    bind::forget_leg(env, scratch);
    retire(env, &scratch.image.tuple);
}

/// Far from where the flow is. If its acknowledgement is a cookie, a new connection has the same ports, or somebody guesses:
/// a connection that is alive stays. Anything else is dropped or passed, as `reason` says.
#[inline(always)]
fn stray<E: Env>(env: &mut E, scratch: &mut Scratch, flow: *mut Flow, now: u64, reason: Reason) -> Verdict {
    let verdict = newcomer(env, scratch, flow, now, reason);
    // Only a program's own function may end in a tail call.
    if verdict == NEWCOMER { env.go_on(Part::First, scratch) } else { verdict }
}

/// No verdict: the segment begins a connection, and nothing is left of the old one.
const NEWCOMER: Verdict = Verdict(u64::MAX);

#[inline(never)]
fn newcomer<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    flow: *mut Flow,
    now: u64,
    reason: Reason,
) -> Verdict {
    let image = &scratch.image;
    // A SYN that went to the stack while the agent was away began it.
    if env.owner(&image.tuple, image.is_v6 != 0) == Owner::Connection {
        return pass(env, Reason::PassOwned);
    }
    let (isn, cookie) = (image.seq.wrapping_sub(1), image.ack.wrapping_sub(1));
    let key = &scratch.settings.cookie_key;
    let is_first = image.has(TcpFlags::ACK)
        && !image.has(TcpFlags::RST | TcpFlags::SYN)
        && matches!(cookie::check(key, &image.tuple, isn, cookie, now), Cookie::First(_));
    if !is_first {
        return if reason.is_drop() { drop(env, reason) } else { pass(env, reason) };
    }
    if image.payload_len == 0 && !image.has(TcpFlags::FIN) {
        return drop(env, Reason::BareAck);
    }
    let Scratch { image, plan, old_key, .. } = &mut *scratch;
    let rival = env.locked(flow, |flow| {
        *old_key = flow.leg;
        on_newcomer(flow, image, now, plan)
    });
    match rival {
        Rival::Yes => {
            forget(env, scratch);
            env.count(Reason::Superseded);
            NEWCOMER
        }
        Rival::Challenge => {
            let with_timestamps = scratch.plan.options.timestamps();
            emit::bare(env, scratch, with_timestamps, Reason::Challenged)
        }
        Rival::Repeated => drop(env, Reason::DropRepeated),
        Rival::Useless => drop(env, Reason::DropUseless),
    }
}

/// A segment at the place where the next request starts.
#[inline(always)]
pub(super) fn request<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.image.tuple) else { return drop(env, Reason::DropRace) };
    let decoded = decode(env, scratch);
    if decoded == Decoded::Corrupt {
        return drop(env, Reason::DropChecksum);
    }
    let wish = if decoded == Decoded::Routed { wish(env, scratch, flow) } else { Wish::Host };
    if decoded != Decoded::Routed {
        scratch.request = Request::default();
    }
    let inserts = scratch.request.inserts != 0;
    let now = env.now();
    let text_len = stored::text(scratch);
    let Scratch { image, facts, plan, request, .. } = scratch;
    let step = env.locked(flow, |flow| {
        if wish == Wish::SameLeg && flow.client == image.tuple && flow.next_seq == image.seq {
            if inserts && flow.points_used == 0 {
                flow.insert_len = text_len as u16;
            }
            flow.route = request.action;
        }
        on_request(flow, image, facts, wish, inserts, now, plan)
    });
    match step {
        RequestStep::Stale => drop(env, Reason::DropRace),
        RequestStep::Forward => {
            env.count(Reason::Reused);
            scratch.client = scratch.image.tuple;
            observe::request(env, scratch, Reason::Reused);
            emit::forward(env, scratch)
        }
        RequestStep::Bind if wish == Wish::SameLeg => drop(env, Reason::HoldBusy),
        RequestStep::Bind => env.go_on(Part::BindAgain, scratch),
        RequestStep::HandOff => bind::leave_and_hand_off(env, scratch, flow, decoded.reason()),
        RequestStep::Hold => drop(env, Reason::HoldBusy),
        RequestStep::GiveUp => bind::leave_and_reset(env, scratch, flow),
    }
}

/// What a decoded request wants of the leg that is there.
#[inline(always)]
fn wish<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow) -> Wish {
    let is_whole = is_whole(scratch);
    // A body may follow where nothing is inserted, on the leg that is there.
    if fits_leg(env, scratch, flow) && (is_whole || scratch.request.inserts == 0) {
        return Wish::SameLeg;
    }
    if is_whole && fits_segment(scratch, 0) { Wish::OtherLeg } else { Wish::Host }
}

/// Whether the leg's endpoint may serve the request: its backend has weight in the route, it is there and takes requests,
/// and it is not time to draw again.
#[inline(always)]
fn fits_leg<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow) -> bool {
    let (joined, backend, serial, endpoint, generation, drawn, legs) = env.locked(flow, |flow| {
        let joined = flow.state == state::SPLICED;
        let leg = (flow.endpoint, flow.endpoint_generation, flow.drawn, flow.legs);
        (joined, flow.backend, flow.backend_serial, leg.0, leg.1, leg.2, leg.3)
    });
    if !joined {
        return false;
    }
    let Some(record) = Balancing::endpoint(env, endpoint) else { return false };
    let serves = EndpointRecord::USABLE | EndpointRecord::DRAINING;
    if record.generation != generation || record.flags & serves != EndpointRecord::USABLE {
        return false;
    }
    let Some(action) = env.action(scratch.request.action) else { return false };
    if action.flags & RouteAction::TIER3 != 0 {
        return false;
    }
    let keeps = action.flags & RouteAction::AFFINITY != 0;
    // One backend needs no drawing. The request that bound the leg is not in the count.
    if drawn.wrapping_add(1) >= scratch.settings.redraw_after && action.backends_used > 1 && !keeps {
        return false;
    }
    if keeps && client_draws(action, scratch) != Some(backend) {
        return false;
    }
    let Some(share) = share_of(action, backend) else { return false };
    if share.affinity_s != 0 {
        return affinity::has(env, scratch, share, endpoint, env.now());
    }
    is_member(env, scratch, flow, (backend, serial, endpoint, legs))
}

/// The backend that the client draws.
#[inline(always)]
fn client_draws(action: &RouteAction, scratch: &Scratch) -> Option<u32> {
    choose(action, client_draw(action, &scratch.image.tuple.source)).map(|drawn| drawn.backend)
}

/// Whether the endpoint of a leg is still what the backend's table gives to the flow. Tables that did not change since
/// the leg was bound need no look.
#[inline(always)]
fn is_member<E: Env>(
    env: &E,
    scratch: &Scratch,
    flow: *mut Flow,
    (backend, serial, endpoint, legs): (u32, u32, u32, u32),
) -> bool {
    let Some(record) = env.backend(backend) else { return false };
    let newest = record.serial;
    if newest == serial {
        return true;
    }
    // The hash that the leg was chosen by: the flow had one leg less.
    let hash = flow_hash(&scratch.image.tuple, legs.wrapping_sub(1));
    let is_same = choose_endpoint(env, backend, hash).is_some_and(|chosen| chosen.endpoint == endpoint);
    if is_same {
        env.locked(flow, |flow| flow.backend_serial = newest);
    }
    is_same
}

#[inline(always)]
fn share_of(action: &RouteAction, backend: u32) -> Option<Drawn> {
    let (mut found, mut affinity_s) = (0u32, 0u32);
    let mut i = 0;
    while i < wire::ROUTE_BACKENDS_MAX {
        let share = &action.backends[i];
        let is_it = u32::from((i as u32) < action.backends_used && share.backend == backend);
        found |= is_it;
        affinity_s |= is_it.wrapping_neg() & share.affinity_s;
        i += 1;
    }
    if found == 0 { None } else { Some(Drawn { backend, affinity_s }) }
}
