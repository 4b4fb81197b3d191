//! What is told of requests.

use wire::{BUCKETS, Event, Flow, Payload, Reason, Responses, Settings};

use super::{Env, Scratch};
use crate::flow::phase;
use crate::opaque::opaque;
use crate::payload::word::word;

/// Counts a final response (`status` is not 0) and, with its request's time of arrival (0: seen before), how long its first byte
/// took, by listener, route and endpoint.
#[inline(always)]
pub(super) fn response<E: Env>(env: &E, seen: &Seen, status: u32, now: u64) -> u64 {
    if status == 0 && seen.asked == 0 {
        return 0;
    }
    // 0: it is not counted here, for 0 ns is no time.
    let took = if seen.asked == 0 { 0 } else { now.saturating_sub(seen.asked).max(1) };
    // A hundredth, exact below 1,000.
    let class = (status * 656) >> 16;
    let class = if class < 6 { class } else { 0 };
    let class = opaque(u64::from(class)) as usize & 7;
    let bucket = opaque(Responses::bucket(took) as u64) as usize & (BUCKETS - 1);
    count(env.responses(seen.listener), status != 0, class, bucket, took);
    count(env.route_responses(seen.route), status != 0, class, bucket, took);
    count(env.endpoint_responses(seen.endpoint), status != 0, class, bucket, took);
    took
}

#[inline(always)]
fn count(responses: Option<*mut Responses>, is_final: bool, class: usize, bucket: usize, took: u64) {
    let Some(responses) = responses else { return };
    // SAFETY: a live value of this CPU.
    let responses = unsafe { &mut *responses };
    responses.classes[class & 7] += u64::from(is_final);
    responses.first_byte[bucket & (BUCKETS - 1)] += u64::from(took != 0);
    responses.first_byte_ns += took;
}

/// Tells of a request that was bound or sent on, of the client `scratch.client`: its route and its endpoint, and, where it is the
/// packet at hand, what it asks for.
#[inline(always)]
pub(super) fn request<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason) {
    if scratch.settings.flags & Settings::TRACE == 0 {
        return;
    }
    tell_request(env, scratch, reason);
}

#[inline(never)]
fn tell_request<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason) {
    let Some(flow) = env.flow(&scratch.client) else { return };
    let (isn, number, endpoint) = env.locked(flow, |flow| (flow.isn, flow.requests, flow.endpoint));
    let lot = Event::lot_of(isn, number);
    if !Event::is_drawn(lot, scratch.settings.trace_every) {
        return;
    }
    let Scratch { event, client, request, vip, facts, payload, .. } = &mut *scratch;
    event.client = *client;
    event.route = request.action;
    event.endpoint = endpoint;
    event.listener = vip.listener;
    event.status = 0;
    event.first_byte_ns = 0;
    event.lot = lot;
    event.number = number;
    // The request that another endpoint gets was told of before.
    let is_at_hand = reason as u8 != Reason::Replaced as u8;
    event.path_len = if is_at_hand { facts.path.len } else { 0 };
    event.host_len = if is_at_hand { facts.host.len } else { 0 };
    event.len = u32::from(facts.head_len).wrapping_add(facts.content_length);
    event.flags = 0;
    event.method = facts.method;
    if is_at_hand {
        copy(payload, facts.path.start, &mut event.path);
        copy(payload, facts.host.start, &mut event.host);
    }
    tell(env, scratch, reason);
}

/// Copies words; what is behind the span comes with it.
#[inline(always)]
fn copy<const N: usize>(payload: &Payload, start: u16, into: &mut [u8; N]) {
    const { assert!(N.is_multiple_of(8)) };
    let mut at = 0;
    while at < N {
        let bytes = word(payload, u32::from(start) + at as u32).to_le_bytes();
        // The compiler would count from -8 on, which since Linux 7.2 the verifier adds to no pointer.
        let to = opaque(at as u64) as usize;
        // SAFETY: `to` is `at`: a multiple of 8 below N, which is one.
        unsafe { into.as_mut_ptr().add(to).cast::<[u8; 8]>().write(bytes) };
        at += 8;
    }
}

/// Tells of a connection that goes to userspace with its request `number`. `isn`: its cookie.
#[inline(always)]
pub(super) fn hand_off<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason, isn: u32, number: u32) {
    if scratch.settings.flags & Settings::TRACE == 0 {
        return;
    }
    let lot = Event::lot_of(isn, number);
    if !Event::is_drawn(lot, scratch.settings.trace_every) {
        return;
    }
    let Scratch { event, image, vip, .. } = &mut *scratch;
    event.client = image.tuple;
    event.route = u32::MAX;
    event.endpoint = u32::MAX;
    event.listener = vip.listener;
    event.status = 0;
    event.first_byte_ns = 0;
    event.lot = lot;
    event.number = number;
    event.flags = 0;
    event.path_len = 0;
    event.host_len = 0;
    event.len = 0;
    tell(env, scratch, reason);
}

