//! What is told of requests.

use wire::{BUCKETS, Reason, Responses, Settings};

use super::{Env, Scratch};
use crate::opaque::opaque;

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

/// Tells of a request that was bound or sent on, one in so many: its route and its endpoint.
#[inline(always)]
pub(super) fn request<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason, endpoint: u32) {
    if scratch.settings.flags & Settings::TRACE == 0 {
        return;
    }
    let Scratch { event, image, request, vip, .. } = &mut *scratch;
    event.client = image.tuple;
    event.route = request.action;
    event.endpoint = endpoint;
    event.listener = vip.listener;
    event.status = 0;
    event.first_byte_ns = 0;
    tell(env, scratch, reason);
}

/// Tells of a connection that goes to userspace.
#[inline(always)]
pub(super) fn hand_off<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason) {
    if scratch.settings.flags & Settings::TRACE == 0 {
        return;
    }
    let Scratch { event, image, vip, .. } = &mut *scratch;
    event.client = image.tuple;
    event.route = u32::MAX;
    event.endpoint = u32::MAX;
    event.listener = vip.listener;
    event.status = 0;
    event.first_byte_ns = 0;
    tell(env, scratch, reason);
}

#[inline(never)]
fn tell<E: Env>(env: &E, scratch: &mut Scratch, reason: Reason) {
    if (u64::from(env.random()) * u64::from(scratch.settings.trace_every)) >> 32 != 0 {
        return;
    }
    scratch.event.time = env.now();
    scratch.event.reason = reason as u8;
    scratch.event.tier = if reason.is_hand_off() { 3 } else { 2 };
    env.tell(&scratch.event);
}

/// Tells of a response, whose request may not have been told of.
#[inline(always)]
pub(super) fn answered<E: Env>(env: &E, scratch: &mut Scratch, flow: &Seen, first_byte_ns: u64) {
    if scratch.settings.flags & Settings::TRACE == 0 || scratch.view.status == 0 {
        return;
    }
    let Scratch { event, view, old_key, .. } = &mut *scratch;
    event.client = *old_key;
    event.route = flow.route;
    event.endpoint = flow.endpoint;
    event.listener = flow.listener;
    event.status = view.status as u16;
    event.first_byte_ns = first_byte_ns;
    tell(env, scratch, Reason::Answered);
}

/// What of a flow is told with its response.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) asked: u64,
    pub(super) route: u32,
    pub(super) endpoint: u32,
    pub(super) listener: u32,
}
