//! Binding a request to an endpoint: choice, port, way, stored request, SYN.

use wire::{EndpointHealth, Flow, Leg, PAYLOAD_MAX, Reason, StoredRequest, TcpFlags, TcpOptions, Tuple};

use super::first::{Decoded, Request, load};
use super::{
    Env, FLOW_WORDS, Scratch, Verdict, affinity, drop, emit, forwarded, hand_off, observe, retire, syn,
    way_back,
};
use crate::flow::{TRIES_MAX, begin_leg, doom, open_with, state, unbind};
use crate::image::Image;
use crate::lookup::{Balancing, client_hash, endpoint, flow_hash};
use crate::opaque::opaque;
use crate::repeat::{Step, repeat};

/// How many endpoints are looked at before userspace gets the request.
const CHOICES: u32 = 16;
/// How many ports are tried.
const PORTS: u32 = 6;

/// An endpoint, and the leg to it that was reserved.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Chosen {
    pub(super) backend: u32,
    pub(super) serial: u32,
    pub(super) endpoint: u32,
    pub(super) generation: u32,
    /// Not 0 if the client keeps the endpoint: for how many seconds.
    pub(super) affinity_s: u32,
}

/// What came of choosing and reserving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Reserved {
    Yes,
    NoRoute,
    NoEndpoint,
    NoWay,
    NoRoom,
}

impl Reserved {
    #[inline(always)]
    const fn reason(self) -> Reason {
        match self {
            Self::NoRoute => Reason::HandRoute,
            Self::NoEndpoint => Reason::HandNoEndpoint,
            Self::NoWay => Reason::HandNoWay,
            Self::Yes | Self::NoRoom => Reason::HandNoRoom,
        }
    }
}

/// The first request of a connection.
#[inline(always)]
pub(super) fn first<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    scratch.client = scratch.image.tuple;
    let reserved = reserve(env, scratch, 0, u32::MAX);
    if reserved != Reserved::Yes {
        return hand_off::first(env, scratch, reserved.reason());
    }
    let (now, down) = (env.now(), way_back(env, &scratch.image));
    let text_len = text(scratch);
    let slot = env.next_slot();
    let insert_at = insert_at(scratch);
    let isn = {
        let Scratch { image, facts, settings, leg, leg_key, plan, flow, vip, request, chosen, .. } = scratch;
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
        plan_syn(plan, flow);
        flow.leg_isn
    };
    if !keep_request(env, scratch, Kept { slot, len: scratch.image.payload_len, isn, insert_at, text_len }) {
        env.remove_leg(&scratch.leg_key);
        return drop(env, Reason::DropMangle);
    }
    if !env.insert_flow(&scratch.image.tuple, as_flow(&mut scratch.flow)) {
        env.remove_leg(&scratch.leg_key);
        // Another CPU has bound a copy of the request: the client repeats it if that one comes to nothing.
        if env.flow(&scratch.image.tuple).is_some() {
            return drop(env, Reason::DropRace);
        }
        return hand_off::first(env, scratch, Reason::HandNoRoom);
    }
    observe::request(env, scratch, Reason::Bound, scratch.chosen.endpoint);
    send_syn(env, scratch, Reason::Bound)
}

