use wire::{
    Closed, PAYLOAD_MAX, PAYLOAD_ROOM, Reason, RequestFacts, RouteAction, Settings, TcpFlags, TcpOptions, Vip,
};

use super::emit::end_with_zeros;
use super::{Env, Owner, Part, Scratch, Verdict, copies, drop, emit, hand_off, pass, syn, way_back};
use crate::cookie::{self, Cookie};
use crate::flow::{POINT_MAX, TOLD_MAX};
use crate::lookup::{Decision, lookup};
use crate::request::scan;

/// A segment of a connection that there is no flow for: the first request behind a cookie, or not ours at all.
#[inline(always)]
pub(super) fn segment<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    if scratch.image.has(TcpFlags::FIN | TcpFlags::RST) {
        note_end(env, scratch);
    }
    let (image, settings) = (&mut scratch.image, &scratch.settings);
    if !image.has(TcpFlags::ACK) || image.has(TcpFlags::RST | TcpFlags::SYN) {
        return pass(env, Reason::PassForeign);
    }
    let (now, cookie) = (env.now(), image.ack.wrapping_sub(1));
    let isn = image.seq.wrapping_sub(1);
    let key = &settings.cookie_key;
    let found = cookie::check(key, &image.tuple, isn, cookie, now);
    if !matches!(found, Cookie::First(_)) && is_last(env, scratch) {
        return answer(env, scratch);
    }
    let image = &scratch.image;
    if found == Cookie::Foreign {
        return pass(env, Reason::PassForeign);
    }
    if env.owner(&image.tuple, image.is_v6 != 0) == Owner::Connection {
        return pass(env, Reason::PassOwned);
    }
    let Cookie::First(options) = found else {
        // A keep-alive probe (RFC 9293 section 3.8.4) says one byte less than what the handshake left.
        let is_probe = image.payload_len <= 1
            && matches!(cookie::check(key, &image.tuple, image.seq, cookie, now), Cookie::First(_));
        return if is_probe { answer(env, scratch) } else { drop(env, Reason::DropEarly) };
    };
    if let Some(verdict) = begin(env, scratch, cookie, options) {
        return verdict;
    }
    if scratch.image.has(TcpFlags::FIN) {
        return hand_off::first(env, scratch, Reason::HandFlags);
    }
    match decode(env, scratch) {
        Decoded::Routed if is_whole(scratch) && fits_segment(scratch, 0) => {
            env.go_on(Part::BindFirst, scratch)
        }
        Decoded::Routed => hand_off::first(env, scratch, Reason::HandTooLong),
        Decoded::Corrupt => drop(env, Reason::DropChecksum),
        refused => hand_off::first(env, scratch, refused.reason()),
    }
}

/// Whether the segment is the last FIN of a connection that is over: our answer to it was lost.
#[inline(never)]
fn is_last<E: Env>(env: &E, scratch: &Scratch) -> bool {
    let image = &scratch.image;
    // SAFETY: a live map value; one word.
    image.has(TcpFlags::FIN)
        && image.payload_len == 0
        && image.ack > Closed::OVER
        && env.closed(&image.tuple).is_some_and(|closed| unsafe { (*closed).is_over } == image.ack)
        && matches!(env.owner(&image.tuple, image.is_v6 != 0), Owner::Nobody | Owner::Listener)
}

/// The client ends what a socket of the host has: what its first request looked like is not to be served again. While no socket has
/// it, the host may have lost the request, and gets it once more from a client that has closed its side.
#[inline(never)]
fn note_end<E: Env>(env: &E, scratch: &Scratch) {
    let image = &scratch.image;
    let Some(closed) = env.closed(&image.tuple) else { return };
    if matches!(env.owner(&image.tuple, image.is_v6 != 0), Owner::Connection | Owner::TimeWait) {
        // SAFETY: a live map value; one word.
        unsafe { (*closed).is_over = 1 };
    }
}

/// Takes up a connection with the options of its handshake, which `cookie` brought, and of the segment at hand. A verdict if
/// there is nothing in it to decide.
#[inline(always)]
pub(super) fn begin<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    cookie: u32,
    mut options: TcpOptions,
) -> Option<Verdict> {
    let image = &mut scratch.image;
    // SAFETY: a live map value; torn, it is another connection's, as if it had been evicted.
    let last = env.closed(&image.tuple).map(|closed| unsafe { *closed });
    if last.is_some_and(|last| last.isn == cookie && last.is_over != 0) {
        return Some(drop(env, Reason::DropRepeated));
    }
    if image.read_options().is_err() {
        return Some(drop(env, Reason::DropOptions));
    }
    if image.timestamps_at != 0 {
        options.flags |= TcpOptions::TIMESTAMPS;
    }
    image.options = options;
    let is_bare = image.payload_len == 0 && !image.has(TcpFlags::FIN);
    is_bare.then(|| drop(env, Reason::BareAck))
}

/// Acknowledges a probe, or a FIN.
#[inline(never)]
fn answer<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let (image, plan) = (&mut scratch.image, &mut scratch.plan);
    if image.read_options().is_err() {
        return drop(env, Reason::DropOptions);
    }
    plan.tuple = image.tuple.reversed();
    plan.hop = way_back(env, image);
    plan.seq = image.ack;
    plan.ack = image.seq.wrapping_add(1);
    // Nothing newer than what the client echoes: a request may be under way that echoes it too, and what its endpoint says
    // is counted from there.
    plan.tsval = image.tsecr;
    plan.tsecr = image.tsval;
    plan.window = 65_535 >> syn::WINDOW_SCALE;
    plan.flags = u32::from(TcpFlags::ACK);
    let with_timestamps = image.timestamps_at != 0;
    emit::bare(env, scratch, with_timestamps, Reason::Probe)
}

