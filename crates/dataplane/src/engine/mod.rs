//! The kernel tier: what becomes of each packet.
//!
//! Generic over [`Env`]: the program implements it with maps and helpers, tests with tables and byte vectors, so that what
//! is tested is what runs. One file per part of a packet's life: a SYN, the first request, later segments of the client,
//! segments of the endpoint; `emit` writes packets.

mod affinity;
mod bind;
mod checksum;
mod client;
mod copies;
mod early;
mod emit;
mod endpoint;
mod env;
mod first;
mod forwarded;
mod hand_off;
mod observe;
mod pool;
mod reserve;
mod responses;
mod shape;
mod stored;
mod syn;
mod told;
mod too_big;
mod ways;

pub use early::{Note, suits};
pub use too_big::too_big;

pub use env::{Env, HandOff, Owner, Packet, Part};

use wire::{
    CachedClient, CachedEndpoint, Closed, Event, Flow, Hop, Leg, ListenerKey, Lot, Member, Payload, Reason,
    RequestFacts, ResponseFacts, Segment, Settings, TcpFlags, Tuple, Vip,
};

use crate::flow::{Plan, ResponseView};
use crate::image::{Image, TCP_MAX};
use crate::lookup::LookupScratch;
use first::Request;
use observe::Failures;
use reserve::Chosen;

pub use crate::flow::TEXT_MAX;

/// What a packet's decisions need beside the stack: one per CPU. Its content means nothing before, but for that of `failures`.
#[repr(C)]
pub struct Scratch {
    /// What the first look at the packet found.
    pub segment: Segment,
    /// Bytes of a head.
    pub payload: Payload,
    /// A request's facts.
    pub facts: RequestFacts,
    /// A response's facts.
    pub response: ResponseFacts,
    /// Keys of the lookup.
    pub lookup: LookupScratch,
    /// The headers.
    pub image: Image,
    /// How they leave.
    pub plan: Plan,
    /// Where the responses are.
    pub view: ResponseView,
    /// A leg to insert.
    pub leg: Leg,
    /// The key of a leg.
    pub leg_key: Tuple,
    /// The key of a listener.
    pub listener: ListenerKey,
    /// Control bits as they arrived.
    pub arrived: TcpFlags,
    /// Zero.
    pub pad3: [u8; 3],
    /// A copy of the settings.
    pub settings: Settings,
    /// A copy of the socket's record.
    pub vip: Vip,
    /// What was decided on a request.
    pub request: Request,
    /// The endpoint for a new leg.
    pub chosen: Chosen,
    /// The client whose endpoint is looked for, and of what.
    pub cached_key: CachedClient,
    /// The endpoint that it has.
    pub cached: CachedEndpoint,
    /// The same as a member of its backend.
    pub member: Member,
    /// The key of a leg that is left.
    pub old_key: Tuple,
    /// The client whose request is bound.
    pub client: Tuple,
    /// A leg that is left.
    pub old_leg: Leg,
    /// What the host is told of a connection that it gets.
    pub attributes: HandOff,
    /// An ICMP error to write.
    pub error: [u8; too_big::ROOM],
    /// An event to tell.
    pub event: Event,
    /// The failures that were told of last.
    pub failures: Failures,
    /// Forwarded headers.
    pub text: [u8; TEXT_MAX],
    /// What an endpoint is told first.
    pub told: [u8; told::ROOM],
    /// A piece of chunked framing.
    pub piece: [u8; 20],
    /// Length of the text.
    pub text_len: u32,
    /// The lot of the request.
    pub lot: Lot,
    /// Not 0 if it was drawn.
    pub has_lot: u32,
    /// A leg that goes to the pool. Bytes, like the flow.
    given: [u64; pool::WORDS],
    /// A leg that comes from it.
    taken: [u64; pool::WORDS],
    /// A flow to insert. Bytes, for the kernel allows its lock only inside `FLOWS`.
    flow: [u64; FLOW_WORDS],
}

/// Words of a flow.
const FLOW_WORDS: usize = size_of::<Flow>() / 8;

/// Where the packet goes: one word, for a function of a program returns no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Verdict(u64);

impl Verdict {
    /// To the next program, and on to the stack.
    pub const PASS: Self = Self(0);
    /// Nowhere.
    pub const DROP: Self = Self(1 << 32);

    /// To the hook behind this one, as it came: nothing was decided here.
    pub const DEFER: Self = Self(4 << 32);

    const SEND: u64 = 2 << 32;
    const RESOLVE: u64 = 3 << 32;

    /// Out of the hop's device. Without link addresses the host writes them, for it may have to ask first.
    #[inline(always)]
    pub const fn send(device: u32, is_resolved: bool) -> Self {
        Self((if is_resolved { Self::SEND } else { Self::RESOLVE }) | device as u64)
    }

    /// The device to send the packet out of as it is, if that is the verdict.
    #[inline(always)]
    pub const fn sends_by(self) -> Option<u32> {
        if self.0 >> 32 == Self::SEND >> 32 { Some(self.0 as u32) } else { None }
    }

    /// The device to send the packet out of once its link header is written, if that is the verdict.
    #[inline(always)]
    pub const fn resolves_by(self) -> Option<u32> {
        if self.0 >> 32 == Self::RESOLVE >> 32 { Some(self.0 as u32) } else { None }
    }
}