/// A request on a connection whose leg, if it has one, is idle and is left.
#[inline(always)]
pub(super) fn again<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.image.tuple) else { return drop(env, Reason::DropRace) };
    // A leg that is left to draw anew may go where it went; one that was lost should not, unless the client keeps it: then a
    // leg that does not open says so.
    let keeps = affinity::is_kept(env, scratch.request.action);
    let (legs, avoided) = env.locked(flow, |flow| {
        (flow.legs, if keeps || flow.state == state::SPLICED { u32::MAX } else { flow.endpoint })
    });
    scratch.client = scratch.image.tuple;
    let reserved = reserve(env, scratch, legs, avoided);
    if reserved != Reserved::Yes {
        return leave_and_hand_off(env, scratch, flow, reserved.reason());
    }
    let now = env.now();
    leave(env, scratch, flow, now);
    let text_len = text(scratch);
    let insert_at = insert_at(scratch);
    let slot = env.next_slot();
    let Scratch { image, facts, leg, leg_key, plan, request, chosen, .. } = scratch;
    let isn = env.locked(flow, |flow| {
        if flow.state != state::UNBOUND || flow.next_seq != image.seq || flow.client != image.tuple {
            return 0;
        }
        flow.insert_len = text_len as u16;
        open_with(flow, image, facts, insert_at, now);
        begin(flow, leg_key, leg, chosen, request.action, now);
        flow.slot = slot;
        plan_syn(plan, flow);
        flow.leg_isn
    });
    if isn == 0
        || !keep_request(
            env,
            scratch,
            Kept { slot, len: scratch.image.payload_len, isn, insert_at, text_len },
        )
    {
        env.remove_leg(&scratch.leg_key);
        return drop(env, Reason::DropRace);
    }
    observe::request(env, scratch, Reason::Rebound, scratch.chosen.endpoint);
    send_syn(env, scratch, Reason::Rebound)
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
    let mut reserved = reserve(env, scratch, legs, avoided);
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
            flow.next_seq = image.seq;
            true
        });
        if !is_left {
            return drop(env, Reason::DropRace);
        }
        forget_leg(env, scratch);
        return hand_off::midstream(env, scratch, flow, reserved.reason());
    }
    let now = env.now();
    let text_len = text(scratch);
    let slot = env.next_slot();
    let Scratch { image, leg, leg_key, old_key, plan, chosen, .. } = scratch;
    let (isn, request_len) = env.locked(flow, |flow| {
        if !is_opening(flow, image) || flow.leg != *old_key {
            return (0, 0);
        }
        begin(flow, leg_key, leg, chosen, action, now);
        flow.slot = slot;
        plan_syn(plan, flow);
        (flow.leg_isn, flow.next_seq.wrapping_sub(flow.request_seq))
    });
    // The next request may be in the segment too: nothing was decided on it.
    let len = image.payload_len.min(request_len);
    let kept = Kept { slot, len, isn, insert_at: point, text_len };
    if isn != 0 {
        forget_leg(env, scratch);
    }
    if isn == 0 || !load_again(env, scratch) || !keep_request(env, scratch, kept) {
        env.remove_leg(&scratch.leg_key);
        return drop(env, Reason::DropRace);
    }
    observe::request(env, scratch, Reason::Replaced, scratch.chosen.endpoint);
    send_syn(env, scratch, Reason::Replaced)
}

/// The SYN of an opening leg again, with what the client repeated as its request; or, after too many tries, another endpoint's.
#[inline(always)]
pub(super) fn reopen<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.image.tuple) else { return drop(env, Reason::DropRace) };
    if env.locked(flow, |flow| flow.tries >= TRIES_MAX) {
        return replace(env, scratch, flow);
    }
    let slot = env.next_slot();
    let Scratch { image, plan, leg_key, .. } = scratch;
    let (is_ours, isn, point) = env.locked(flow, |flow| {
        if !is_opening(flow, image) {
            return (false, 0, None);
        }
        let is_same = flow.next_seq.wrapping_sub(flow.request_seq) == image.payload_len;
        if is_same {
            flow.slot = slot;
        }
        plan_syn(plan, flow);
        *leg_key = flow.leg;
        (true, if is_same { flow.leg_isn } else { 0 }, open_point(flow))
    });
    if !is_ours {
        return drop(env, Reason::DropRace);
    }
    scratch.request.inserts = u32::from(point.is_some());
    let text_len = text(scratch);
    let kept = Kept { slot, len: scratch.image.payload_len, isn, insert_at: point, text_len };
    if isn != 0 && !(load_again(env, scratch) && keep_request(env, scratch, kept)) {
        return drop(env, Reason::DropMangle);
    }
    send_syn(env, scratch, Reason::Reopened)
}