/// A request that the kernel tier can decide.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Request {
    /// Index of `ROUTE_ACTIONS`.
    pub action: u32,
    /// Not 0 if forwarded headers are inserted.
    pub inserts: u32,
}

/// What came of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Decoded {
    /// `scratch.request` has the route, `scratch.facts` the rest.
    Routed,
    /// The checksum is wrong.
    Corrupt,
    /// Userspace's: see [`Reason`].
    TooLong,
    /// Userspace's.
    Undecidable,
    /// Userspace's.
    Forwarding,
    /// Userspace's.
    Route,
    /// Userspace's.
    Copied,
}

impl Decoded {
    /// Why it is userspace's.
    #[inline(always)]
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Undecidable => Reason::HandUndecidable,
            Self::Forwarding => Reason::HandForwarding,
            Self::Route => Reason::HandRoute,
            Self::Copied => Reason::HandCopied,
            Self::Routed | Self::Corrupt | Self::TooLong => Reason::HandTooLong,
        }
    }
}

/// Whether the segment is the request, no more and no less.
#[inline(always)]
pub(super) fn is_whole(scratch: &Scratch) -> bool {
    let facts = &scratch.facts;
    u64::from(facts.head_len) + u64::from(facts.content_length) == u64::from(scratch.image.payload_len)
}

/// Whether the endpoint can be sent the request in one segment once its leg is open, behind `told` bytes: what was joined from several cannot.
#[inline(always)]
pub(super) fn fits_segment(scratch: &Scratch, told: u32) -> bool {
    let Scratch { image, settings, .. } = scratch;
    let mss = if image.is_v6 != 0 { settings.mss_v6 } else { settings.mss_v4 };
    let len = image.payload_len + told;
    // An MSS counts options too (RFC 6691 section 2); and no more is stored.
    image.tcp_len - 20 + len <= u32::from(mss) && len < PAYLOAD_MAX as u32
}

/// Reads the request that the segment starts with, and finds its route.
#[inline(never)]
pub(super) fn decode<E: Env>(env: &mut E, scratch: &mut Scratch) -> Decoded {
    let len = scratch.image.payload_len.min(PAYLOAD_MAX as u32);
    let is_large = env.is_large();
    let loaded = load(env, scratch, len, is_large);
    if loaded != Decoded::Routed {
        return loaded;
    }
    let captures = scratch.settings.flags & Settings::CAPTURES_HEADERS != 0;
    if scan(&scratch.payload, scratch.image.payload_len, captures, env, &mut scratch.facts).is_err() {
        return Decoded::Undecidable;
    }
    if scratch.settings.pool_idle == 0 {
        scratch.facts.close_at = 0;
    }
    let brings = scratch.facts.flags & RequestFacts::FORWARDING != 0;
    if brings && !env.is_trusted(&scratch.image.tuple.source) {
        return Decoded::Forwarding;
    }
    if !route(env, scratch) {
        return Decoded::Route;
    }
    let Some(record) = env.action(scratch.request.action) else { return Decoded::Route };
    let inserts = !brings
        && scratch.vip.flags & Vip::FORWARDED_HEADERS != 0
        && record.flags & RouteAction::FORWARDED_HEADERS != 0;
    if copies::draw(env, scratch, scratch.request.action) {
        return Decoded::Copied;
    }
    // Text goes into one plain segment only, and the stored form has limits.
    let is_long = scratch.image.payload_len > INSERTED_MAX || scratch.facts.line_len > LINE_MAX;
    if inserts && (env.is_large() || is_long) {
        return Decoded::TooLong;
    }
    scratch.request.inserts = u32::from(inserts);
    Decoded::Routed
}

/// Finds the route of the request that was scanned.
#[inline(never)]
fn route<E: Env>(env: &mut E, scratch: &mut Scratch) -> bool {
    let decision = lookup(env, scratch.vip.socket, &scratch.payload, &scratch.facts, &mut scratch.lookup);
    let Decision::Route { action } = decision else { return false };
    scratch.request.action = action;
    true
}

/// Copies the first `len` bytes, and checks that they are what was sent.
#[inline(never)]
pub(super) fn load<E: Env>(env: &mut E, scratch: &mut Scratch, len: u32, is_large: bool) -> Decoded {
    let image = &scratch.image;
    let bytes = &mut scratch.payload.bytes;
    if len == 0 || !env.load_at::<PAYLOAD_ROOM, PAYLOAD_MAX>(image.payload_at(), bytes, 0, len) {
        return Decoded::TooLong;
    }
    end_with_zeros(bytes, len);
    // What was joined from several segments was verified before it was joined.
    if is_large {
        return Decoded::Routed;
    }
    if len != image.payload_len {
        return Decoded::TooLong;
    }
    if env.is_verified() {
        return Decoded::Routed;
    }
    let payload = env.sum(bytes, len);
    let pseudo = image.pseudo_sum(image.tcp_len + len);
    let whole = pseudo.plus(image.header_sum()).plus(payload).half(image.checksum());
    let is_left_to_device = u16::from_ne_bytes(image.checksum()) == pseudo.folded();
    if whole.folded() == 0xffff || is_left_to_device { Decoded::Routed } else { Decoded::Corrupt }
}

/// The longest request line that text is inserted behind, in bytes.
const LINE_MAX: u16 = POINT_MAX as u16;

/// The longest request that text is inserted into, in bytes: with the text and what is told first it is shorter than what is copied at
/// once.
const INSERTED_MAX: u32 = (PAYLOAD_MAX - 1 - super::TEXT_MAX) as u32 - TOLD_MAX;
