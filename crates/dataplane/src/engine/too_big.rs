//! "Packet too big" for a spliced connection: the end that sent the segment learns of it in terms of its own connection.

use wire::{Flow, Hop, ListenerKey, Reason, TooBig, Tuple};

use super::endpoint::note_lack;
use super::{Env, Scratch, Verdict, drop};
use crate::flow::{is_due, state, take_back, to_client, to_leg};
use crate::sequence::not_after;
use crate::sum::Sum;

/// Bytes of the longest error: two IPv6 headers, ICMP, and eight bytes of TCP.
pub(super) const ROOM: usize = 40 + 8 + 40 + 8;

/// Whom to tell, and of which segment.
struct Telling {
    quoted: Tuple,
    seq: u32,
    /// 0: nobody, for the error is not believed.
    mtu: u32,
    hop: Hop,
}

/// Passes on an error that quotes a segment of ours: one sent to an endpoint is told to the client, one sent to a client to
/// the endpoint. One that cannot be true is dropped, and what is about no connection of ours passes to the stack.
#[inline(always)]
pub fn too_big<E: Env>(env: &mut E, error: &TooBig, scratch: &mut Scratch) -> Verdict {
    // Both maps are keyed by what the other side sends.
    let answer = &mut scratch.image.tuple;
    *answer = error.quoted.reversed();
    let telling = if let Some(leg) = env.leg(answer) {
        // SAFETY: a live map value; a torn key finds no flow.
        scratch.old_key = unsafe { (*leg).client };
        let Some(flow) = env.flow(&scratch.old_key) else { return Verdict::PASS };
        let (endpoint, generation) = env.locked(flow, |flow| give_up(flow, error));
        if generation != 0 {
            note_lack(env, endpoint, generation, env.now());
            return drop(env, Reason::TooBig);
        }
        env.locked(flow, |flow| to_client_of(flow, error))
    } else {
        scratch.listener = ListenerKey::tcp(error.quoted.source, error.quoted.source_port);
        if env.vip(&scratch.listener).is_none() {
            return Verdict::PASS;
        }
        env.flow(answer).and_then(|flow| env.locked(flow, |flow| to_endpoint_of(flow, error)))
    };
    let Some(telling) = telling else { return Verdict::PASS };
    if telling.mtu == 0 {
        return drop(env, Reason::DropTooBig);
    }
    write(&telling, error.is_v6, &mut scratch.error);
    let [a, b, c, d, e, f] = telling.hop.destination;
    let [g, h, i, j, k, l] = telling.hop.source;
    scratch.image.link = [a, b, c, d, e, f, g, h, i, j, k, l];
    let length = if error.is_v6 { ROOM as u32 } else { 56 };
    let is_written = env.resize(14 + length)
        && env.store(0, &scratch.image.link, 12)
        && env.store(14, &scratch.error, length);
    if !is_written {
        return drop(env, Reason::DropMangle);
    }
    env.count(Reason::TooBig);
    Verdict::send(telling.hop.device, telling.hop.destination != [0; 6])
}

/// The least MTU of IPv6 (RFC 8200 section 5): an error with less is to be discarded (RFC 8201 section 4).
const MTU_LEAST_V6: u32 = 1280;

/// The least MTU that is believed over IPv4, as Linux does (`net.ipv4.route.min_pmtu`): routers that say less, or like those
/// older than RFC 1191 nothing, are told from forgers by nobody.
const MTU_LEAST_V4: u32 = 552;

/// The MTU that the error is believed with; 0: not at all. Whoever can forge an error knows the addresses, but hardly what is
/// under way: `first_open..end` is what was sent and not acknowledged (RFC 5927 section 4.1).
#[inline(always)]
fn believed(error: &TooBig, first_open: u32, end: u32) -> u32 {
    // Not by comparing both ends: with nothing under way, half of the space away would be behind one and before the other.
    let open = end.wrapping_sub(first_open);
    let is_under_way = open <= i32::MAX as u32 && error.seq.wrapping_sub(first_open) < open;
    if !is_under_way || error.is_v6 && error.mtu < MTU_LEAST_V6 {
        return 0;
    }
    error.mtu.max(MTU_LEAST_V4)
}

/// Where the way to an endpoint is so narrow that the client's shortest segments do not fit with what is inserted, the
/// request goes to userspace when the client repeats it. Returns the endpoint and its generation; 0: not so.
#[inline(always)]
fn give_up(flow: &mut Flow, error: &TooBig) -> (u32, u32) {
    let mtu = believed(error, flow.leg_ack, to_leg(flow, flow.client_end));
    let room = mtu.saturating_sub(added(flow));
    let is_unseen = not_after(to_client(flow, flow.leg_ack), flow.newest_seq) && flow.asked != 0;
    let is_ours = flow.state == state::SPLICED && flow.leg == error.quoted.reversed();
    if !error.is_v6 || mtu == 0 || room >= MTU_LEAST_V6 || !is_ours || !is_unseen || flow.outstanding != 1 {
        return (0, 0);
    }
    flow.state = state::HANDED;
    take_back(flow, flow.newest_seq);
    (flow.endpoint, flow.endpoint_generation)
}