/// An endpoint refused its SYN, and the segment at hand says so: another one gets the stored request.
#[inline(always)]
pub(super) fn elsewhere<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.old_key) else { return drop(env, Reason::DropRace) };
    let old_key = &scratch.image.tuple;
    let (legs, action, avoided, generation, slot, isn, tries) = env.locked(flow, |flow| {
        if flow.state != state::OPENING || flow.leg != *old_key {
            return (0, 0, 0, 0, 0, 0, 0);
        }
        let tries = flow.tries;
        // Should there be no other, the client's repetition looks once more, and then goes to userspace.
        flow.tries = TRIES_MAX;
        let (endpoint, generation) = (flow.endpoint, flow.endpoint_generation);
        (flow.legs, flow.route, endpoint, generation, flow.slot, flow.leg_isn, tries)
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
    if reserve(env, scratch, legs, avoided) != Reserved::Yes || scratch.chosen.endpoint == avoided {
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
    observe::request(env, scratch, Reason::Replaced, scratch.chosen.endpoint);
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

/// Leaves an idle leg, if there is one: its endpoint will be reset.
#[inline(always)]
fn leave<E: Env>(env: &E, scratch: &mut Scratch, flow: *mut Flow, now: u64) {
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
    begin_leg(flow, key, leg.up, now);
    flow.points_used = points;
    flow.route = action;
    flow.backend = chosen.backend;
    flow.backend_serial = chosen.serial;
    flow.endpoint = chosen.endpoint;
    flow.endpoint_generation = chosen.generation;
}

/// Chooses an endpoint for `scratch.request` and reserves a port for the leg: `leg_key`, `leg` and `chosen` in the scratch.
#[inline(never)]
fn reserve<E: Env>(env: &mut E, scratch: &mut Scratch, legs: u32, avoided: u32) -> Reserved {
    let Some(record) = env.action(scratch.request.action) else { return Reserved::NoRoute };
    let Some(drawn) = affinity::draw(env, record, &scratch.client.source) else { return Reserved::NoRoute };
    let now = env.now();
    let Some(record) = env.backend(drawn.backend) else { return Reserved::NoEndpoint };
    affinity::begin(scratch, scratch.client.source, drawn, record);
    if drawn.affinity_s != 0 {
        affinity::recall(env, scratch, now);
        let Chosen { endpoint, generation, .. } = scratch.chosen;
        if endpoint == avoided || !may_use(env, &scratch.settings, endpoint, generation, now) {
            scratch.chosen.endpoint = u32::MAX;
        }
    }
    repeat(CHOICES, &mut Choice { env, scratch, now, legs, avoided }, |round, choice| choice.look(round));
    if scratch.chosen.endpoint == u32::MAX {
        return Reserved::NoEndpoint;
    }
    let chosen = scratch.chosen;
    let Some(record) = Balancing::endpoint(env, chosen.endpoint) else { return Reserved::NoEndpoint };
    let Some(up) = env.way(record) else { return Reserved::NoWay };
    let Scratch { leg, leg_key, image, client, .. } = &mut *scratch;
    // Headers are rewritten in place: both sides have the same family.
    if is_mapped(&record.address) != (image.is_v6 == 0) {
        return Reserved::NoWay;
    }
    leg.opened = now;
    leg.client = *client;
    leg.reset_seq = 0;
    leg.up = up;
    leg_key.source = record.address;
    leg_key.destination = record.source;
    leg_key.source_port = record.port;
    leg_key.destination_port = [0, 0];
    // The record may have been given to another endpoint while it was copied.
    if Balancing::endpoint(env, chosen.endpoint).is_none_or(|r| r.generation != chosen.generation) {
        return Reserved::NoEndpoint;
    }
    repeat(PORTS, &mut Choice { env, scratch, now, legs, avoided }, |_, choice| choice.take_port());
    if scratch.leg_key.destination_port == [0, 0] {
        return Reserved::NoRoom;
    }
    if chosen.affinity_s != 0 {
        affinity::keep(env, scratch, chosen.endpoint, now);
    }
    Reserved::Yes
}

/// Whether an address is IPv4 (RFC 4291 section 2.5.5.2).
#[inline(always)]
const fn is_mapped(address: &[u8; 16]) -> bool {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *address;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h]) == 0 && u32::from_be_bytes([i, j, k, l]) == 0xffff
}

/// A search for an endpoint, then for a port.
struct Choice<'c, E> {
    env: &'c mut E,
    scratch: &'c mut Scratch,
    now: u64,
    legs: u32,
    avoided: u32,
}