/// One packet that carries TCP, as `scratch.segment` read it.
#[inline(always)]
pub fn ingress<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let segment = &scratch.segment;
    scratch.image.tuple = Tuple {
        source: segment.source,
        destination: segment.destination,
        source_port: segment.source_port,
        destination_port: segment.destination_port,
    };
    scratch.listener = ListenerKey::tcp(segment.destination, segment.destination_port);
    scratch.arrived = segment.flags;
    scratch.has_lot = 0;
    // A port of the legs' range is hardly ever a listener's: the map that knows it is asked first, since each look costs.
    let is_legs = env.settings().is_some_and(|settings| in_range(settings, &scratch.listener.port));
    let mut leg = if is_legs { env.leg(&scratch.image.tuple) } else { None };
    if leg.is_none()
        && let Some(vip) = env.vip(&scratch.listener)
    {
        scratch.vip = *vip;
        if has_options(&scratch.segment) {
            return env.go_on(Part::Shape, scratch);
        }
        if scratch.vip.socket == 0 || !read(env, scratch) {
            return pass(env, Reason::PassShape);
        }
        return env.go_on(Part::Client, scratch);
    }
    if !is_legs {
        leg = env.leg(&scratch.image.tuple);
    }
    if let Some(leg) = leg {
        // SAFETY: a live map value; a torn key finds no flow.
        scratch.old_key = unsafe { (*leg).client };
        if has_options(&scratch.segment) {
            return env.go_on(Part::Shape, scratch);
        }
        if !read(env, scratch) {
            return pass(env, Reason::PassShape);
        }
        return env.go_on(Part::Endpoint, scratch);
    }
    Verdict::PASS
}

/// Whether the IPv4 header has options, in a frame without tags.
#[inline(always)]
const fn has_options(segment: &Segment) -> bool {
    segment.network_at == 14 && !segment.is_v6 && segment.network_len != 20
}

/// Whether legs have such a port. They may have others, if the agent was given another range since.
#[inline(always)]
fn in_range(settings: &Settings, port: &[u8; 2]) -> bool {
    u32::from(u16::from_be_bytes(*port).wrapping_sub(settings.port_first)) < u32::from(settings.port_count)
}

/// Goes on at a part of the engine.
#[inline(always)]
pub fn resume<E: Env>(part: Part, env: &mut E, scratch: &mut Scratch) -> Verdict {
    match part {
        Part::Client => client::segment(env, scratch),
        Part::First => first::segment(env, scratch),
        Part::Request => client::request(env, scratch),
        Part::BindFirst => bind::first(env, scratch),
        Part::BindAgain => bind::again(env, scratch),
        Part::Reopen => bind::reopen(env, scratch),
        Part::Endpoint => endpoint::segment(env, scratch),
        Part::Open => endpoint::open(env, scratch),
        Part::Elsewhere => bind::elsewhere(env, scratch),
        Part::Shape => shape::packet(env, scratch),
        Part::Pooled => pool::segment(env, scratch),
    }
}

/// Copies the headers; whether they have a shape that the kernel tier can work with.
#[inline(always)]
fn read<E: Env>(env: &mut E, scratch: &mut Scratch) -> bool {
    let Some(settings) = env.settings() else { return false };
    scratch.settings = *settings;
    let Scratch { segment, image, .. } = scratch;
    let ip_len: u32 = if segment.is_v6 { 40 } else { 20 };
    // VLAN tags stay with the stack, which takes them off for the device that they name.
    if env.is_tagged() || segment.network_at != 14 {
        return false;
    }
    image.ip_at = 14;
    image.tcp_at = 14 + ip_len;
    image.is_v6 = u32::from(segment.is_v6);
    if !env.load(0, &mut image.link, 12) || !env.load(14, &mut image.ip, ip_len) {
        return false;
    }
    if !env.load(image.tcp_at, &mut image.tcp, 20) {
        return false;
    }
    let total = if segment.is_v6 {
        u32::from(u16::from_be_bytes([image.ip[4], image.ip[5]]))
    } else {
        u32::from(u16::from_be_bytes([image.ip[2], image.ip[3]])).wrapping_sub(20)
    };
    let tcp_len = u32::from(image.tcp[12] >> 4) << 2;
    // Jumbograms and contradictions: the length is 0, or too short.
    if !(20..=60).contains(&tcp_len) || total < tcp_len || total > 65_535 {
        return false;
    }
    image.tcp_len = tcp_len;
    image.payload_len = total - tcp_len;
    image.read_numbers();
    tcp_len == 20 || env.load_at::<TCP_MAX, 40>(image.tcp_at + 20, &mut image.tcp, 20, tcp_len - 20)
}

#[inline(always)]
fn pass<E: Env>(env: &E, reason: Reason) -> Verdict {
    if E::PRECEDES {
        return Verdict::DEFER;
    }
    env.count(reason);
    Verdict::PASS
}

#[inline(always)]
fn drop<E: Env>(env: &E, reason: Reason) -> Verdict {
    // A connection before it may be on its way to its socket: who sees both in their order knows.
    if E::PRECEDES && reason as u8 == Reason::DropEarly as u8 {
        return Verdict::DEFER;
    }
    env.count(reason);
    Verdict::DROP
}

/// Takes a connection out whose record this packet made FREE. What its first request looked like is remembered.
#[inline(always)]
fn retire<E: Env>(env: &E, client: &Tuple) {
    retire_as(env, client, false);
}

/// The same. `is_last`: the client's FIN was the last word of it but for our answer.
#[inline(always)]
fn retire_as<E: Env>(env: &E, client: &Tuple, is_last: bool) {
    if let Some(flow) = env.flow(client) {
        let (isn, end) = env.locked(flow, |flow| (flow.isn, flow.sent_end));
        let is_over = if is_last { end.max(Closed::OVER) } else { Closed::OVER };
        env.note_closed(client, &Closed { isn, is_over });
    }
    env.remove_flow(client);
}

/// Back where the packet came from.
#[inline(always)]
fn way_back<E: Env>(env: &E, image: &Image) -> Hop {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = image.link;
    Hop { device: env.device(), destination: [g, h, i, j, k, l], source: [a, b, c, d, e, f] }
}
