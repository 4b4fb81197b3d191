//! Packets of another shape: fragments, IPv4 options, IPv6 extension headers.
//!
//! They are the stack's, which puts fragments together and reads options. But of a connection that the kernel tier has the
//! stack knows nothing, and would answer with a RST. So what belongs to one is dropped: the sender repeats it, and may do so in a
//! plain packet. A first request that is no fragment is handed off.

use wire::{Flow, ListenerKey, Reason, TcpFlags, Tuple, ip_protocol};

use super::endpoint::note_lack;
use super::{Env, Owner, Scratch, Verdict, drop, first, hand_off, pass, ways};
use crate::cookie::{self, Cookie};
use crate::flow::{REACH, state};
use crate::image::{Image, TCP_MAX};
use crate::repeat::{Step, repeat};
use crate::sequence::is_near;

/// A packet that [`wire::Segment`] does not read, or whose IP header has options.
#[inline(always)]
pub(super) fn packet<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    // Not counted as a listener's until it is one's.
    scratch.listener.port = [0, 0];
    let shape = read(env, scratch);
    if shape == Shape::Other {
        return Verdict::PASS;
    }
    let Some(settings) = env.settings() else { return Verdict::PASS };
    scratch.settings = *settings;
    let tuple = &scratch.image.tuple;
    let listener = ListenerKey::tcp(tuple.destination, tuple.destination_port);
    if let Some(vip) = env.vip(&listener) {
        scratch.vip = *vip;
        scratch.listener = listener;
        scratch.arrived = TcpFlags(scratch.image.flags as u8);
        return if scratch.vip.socket == 0 {
            pass(env, Reason::PassShape)
        } else {
            client(env, scratch, shape)
        };
    }
    let Some(leg) = env.leg(tuple) else { return Verdict::PASS };
    // SAFETY: a live map value; a torn key finds no flow.
    scratch.old_key = unsafe { (*leg).client };
    endpoint(env, scratch)
}

/// What the packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Shape {
    /// Nothing with a TCP header in it.
    Other,
    /// A segment; the image has its headers.
    Whole,
    /// The beginning of one, with the fixed TCP header: the image has that.
    Fragment,
}

/// Finds the TCP header, and fills the image but for what is behind it.
#[inline(never)]
fn read<E: Env>(env: &mut E, scratch: &mut Scratch) -> Shape {
    if env.is_tagged() || !env.load(12, &mut scratch.piece, 2) {
        return Shape::Other;
    }
    let image = &mut scratch.image;
    image.ip_at = 14;
    let shape = match u16::from_be_bytes([scratch.piece[0], scratch.piece[1]]) {
        0x0800 => read_v4(env, image),
        0x86dd => read_v6(env, scratch),
        _ => Shape::Other,
    };
    let image = &mut scratch.image;
    if shape == Shape::Other || !env.load(image.tcp_at, &mut image.tcp, 20) {
        return Shape::Other;
    }
    let tcp_len = u32::from(image.tcp[12] >> 4) << 2;
    if !(20..=60).contains(&tcp_len) {
        return Shape::Other;
    }
    image.tcp_len = tcp_len;
    // Until here the length behind the IP headers.
    image.payload_len = image.payload_len.saturating_sub(tcp_len);
    image.read_numbers();
    let [a, b, c, d, ..] = image.tcp;
    image.tuple.source_port = [a, b];
    image.tuple.destination_port = [c, d];
    if shape == Shape::Whole
        && tcp_len != 20
        && !env.load_at::<TCP_MAX, 40>(image.tcp_at + 20, &mut image.tcp, 20, tcp_len - 20)
    {
        return Shape::Other;
    }
    shape
}

#[inline(always)]
fn read_v4<E: Env>(env: &mut E, image: &mut Image) -> Shape {
    if !env.load(14, &mut image.ip, 20) {
        return Shape::Other;
    }
    let ip = &image.ip;
    let (header_len, fragment) = (u32::from(ip[0] & 15) << 2, u16::from_be_bytes([ip[6], ip[7]]));
    // Behind the first fragment there are no ports.
    if ip[0] >> 4 != 4 || header_len < 20 || ip[9] != ip_protocol::TCP || fragment & 0x1fff != 0 {
        return Shape::Other;
    }
    image.is_v6 = 0;
    image.tcp_at = 14 + header_len;
    image.payload_len = u32::from(u16::from_be_bytes([ip[2], ip[3]])).saturating_sub(header_len);
    let mapped =
        |at: usize| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ip[at], ip[at + 1], ip[at + 2], ip[at + 3]];
    image.tuple = Tuple { source: mapped(12), destination: mapped(16), ..Tuple::default() };
    if fragment & 0x2000 != 0 { Shape::Fragment } else { Shape::Whole }
}