impl<E: Env> Choice<'_, E> {
    #[inline(always)]
    fn look(&mut self, round: u32) -> Step {
        // The endpoint that the client has.
        if round == 0 && self.scratch.chosen.endpoint != u32::MAX {
            return Step::Stop;
        }
        let hash = if self.scratch.chosen.affinity_s != 0 {
            client_hash(&self.scratch.client.source, self.scratch.cached_key.subject, round)
        } else {
            flow_hash(&self.scratch.client, self.legs.wrapping_add(round))
        };
        let Some(found) = endpoint(self.env, self.scratch.chosen.backend, hash) else { return Step::Next };
        if !may_use(self.env, &self.scratch.settings, found.endpoint, found.generation, self.now) {
            return Step::Next;
        }
        self.scratch.chosen.endpoint = found.endpoint;
        self.scratch.chosen.generation = found.generation;
        // An endpoint that was just left is kept only if there seems to be no other.
        if found.endpoint == self.avoided { Step::Next } else { Step::Stop }
    }

    #[inline(always)]
    fn take_port(&mut self) -> Step {
        let settings = &self.scratch.settings;
        let offset = (u64::from(self.env.random()) * u64::from(settings.port_count)) >> 32;
        let port = settings.port_first.wrapping_add(offset as u16);
        self.scratch.leg_key.destination_port = port.to_be_bytes();
        if self.env.insert_leg(&self.scratch.leg_key, &self.scratch.leg) {
            return Step::Stop;
        }
        self.scratch.leg_key.destination_port = [0, 0];
        Step::Next
    }
}

/// Calls `change` with what is known of an endpoint; what was known of another one in its place is forgotten.
#[inline(always)]
pub(super) fn with_health<E: Env, R>(
    env: &E,
    endpoint: u32,
    generation: u32,
    change: impl FnOnce(&mut EndpointHealth) -> R,
) -> Option<R> {
    // SAFETY: a live map value; its words are read and written one by one, and a lost race costs one try.
    let health = unsafe { &mut *env.health(endpoint)? };
    if health.generation != generation {
        health.failures = 0;
        health.flags = 0;
        health.ejected_until = 0;
        health.generation = generation;
    }
    Some(change(health))
}

/// Whether the endpoint's past allows a leg. One whose time out of use is over gets a single try until that succeeds.
#[inline(always)]
fn may_use<E: Env>(env: &E, settings: &wire::Settings, endpoint: u32, generation: u32, now: u64) -> bool {
    let answer = with_health(env, endpoint, generation, |health| {
        let lacks = health.flags & EndpointHealth::LACKS_OPTIONS != 0;
        let is_out = settings.eject_after != 0 && health.failures >= settings.eject_after;
        if !lacks && !is_out {
            return true;
        }
        if now < health.ejected_until {
            return false;
        }
        health.flags = 0;
        health.ejected_until = now + settings.eject_for;
        true
    });
    answer.unwrap_or(true)
}