/// By how much segments to the endpoint are longer than the client's.
#[inline(always)]
fn added(flow: &Flow) -> u32 {
    u32::from(flow.insert_len) + if is_due(flow) { flow.told } else { 0 }
}

/// The client's segment, as the client sent it.
#[inline(always)]
fn to_client_of(flow: &Flow, error: &TooBig) -> Option<Telling> {
    if flow.state != state::SPLICED || flow.leg != error.quoted.reversed() {
        return None;
    }
    // The endpoint's segments are longer than the client's by what is inserted.
    let mtu = believed(error, flow.leg_ack, to_leg(flow, flow.client_end));
    let mtu = mtu.saturating_sub(added(flow));
    Some(Telling { quoted: flow.client, seq: to_client(flow, error.seq), mtu, hop: flow.down })
}

/// The endpoint's segment, as the endpoint sent it.
#[inline(always)]
fn to_endpoint_of(flow: &Flow, error: &TooBig) -> Option<Telling> {
    if flow.state != state::SPLICED || flow.client != error.quoted.reversed() {
        return None;
    }
    Some(Telling {
        quoted: flow.leg,
        seq: error.seq.wrapping_add(flow.ack_add),
        mtu: believed(error, flow.client_ack, flow.sent_end),
        hop: flow.up,
    })
}

/// Writes IP header, ICMP header and quotation; from whom the quoted segment was for, to its sender.
#[inline(always)]
fn write(telling: &Telling, is_v6: bool, out: &mut [u8; ROOM]) {
    if is_v6 { write_v6(telling, out) } else { write_v4(telling, out) }
}

#[inline(always)]
fn write_v4(telling: &Telling, out: &mut [u8; ROOM]) {
    let quoted = &telling.quoted;
    let (from, to) = (last_four(&quoted.destination), last_four(&quoted.source));
    ipv4(out, 0, 56, 1, from, to);
    let [_, _, high, low] = telling.mtu.to_be_bytes();
    put(out, 20, [3, 4, 0, 0, 0, 0, high, low]);
    ipv4(out, 28, 40, 6, to, from);
    transport(out, 48, telling);
    let sum = sum(out, 20, 56, Sum::default());
    let checksum = sum.checksum();
    out[22] = checksum[0];
    out[23] = checksum[1];
}

#[inline(always)]
fn write_v6(telling: &Telling, out: &mut [u8; ROOM]) {
    let quoted = &telling.quoted;
    ipv6(out, 0, 56, 58, &quoted.destination, &quoted.source);
    let [a, b, c, d] = telling.mtu.to_be_bytes();
    put(out, 40, [2, 0, 0, 0, a, b, c, d]);
    ipv6(out, 48, 20, 6, &quoted.source, &quoted.destination);
    transport(out, 88, telling);
    // RFC 4443 section 2.3: the pseudo-header counts.
    let pseudo = Sum::default()
        .address(&quoted.source, true)
        .address(&quoted.destination, true)
        .word(56u32.to_be_bytes())
        .word([0, 0, 0, 58]);
    let checksum = sum(out, 40, ROOM, pseudo).checksum();
    out[42] = checksum[0];
    out[43] = checksum[1];
}

#[inline(always)]
fn ipv4(out: &mut [u8; ROOM], at: usize, length: u8, protocol: u8, from: [u8; 4], to: [u8; 4]) {
    // Don't fragment, 64 hops.
    put(out, at, [0x45, 0, 0, length, 0, 0, 0x40, 0]);
    put(out, at + 8, [64, protocol, 0, 0, from[0], from[1], from[2], from[3]]);
    out[at + 16] = to[0];
    out[at + 17] = to[1];
    out[at + 18] = to[2];
    out[at + 19] = to[3];
    let checksum = sum(out, at, at + 20, Sum::default()).checksum();
    out[at + 10] = checksum[0];
    out[at + 11] = checksum[1];
}

#[inline(always)]
fn ipv6(out: &mut [u8; ROOM], at: usize, length: u8, next: u8, from: &[u8; 16], to: &[u8; 16]) {
    put(out, at, [0x60, 0, 0, 0, 0, length, next, 64]);
    let mut i = 0;
    while i < 16 {
        out[at + 8 + i] = from[i];
        out[at + 24 + i] = to[i];
        i += 1;
    }
}

#[inline(always)]
fn transport(out: &mut [u8; ROOM], at: usize, telling: &Telling) {
    let (source, destination) = (telling.quoted.source_port, telling.quoted.destination_port);
    let seq = telling.seq.to_be_bytes();
    put(out, at, [source[0], source[1], destination[0], destination[1], seq[0], seq[1], seq[2], seq[3]]);
}

#[inline(always)]
fn put(out: &mut [u8; ROOM], at: usize, bytes: [u8; 8]) {
    let mut i = 0;
    while i < 8 {
        out[at + i] = bytes[i];
        i += 1;
    }
}