#[inline(always)]
fn tell<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason) {
    scratch.event.time = env.now();
    scratch.event.reason = reason as u8;
    let ours = if E::PRECEDES { 1 } else { 2 };
    scratch.event.tier = if reason.is_hand_off() { 3 } else { ours };
    env.tell(&scratch.event);
}

/// Tells of a response that begins or ends, if its request was told of, and of errors where that is asked for.
#[inline(always)]
pub(super) fn answered<E: Env>(env: &E, scratch: &mut Scratch, flow: &Seen, first_byte_ns: u64) {
    let is_news = scratch.view.status | scratch.view.ended != 0;
    if scratch.settings.flags & Settings::TRACE != 0 && is_news {
        tell_answer(env, scratch, flow, first_byte_ns);
    }
}

#[inline(never)]
fn tell_answer<E: Env>(env: &E, scratch: &mut Scratch, flow: &Seen, first_byte_ns: u64) {
    let Scratch { event, failures, view, old_key, settings, .. } = &mut *scratch;
    event.client = *old_key;
    event.route = flow.route;
    event.endpoint = flow.endpoint;
    event.listener = flow.listener;
    event.path_len = 0;
    event.host_len = 0;
    event.len = 0;
    event.begins_at = view.begins_at;
    event.ends_at = view.ended_at;
    // The newest final head of the segment.
    let is_whole = view.ended != view.ended_before;
    let number = flow.answered.wrapping_add(view.ended_before).wrapping_add(1);
    let lot = Event::lot_of(flow.isn, number);
    let is_drawn = Event::is_drawn(lot, settings.trace_every);
    let is_failure = settings.flags & Settings::TRACE_ERRORS != 0 && view.status >= 400;
    let is_one_more = !is_drawn && is_failure && failures.take(env.now());
    if is_failure && !is_drawn && !is_one_more {
        env.count(Reason::UntoldFailure);
    }
    if view.status != 0 && (is_drawn || is_one_more) {
        event.status = view.status as u16;
        event.first_byte_ns = first_byte_ns;
        event.lot = lot;
        event.number = number;
        let is_endless = view.phase == u32::from(phase::UNKNOWN);
        event.flags = if is_whole {
            Event::WHOLE
        } else if is_endless {
            Event::ENDLESS
        } else {
            0
        };
        tell(env, scratch, Reason::Answered);
    }
    let Scratch { event, view, settings, .. } = &mut *scratch;
    // The last that ended, whose head came in an earlier segment, or was not the newest of this one.
    let number = flow.answered.wrapping_add(view.ended);
    let lot = Event::lot_of(flow.isn, number);
    let is_told = view.status != 0 && is_whole;
    if view.ended != 0 && !is_told && Event::is_drawn(lot, settings.trace_every) {
        event.status = 0;
        event.first_byte_ns = 0;
        event.lot = lot;
        event.number = number;
        event.flags = 0;
        tell(env, scratch, Reason::Ended);
    }
}

/// How many failures one CPU tells of in [`Failures::WINDOW_NS`], beside those that are drawn: 64 CPUs together leave the sample's events their
/// room in the buffer.
const FAILURES_MAX: u64 = 64;

/// How many failures were told of that were not drawn.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Failures {
    /// When the first of them was.
    since: u64,
    count: u64,
}

impl Failures {
    const WINDOW_NS: u64 = 100_000_000;

    /// Whether one more may be told of now; if so, it is among them.
    #[inline(always)]
    fn take(&mut self, now: u64) -> bool {
        if now.wrapping_sub(self.since) >= Self::WINDOW_NS {
            *self = Self { since: now, count: 0 };
        }
        let has_room = self.count < FAILURES_MAX;
        self.count += u64::from(has_room);
        has_room
    }
}

/// What of a flow is told with its response.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) asked: u64,
    pub(super) route: u32,
    pub(super) endpoint: u32,
    pub(super) listener: u32,
    /// Its cookie.
    pub(super) isn: u32,
    /// How many of its requests were answered, whole, before this segment.
    pub(super) answered: u32,
}

impl Seen {
    #[inline(always)]
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            asked: flow.asked,
            route: flow.route,
            endpoint: flow.endpoint,
            listener: flow.listener,
            isn: flow.isn,
            answered: flow.requests.wrapping_sub(u32::from(flow.outstanding)),
        }
    }
}