/// A leg to the endpoint did not open.
#[inline(always)]
fn note_failure<E: Env>(env: &E, scratch: &Scratch, endpoint: u32, generation: u32) {
    let until = env.now() + scratch.settings.eject_for;
    with_health(env, endpoint, generation, |health| {
        health.failures = health.failures.saturating_add(1);
        health.ejected_until = until;
    });
}

/// Writes the forwarded headers, if `scratch.request` wants them; returns their length.
#[inline(never)]
pub(super) fn text(scratch: &mut Scratch) -> u32 {
    if scratch.request.inserts == 0 {
        return 0;
    }
    let Scratch { image, text, text_len, .. } = &mut *scratch;
    let len = forwarded::write(&image.tuple.source, image.is_v6 != 0, text, text_len);
    emit::end_with_zeros(&mut scratch.text, len);
    len
}

/// Copies the request's bytes again, for a repeated segment that was not decoded, and checks them.
#[inline(always)]
fn load_again<E: Env>(env: &mut E, scratch: &mut Scratch) -> bool {
    let (len, is_large) = (scratch.image.payload_len, env.is_large());
    len < PAYLOAD_MAX as u32 && load(env, scratch, len, is_large) == Decoded::Routed
}

/// What is kept of a request, and where.
struct Kept {
    slot: u32,
    /// How many bytes of the segment are the request's.
    len: u32,
    /// ISN of the leg's SYN.
    isn: u32,
    insert_at: Option<u32>,
    text_len: u32,
}

/// Stores the request at hand with its inserted text until the SYN-ACK comes. The payload is in the scratch.
#[inline(always)]
fn keep_request<E: Env>(env: &mut E, scratch: &mut Scratch, kept: Kept) -> bool {
    let Some(stored) = env.slot(kept.slot) else { return false };
    // SAFETY: a live map value; only this CPU writes its own slots, readers check the owner.
    let stored: &mut StoredRequest = unsafe { &mut *stored };
    let (at, len) = (scratch.image.payload_at(), kept.len);
    if len >= PAYLOAD_MAX as u32 {
        return false;
    }
    emit::end_with_zeros(&mut scratch.payload.bytes, len);
    let mut sum = env.sum(&scratch.payload.bytes, len);
    // Nobody's while it is written.
    stored.leg_isn = 0;
    stored.leg = scratch.leg_key;
    let line_len = kept.insert_at.unwrap_or(0);
    let behind = line_len + kept.text_len;
    if kept.text_len != 0 {
        if line_len == 0 || line_len >= len || behind > 1023 {
            return false;
        }
        sum = sum.plus(emit::turned(env.sum(&scratch.text, kept.text_len), line_len));
        if !env.load_at::<{ wire::REQUEST_MAX }, 2048>(at, &mut stored.bytes, 0, line_len) {
            return false;
        }
        put_text(stored, line_len, &scratch.text);
    }
    let is_loaded =
        env.load_at::<{ wire::REQUEST_MAX }, 2048>(at + line_len, &mut stored.bytes, behind, len - line_len);
    stored.len = len + kept.text_len;
    stored.sum = u32::from(sum.folded());
    stored.leg_isn = kept.isn;
    is_loaded
}

/// All of the text's room is copied: what is behind the text is overwritten next.
#[inline(always)]
fn put_text(stored: &mut StoredRequest, at: u32, text: &[u8; super::TEXT_MAX]) {
    let at = opaque(u64::from(at)) as usize & 1023;
    let mut i = 0;
    while i < super::TEXT_MAX {
        let mut word = [0; 8];
        let mut k = 0;
        while k < 8 {
            word[k] = text[i + k];
            k += 1;
        }
        // SAFETY: at most 1,023 + 128 bytes into 3,072.
        unsafe { stored.bytes.as_mut_ptr().add(at + i).cast::<[u8; 8]>().write(word) };
        i += 8;
    }
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
fn plan_syn(plan: &mut crate::flow::Plan, flow: &Flow) {
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