/// Extension headers that are walked over; a packet with more is the stack's.
const EXTENSIONS_MAX: u32 = 8;

/// A walk over extension headers.
struct Walk<'w, E> {
    env: &'w mut E,
    /// The first bytes of the header at hand.
    head: &'w mut [u8; 20],
    at: u32,
    /// What the header at hand is.
    next: u8,
    is_fragment: bool,
}

#[inline(always)]
fn read_v6<E: Env>(env: &mut E, scratch: &mut Scratch) -> Shape {
    let Scratch { image, piece, .. } = scratch;
    if !env.load(14, &mut image.ip, 40) || image.ip[0] >> 4 != 6 {
        return Shape::Other;
    }
    let mut walk = Walk { env, head: piece, at: 54, next: image.ip[6], is_fragment: false };
    repeat(EXTENSIONS_MAX, &mut walk, |_, walk| walk.step());
    if walk.next != ip_protocol::TCP {
        return Shape::Other;
    }
    let ip = &image.ip;
    image.is_v6 = 1;
    image.tcp_at = walk.at;
    image.payload_len = u32::from(u16::from_be_bytes([ip[4], ip[5]])).saturating_sub(walk.at - 54);
    let mut i = 0;
    while i < 16 {
        image.tuple.source[i] = ip[8 + i];
        image.tuple.destination[i] = ip[24 + i];
        i += 1;
    }
    if walk.is_fragment { Shape::Fragment } else { Shape::Whole }
}

impl<E: Env> Walk<'_, E> {
    /// One header (RFC 8200 section 4).
    #[inline(always)]
    fn step(&mut self) -> Step {
        let is_fragment = self.next == ip_protocol::FRAGMENT;
        let is_known = is_fragment
            || self.next == ip_protocol::HOP_BY_HOP
            || self.next == ip_protocol::ROUTING
            || self.next == ip_protocol::DESTINATION_OPTIONS;
        if !is_known || !self.env.load(self.at, self.head, 8) {
            return Step::Stop;
        }
        let [next, units, high, low, ..] = *self.head;
        if is_fragment {
            let field = u16::from_be_bytes([high, low]);
            if field & 0xfff8 != 0 {
                return Step::Stop;
            }
            // A lone fragment is whole (RFC 6946).
            self.is_fragment |= field & 1 != 0;
        }
        self.at += if is_fragment { 8 } else { (u32::from(units) + 1) << 3 };
        self.next = next;
        Step::Next
    }
}

/// For one of our sockets.
#[inline(always)]
fn client<E: Env>(env: &mut E, scratch: &mut Scratch, shape: Shape) -> Verdict {
    let image = &scratch.image;
    if matches!(env.owner(&image.tuple, image.is_v6 != 0), Owner::Connection | Owner::TimeWait) {
        return pass(env, Reason::PassShape);
    }
    if let Some(flow) = env.flow(&image.tuple) {
        let state =
            env.locked(flow, |flow| if flow.client == image.tuple { flow.state } else { state::FREE });
        if state != state::FREE && state != state::TAKEN {
            return drop(env, Reason::DropShape);
        }
    }
    // A SYN is answered by the stack, whose the connection then is.
    if !image.has(TcpFlags::ACK) || image.has(TcpFlags::SYN | TcpFlags::RST) {
        return pass(env, Reason::PassShape);
    }
    let (isn, cookie) = (image.seq.wrapping_sub(1), image.ack.wrapping_sub(1));
    match cookie::check(&scratch.settings.cookie_key, &image.tuple, isn, cookie, env.now()) {
        Cookie::Foreign => pass(env, Reason::PassShape),
        Cookie::First(options) if shape == Shape::Whole => {
            match first::begin(env, scratch, cookie, options) {
                Some(verdict) => verdict,
                None => hand_off::first(env, scratch, Reason::HandShape),
            }
        }
        _ => drop(env, Reason::DropShape),
    }
}

/// For one of our legs. An endpoint that sends such packets is userspace's for a while.
#[inline(always)]
fn endpoint<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    let Some(flow) = env.flow(&scratch.old_key) else { return pass(env, Reason::PassShape) };
    if !ways::is_expected(env, flow) {
        return drop(env, Reason::DropDevice);
    }
    let image = &scratch.image;
    let believed = env.locked(flow, |flow: &mut Flow| {
        let is_live = flow.state == state::SPLICED && flow.leg == image.tuple;
        (is_live && is_near(image.seq, flow.leg_end, REACH))
            .then_some((flow.endpoint, flow.endpoint_generation))
    });
    if let Some((endpoint, generation)) = believed {
        note_lack(env, endpoint, generation, env.now());
    }
    drop(env, Reason::DropShape)
}