#[inline(always)]
fn sum(out: &[u8; ROOM], from: usize, to: usize, start: Sum) -> Sum {
    let mut sum = start;
    let mut at = from;
    while at < to {
        sum = sum.word([out[at], out[at + 1], out[at + 2], out[at + 3]]);
        at += 4;
    }
    sum
}

#[inline(always)]
const fn last_four(address: &[u8; 16]) -> [u8; 4] {
    let [.., a, b, c, d] = *address;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under way: the client's bytes 1000..1500, to the endpoint as 3000..3566 with 66 inserted at 1100, and the endpoint's
    /// bytes 7000..9000, to the client as 5000..7000.
    fn flow() -> Flow {
        let tuple = |last, port| Tuple { source: [last; 16], source_port: [port; 2], ..Tuple::default() };
        Flow {
            state: state::SPLICED,
            client: tuple(1, 1),
            leg: tuple(2, 2),
            newest_seq: 1000,
            client_end: 1500,
            leg_ack: 3000,
            seq_add: 2000,
            points: [1100, 0, 0, 0, 0, 0, 0, 0],
            points_used: 1,
            insert_len: 66,
            outstanding: 1,
            asked: 5,
            client_ack: 5000,
            sent_end: 7000,
            ack_add: 2000,
            endpoint: 4,
            endpoint_generation: 9,
            ..Flow::default()
        }
    }

    fn error(quoted: Tuple, seq: u32, mtu: u32, is_v6: bool) -> TooBig {
        TooBig { quoted: quoted.reversed(), seq, mtu, is_v6 }
    }

    #[test]
    fn only_what_is_under_way_is_believed_to_be_too_big() {
        let flow = flow();
        let told = |seq| to_client_of(&flow, &error(flow.leg, seq, 1400, false)).unwrap();
        assert_eq!([2999, 3000, 3565, 3566].map(|seq| told(seq).mtu), [0, 1334, 1334, 0]);
        assert_eq!([3000, 3100, 3166, 3200].map(|seq| told(seq).seq), [1000, 1100, 1100, 1134]);
        let told = |seq| to_endpoint_of(&flow, &error(flow.client, seq, 1400, false)).unwrap();
        assert_eq!([4999, 5000, 6999, 7000].map(|seq| told(seq).mtu), [0, 1400, 1400, 0]);
        assert_eq!(told(6000).seq, 8000);
        let idle = Flow { leg_ack: 3566, client_ack: 7000, ..flow };
        for distance in [0, 1, 1 << 31, u32::MAX] {
            let seq = 3566_u32.wrapping_add(distance);
            assert_eq!(to_client_of(&idle, &error(flow.leg, seq, 1400, false)).unwrap().mtu, 0, "{distance}");
            let seq = 7000_u32.wrapping_add(distance);
            assert_eq!(
                to_endpoint_of(&idle, &error(flow.client, seq, 1400, false)).unwrap().mtu,
                0,
                "{distance}"
            );
        }
    }

    #[test]
    fn an_error_about_another_connection_is_not_ours() {
        let flow = flow();
        let other = Tuple { source_port: [9; 2], ..flow.leg };
        assert!(to_client_of(&flow, &error(other, 3000, 1400, false)).is_none());
        assert!(to_endpoint_of(&flow, &error(other, 6000, 1400, false)).is_none());
        // The host's socket has to hear of it.
        let handed = Flow { state: state::HANDED, ..flow };
        assert!(to_endpoint_of(&handed, &error(handed.client, 6000, 1400, false)).is_none());
    }

    #[test]
    fn nobody_is_told_of_less_than_any_link_carries() {
        let flow = flow();
        let told = |mtu, is_v6| to_endpoint_of(&flow, &error(flow.client, 6000, mtu, is_v6)).unwrap().mtu;
        assert_eq!([0, 68, 551, 552, 1300].map(|mtu| told(mtu, false)), [552, 552, 552, 552, 1300]);
        assert_eq!([0, 1279, 1280, 1300].map(|mtu| told(mtu, true)), [0, 0, 1280, 1300]);
    }

    #[test]
    fn a_request_is_given_up_only_for_a_true_error_about_it() {
        for (seq, mtu, is_given_up) in [
            (3000, 1300, true),
            (3000, 1279, false),
            (2999, 1300, false),
            (3566, 1300, false),
            (3000, 1400, false),
        ] {
            let mut flow = Flow { requests: 3, ..flow() };
            let error = error(flow.leg, seq, mtu, true);
            let answer = give_up(&mut flow, &error);
            assert_eq!(flow.requests, if is_given_up { 2 } else { 3 }, "{seq} {mtu}");
            assert_eq!(answer, if is_given_up { (4, 9) } else { (0, 0) }, "{seq} {mtu}");
            assert_eq!(flow.state == state::HANDED, is_given_up, "{seq} {mtu}");
        }
    }
}
