//! Legs between two clients: left where everything about them is exact, and taken up by a request.
//!
//! One miscount would hand one client's bytes to another. So a leg is kept only while nothing on it was ever guessed, and nothing is
//! under way in either direction; and what an endpoint says unasked ends it.

use wire::{Flow, PooledLeg, TcpFlags, TcpOptions};

use super::challenge::{is_offered, is_outdated};
use super::closing::{blank, data_end};
use super::endpoint::reach;
use super::leg::agree;
use super::{Plan, flag, phase, state, to_leg, unbind};
use crate::image::Image;
use crate::sequence::{before, is_near, latest, not_after};

/// Bits of `Flow::leg_flags`.
pub mod leg_flag {
    /// It was another client's before.
    pub const POOLED: u32 = 1;
    /// The end of a response was guessed, or the endpoint may know by the connection who the client is: never another client's.
    pub const DOUBTFUL: u32 = 2;
    /// The newest request says `close`, and the endpoint is not told (`Flow::close_at`): nothing that follows is a request.
    pub const TAKES_CLOSE: u32 = 4;
    /// The client was sent a FIN of ours behind the response, at `Flow::leg_fin`.
    pub const FIN_SENT: u32 = 8;
    /// The client is told `close` in the place of `keep-alive`, at `Flow::told_at`.
    pub const TOLD: u32 = 16;
    /// The endpoint has sent a reset behind bytes that never came: what it had heard is not known.
    pub const RESET_AHEAD: u32 = 32;
}

/// Whether the leg may go to another client now that this one has sent `image`, which is nothing but an end or the next request: all
/// requests were answered, exactly; the endpoint has acknowledged all of them, and the client all answers; and nobody has said that it
/// will close.
#[inline(always)]
#[must_use]
pub fn is_exact(flow: &Flow, image: &Image) -> bool {
    // By this segment, whose checksum is right: acknowledgements before it were believed as they came.
    let has_all = image.ack == data_end(flow) || image.ack == flow.sent_end;
    let is_answered = flow.outstanding == 0 && flow.phase == phase::HEAD && flow.leg_next == flow.leg_end;
    let is_acknowledged = flow.points_used == 0 && flow.leg_ack == to_leg(flow, flow.next_seq);
    let is_in_place =
        image.has(TcpFlags::ACK) && image.seq == flow.next_seq && flow.client_end == flow.next_seq;
    flow.state == state::SPLICED
        && flow.client == image.tuple
        // What was told who its client is, is that client's alone (docs/adr/0040).
        && flow.told == 0
        && flow.leg_flags & leg_flag::DOUBTFUL == 0
        && flow.flags & flag::ENDS == 0
        && is_in_place
        && is_answered
        && is_acknowledged
        && has_all
        && keeps_time(flow)
        && data_end(flow) == flow.leg_end.wrapping_sub(flow.ack_add)
        && !is_offered(flow, image)
}

/// Whether the client's clock has run, and not leapt, since the request that opened the leg: what the next client says must not be older to
/// the endpoint.
#[inline(always)]
const fn keeps_time(flow: &Flow) -> bool {
    flow.client_tsval.wrapping_sub(flow.request_tsval) < LEAP
}

/// 12 days of milliseconds.
const LEAP: u32 = 1 << 30;

/// Takes the leg, which [`is_exact`], from its client.
#[inline(always)]
pub fn give(flow: &mut Flow, image: &Image, now: u64, into: &mut PooledLeg) {
    into.endpoint = flow.endpoint;
    into.endpoint_generation = flow.endpoint_generation;
    into.announced = flow.client_options;
    into.options = flow.leg_options;
    into.since = now;
    into.up = flow.up;
    into.send_next = flow.leg_ack;
    into.receive_next = flow.leg_end;
    // What the endpoint was sent: `image` is not.
    into.tsval = flow.client_tsval.wrapping_add(flow.tsval_add);
    into.peer_tsval = flow.leg_peer_tsval;
    flow.client_ack = latest(flow.client_ack, image.ack);
    flow.last_seen = now;
    unbind(flow);
}

/// Whether a leg is to be had by a request to that endpoint, of a client that announced `options`.
#[inline(always)]
#[must_use]
pub fn is_free(
    leg: &PooledLeg,
    endpoint: u32,
    generation: u32,
    options: TcpOptions,
    now: u64,
    idle: u64,
) -> bool {
    leg.state == PooledLeg::IDLE
        && leg.endpoint == endpoint
        && leg.endpoint_generation == generation
        && leg.announced == options
        && now.saturating_sub(leg.since) < idle
}

/// Puts a leg of the pool in the place of one that [`super::begin_leg`] has begun. Returns whether it has all that the client was
/// promised.
#[inline(always)]
pub fn join(flow: &mut Flow, leg: &PooledLeg, now: u64) -> bool {
    flow.leg_isn = leg.send_next.wrapping_sub(1);
    // On from what the endpoint has seen on it (RFC 7323 section 5.3): for it, time stood still.
    flow.leg_tsval = leg.tsval;
    flow.up = leg.up;
    flow.told = 0;
    flow.leg_flags |= leg_flag::POOLED;
    agree(flow, leg.options, leg.receive_next.wrapping_sub(1), leg.peer_tsval, now)
}

/// The request that is bound to a leg of the pool, as it leaves. `insert_at`, `insert_len`: its forwarded headers.
#[inline(always)]
pub fn plan_joined(flow: &Flow, image: &Image, insert_at: u32, insert_len: u32, plan: &mut Plan) {
    plan.up(flow, image);
    // Where the leg is: acknowledgements that overtook the request belong to the leg before.
    plan.ack = flow.request_ack.wrapping_add(flow.ack_add);
    plan.drops_sack = 1;
    // The client repeats its FIN behind the request.
    plan.flags &= !u32::from(TcpFlags::FIN);
    plan.insert_at = insert_at;
    plan.insert_len = insert_len;
    blank(flow, image, plan);
}

/// Whether the endpoint had sent data, with the segment or before it, when it had no byte of the oldest request that is outstanding: that
/// answers nothing that we know of. On a leg that was another client's it is unasked; on the client's own it may be an early answer, or
/// another one's, with the right one to come. Where the end of the response before cannot be seen, it may be the rest of that.
#[inline(never)]
pub(super) fn is_early(flow: &Flow, image: &Image) -> bool {
    awaits_answer(flow)
        && before(flow.leg_next, image.seq.wrapping_add(image.payload_len))
        && not_after(image.ack, oldest(flow))
}

/// Whether the next byte is the first of an answer, on a leg that was another client's.
#[inline(always)]
#[must_use]
pub fn is_first(flow: &Flow) -> bool {
    flow.leg_flags & leg_flag::POOLED != 0 && awaits_answer(flow)
}

#[inline(always)]
const fn awaits_answer(flow: &Flow) -> bool {
    flow.outstanding != 0 && flow.asked != 0 && flow.phase == phase::HEAD
}

/// Where the oldest of the outstanding requests begins, in the space of the leg, as far as that is known.
#[inline(always)]
fn oldest(flow: &Flow) -> u32 {
    if flow.outstanding == 1 { to_leg(flow, flow.newest_seq) } else { flow.leg_isn.wrapping_add(1) }
}

/// What to do with a segment of an endpoint on a leg of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum PooledStep {
    /// The leg is on its way to or from a client: drop, the endpoint sends it again.
    Busy,
    /// The leg is a client's by now.
    Taken,
    /// Drop: nothing that anyone waits for.
    Useless,
    /// Answer the endpoint as the plan says.
    Answer,
    /// The leg ends: answer with RST. Nobody gets it any more.
    Ends,
    /// The same, but there is nothing to answer.
    EndsSilently,
}

/// A segment of the endpoint.
#[inline(always)]
pub fn on_pooled(leg: &mut PooledLeg, image: &Image, plan: &mut Plan) -> PooledStep {
    if leg.key != image.tuple {
        return PooledStep::Busy;
    }
    if leg.state != PooledLeg::IDLE {
        if leg.state == PooledLeg::GONE {
            return PooledStep::Taken;
        }
        // It would come again with an acknowledgement of the next request, and look like its answer.
        if image.payload_len != 0 || image.has(TcpFlags::FIN | TcpFlags::RST) {
            leg.state = PooledLeg::SPOILED;
        }
        return PooledStep::Busy;
    }
    if !is_near(image.seq, leg.receive_next, reach(leg.announced)) {
        return PooledStep::Useless;
    }
    if image.has(TcpFlags::RST) {
        // RFC 5961 section 3.2: only at the next byte.
        if image.seq != leg.receive_next {
            return PooledStep::Useless;
        }
        leg.state = PooledLeg::SPOILED;
        return PooledStep::EndsSilently;
    }
    let is_plain = image.has(TcpFlags::ACK) && !image.has(TcpFlags::SYN);
    // Nor may what was never sent be acknowledged (RFC 9293 section 3.10.7.4).
    if !is_plain || before(leg.send_next, image.ack) || is_outdated(image.ack, leg.send_next, leg.options) {
        return PooledStep::Useless;
    }
    // Data that no request asked for, or an end.
    if before(leg.receive_next, image.end()) {
        leg.state = PooledLeg::SPOILED;
        return PooledStep::Ends;
    }
    if image.ack == leg.send_next {
        leg.peer_tsval = latest(leg.peer_tsval, image.tsval);
    }
    if image.seq == leg.receive_next {
        return PooledStep::Useless;
    }
    // A probe, or what the client has acknowledged, but the acknowledgement was lost.
    plan.tuple = leg.key.reversed();
    plan.hop = leg.up;
    plan.seq = leg.send_next;
    plan.ack = leg.receive_next;
    plan.tsval = leg.tsval;
    plan.tsecr = leg.peer_tsval;
    plan.options = leg.announced;
    // 64 KB, until the next client says what it has.
    let scale = leg.announced.window_scale;
    let shift = if scale == TcpOptions::NO_SCALE { 0 } else { u32::from(scale & 15) };
    plan.window = 65_535 >> shift;
    plan.flags = u32::from(TcpFlags::ACK);
    PooledStep::Answer
}

#[cfg(test)]
mod tests {
    use wire::Tuple;

    use super::*;
    use crate::flow::{begin_leg, to_client};

    const LEG: Tuple =
        Tuple { source: [3; 16], destination: [4; 16], source_port: [31, 144], destination_port: [78, 32] };

    /// A connection on which all is answered, and the client's FIN. Numbers wrap.
    fn idle() -> (Flow, Image) {
        let client =
            Tuple { source: [1; 16], destination: [2; 16], source_port: [9, 9], destination_port: [0, 80] };
        let options =
            TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK | TcpOptions::TIMESTAMPS };
        let flow = Flow {
            state: state::SPLICED,
            client,
            leg: LEG,
            client_options: options,
            leg_options: TcpOptions { mss: 1460, window_scale: 9, ..options },
            next_seq: 40,
            client_end: 40,
            sent_end: u32::MAX - 9,
            client_ack: u32::MAX - 9,
            seq_add: u32::MAX - 100,
            ack_add: 110,
            leg_ack: 40u32.wrapping_add(u32::MAX - 100),
            leg_end: 100,
            leg_next: 100,
            request_tsval: 400,
            client_tsval: 500,
            tsval_add: u32::MAX - 700,
            leg_peer_tsval: 77,
            endpoint: 5,
            endpoint_generation: 6,
            ..Flow::default()
        };
        let flags = u32::from(TcpFlags::FIN | TcpFlags::ACK);
        (flow, Image { tuple: client, seq: 40, ack: u32::MAX - 9, tsval: 510, flags, ..Image::default() })
    }

    #[test]
    fn any_doubt_keeps_a_leg_with_its_client() {
        let (flow, image) = idle();
        assert!(is_exact(&flow, &image));
        type Doubt = (&'static str, fn(&mut Flow));
        let doubts: [Doubt; 23] = [
            ("opening", |flow| flow.state = state::OPENING),
            ("unbound", |flow| flow.state = state::UNBOUND),
            ("another's", |flow| flow.client.source_port = [8, 8]),
            ("guessed", |flow| flow.leg_flags |= leg_flag::DOUBTFUL),
            ("told", |flow| flow.told = 28),
            ("told, and heard", |flow| flow.told = 28 | Flow::TOLD_HEARD),
            ("client closed", |flow| flow.flags |= flag::CLIENT_FIN),
            ("endpoint closed", |flow| flow.flags |= flag::LEG_FIN),
            ("endpoint's FIN is kept", |flow| flow.flags |= flag::LEG_ENDS),
            ("close was said", |flow| flow.flags |= flag::CLOSE),
            ("outstanding", |flow| flow.outstanding = 1),
            ("in a body", |flow| flow.phase = phase::BODY),
            ("in a chunk", |flow| flow.phase = phase::CHUNKED),
            ("unknown", |flow| flow.phase = phase::UNKNOWN),
            ("the walk is behind", |flow| flow.leg_next = flow.leg_next.wrapping_sub(1)),
            ("bytes were not sent on", |flow| flow.leg_end = flow.leg_end.wrapping_add(1)),
            ("the request is not acknowledged", |flow| flow.leg_ack = flow.leg_ack.wrapping_sub(1)),
            ("text is not acknowledged", |flow| flow.points_used = 1),
            ("the client sent more", |flow| flow.client_end = flow.client_end.wrapping_add(1)),
            ("a request is missing", |flow| flow.next_seq = flow.next_seq.wrapping_add(1)),
            ("the client has not all", |flow| flow.sent_end = flow.sent_end.wrapping_add(1)),
            ("a clock leapt", |flow| flow.client_tsval = flow.request_tsval.wrapping_add(LEAP)),
            ("a clock went back", |flow| flow.client_tsval = flow.request_tsval.wrapping_sub(1)),
        ];
        for (what, change) in doubts {
            let mut flow = flow;
            change(&mut flow);
            assert!(!is_exact(&flow, &image), "{what}");
        }
        for (what, image) in [
            ("elsewhere", Image { seq: 41, ..image }),
            ("before", Image { seq: 39, ..image }),
            ("beyond", Image { ack: image.ack.wrapping_add(1), ..image }),
            ("without an acknowledgement", Image { flags: u32::from(TcpFlags::RST), ..image }),
            ("of another", Image { tuple: LEG, ..image }),
        ] {
            assert!(!is_exact(&flow, &image), "{what}");
        }
        let behind = Image { ack: image.ack.wrapping_sub(50), ..image };
        assert!(!is_exact(&flow, &behind), "what acknowledged all may have been damaged");
    }

    /// A request of another client, wherever its numbers begin.
    fn joined(leg: &PooledLeg, base: u32, now: u64) -> (Flow, Image) {
        let at = |n: u32| base.wrapping_mul(0x9e37_79b9).wrapping_add(n);
        let mut flow = Flow {
            client_options: leg.announced,
            vip_mss: 1380,
            request_seq: at(1),
            request_ack: at(0x4000_0000),
            request_tsval: at(0x1234_5678),
            request_tsecr: at(0x2345_6789),
            sent_tsval: at(0x2345_6789),
            ..Flow::default()
        };
        begin_leg(&mut flow, &LEG, leg.up, (7 << 32, 0), now);
        assert!(join(&mut flow, leg, now));
        let image = Image {
            seq: flow.request_seq,
            ack: flow.request_ack,
            tsval: flow.request_tsval,
            tsecr: flow.request_tsecr,
            flags: u32::from(TcpFlags::ACK),
            payload_len: 60,
            ..Image::default()
        };
        (flow, image)
    }

    #[test]
    fn a_leg_goes_on_where_it_was_left_whatever_the_numbers_of_the_next_client() {
        let (mut left, fin) = idle();
        let mut leg = PooledLeg::default();
        give(&mut left, &fin, 1000, &mut leg);
        assert_eq!((left.state, left.leg), (state::UNBOUND, Tuple::default()));
        for base in 0..2000u32 {
            let (flow, image) = joined(&leg, base, u64::from(base) << 20);
            let mut plan = Plan::default();
            plan_joined(&flow, &image, 0, 0, &mut plan);
            assert_eq!((plan.seq, plan.ack), (leg.send_next, leg.receive_next), "{base}");
            assert!(!before(plan.tsval, leg.tsval), "{base}: time runs forward");
            assert_eq!(plan.tsecr, leg.peer_tsval, "{base}: an echo of what the endpoint said");
            assert_eq!(
                to_client(&flow, leg.send_next.wrapping_add(60)),
                image.seq.wrapping_add(60),
                "{base}"
            );
            // The endpoint's next byte is the client's next byte, and what it said last is not before what the client was shown.
            let answer = Image { seq: leg.receive_next, ack: leg.send_next, tsval: leg.peer_tsval, ..image };
            let mut down = Plan::default();
            down.down(&flow, &answer);
            assert_eq!((down.seq, down.ack), (image.ack, image.seq), "{base}");
            assert_eq!(down.tsval, flow.sent_tsval, "{base}");
            assert_eq!((flow.state, flow.leg_flags), (state::SPLICED, leg_flag::POOLED));
        }
    }

    #[test]
    fn what_was_said_before_the_request_was_heard_is_no_answer() {
        let (mut left, fin) = idle();
        let mut leg = PooledLeg::default();
        give(&mut left, &fin, 1000, &mut leg);
        let (mut flow, image) = joined(&leg, 3, 5);
        (flow.outstanding, flow.asked, flow.newest_seq) = (1, 5, image.seq);
        let said = |ack: u32| Image {
            seq: leg.receive_next,
            ack: leg.send_next.wrapping_add(ack),
            payload_len: 1,
            ..Image::default()
        };
        let of = |flow: &Flow, ack: u32| (is_first(flow), is_early(flow, &said(ack)));
        assert_eq!([0, u32::MAX].map(|ack| of(&flow, ack)), [(true, true); 2]);
        assert_eq!([1, 60].map(|ack| of(&flow, ack)), [(true, false); 2]);
        let pipelined = Flow { outstanding: 2, newest_seq: image.seq.wrapping_add(60), ..flow };
        assert_eq!([0, 1].map(|ack| of(&pipelined, ack)), [(true, true), (true, false)], "the first of two");
        for (what, flow) in [
            ("a surplus anyway", Flow { outstanding: 0, ..flow }),
            ("a part of the answer was seen", Flow { asked: 0, ..flow }),
            ("the response before", Flow { phase: phase::RESUMED, ..flow }),
        ] {
            assert_eq!(of(&flow, 0), (false, false), "{what}");
        }
        let again = Flow { leg_next: flow.leg_next.wrapping_add(1), ..flow };
        assert_eq!(of(&again, 0), (true, false), "what was said before");
        let bare =
            |ahead: u32| Image { seq: leg.receive_next.wrapping_add(ahead), payload_len: 0, ..said(0) };
        assert!(!is_early(&flow, &bare(0)) && is_early(&flow, &bare(1)), "data was sent before it");
        let own = Flow { leg_flags: 0, ..flow };
        assert_eq!([0, 1].map(|ack| of(&own, ack)), [(false, true), (false, false)]);
    }

    #[test]
    fn a_leg_that_waits_is_had_by_its_kind_alone_and_in_time() {
        let options = TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK };
        let leg = PooledLeg {
            state: PooledLeg::IDLE,
            endpoint: 5,
            endpoint_generation: 6,
            announced: options,
            since: 100,
            ..PooledLeg::default()
        };
        assert!(is_free(&leg, 5, 6, options, 199, 100) && is_free(&leg, 5, 6, options, 50, 100));
        assert!(!is_free(&leg, 5, 6, options, 200, 100) && !is_free(&leg, 5, 6, options, 150, 0));
        assert!(!is_free(&leg, 4, 6, options, 150, 100) && !is_free(&leg, 5, 7, options, 150, 100));
        for other in [
            TcpOptions { mss: 1440, ..options },
            TcpOptions { window_scale: 8, ..options },
            TcpOptions { flags: 0, ..options },
            TcpOptions { flags: TcpOptions::SACK | TcpOptions::TIMESTAMPS, ..options },
        ] {
            assert!(!is_free(&leg, 5, 6, other, 150, 100), "{other:?}");
        }
        assert!(!is_free(&PooledLeg { state: PooledLeg::MOVING, ..leg }, 5, 6, options, 150, 100));
    }

    #[test]
    fn an_endpoint_that_nobody_asks_is_answered_or_left() {
        const ACK: u8 = TcpFlags::ACK;
        let leg = PooledLeg {
            state: PooledLeg::IDLE,
            key: LEG,
            send_next: 10,
            receive_next: 5,
            ..PooledLeg::default()
        };
        let on = |flags: u8, seq: u32, ack: u32, payload_len: u32| {
            let (mut leg, mut plan) = (leg, Plan::default());
            let image =
                Image { tuple: LEG, seq, ack, flags: u32::from(flags), payload_len, ..Image::default() };
            let step = on_pooled(&mut leg, &image, &mut plan);
            assert_eq!(
                leg.state == PooledLeg::SPOILED,
                matches!(step, PooledStep::Ends | PooledStep::EndsSilently)
            );
            (step, plan.seq, plan.ack)
        };
        let answer = (PooledStep::Answer, 10, 5);
        assert_eq!(on(ACK, 4, 10, 0), answer, "a probe");
        assert_eq!(on(ACK, 4, 10, 1), answer, "a probe with a byte");
        assert_eq!(on(ACK, u32::MAX - 100, 3, 106), answer, "a response again");
        for (what, got) in [
            ("an acknowledgement", on(ACK, 5, 10, 0)),
            ("an old one", on(ACK, 5, 3, 0)),
            ("far away", on(ACK | TcpFlags::FIN, 1 << 31, 10, 0)),
            ("behind what a window holds", on(ACK, 6 + (1 << 17), 10, 1)),
            ("data with an acknowledgement of long ago", on(ACK, 5, 10u32.wrapping_sub(65_536), 1)),
            ("what was never sent", on(ACK, 5, 11, 1)),
            ("RST elsewhere", on(TcpFlags::RST, 6, 0, 0)),
            ("a SYN-ACK", on(ACK | TcpFlags::SYN, u32::MAX, 10, 0)),
            ("without an acknowledgement", on(0, 5, 0, 9)),
        ] {
            assert_eq!(got.0, PooledStep::Useless, "{what}");
        }
        for (what, got) in [
            ("data", on(ACK, 5, 10, 1)),
            ("data behind a response", on(ACK, 0, 10, 6)),
            ("data behind a gap", on(ACK, 500, 10, 6)),
            ("FIN", on(ACK | TcpFlags::FIN, 5, 10, 0)),
            ("FIN with a response", on(ACK | TcpFlags::FIN, 0, 10, 5)),
        ] {
            assert_eq!(got.0, PooledStep::Ends, "{what}");
        }
        assert_eq!(on(TcpFlags::RST, 5, 0, 0).0, PooledStep::EndsSilently);
        for (ack, peer_tsval) in [(10, 1 << 30), (9, 7)] {
            let mut leg = PooledLeg { peer_tsval: 7, ..leg };
            let image =
                Image { tuple: LEG, seq: 4, ack, tsval: 1 << 30, flags: ACK.into(), ..Image::default() };
            on_pooled(&mut leg, &image, &mut Plan::default());
            assert_eq!(leg.peer_tsval, peer_tsval, "{ack}");
        }
        let image =
            Image { tuple: LEG, seq: 5, ack: 10, flags: u32::from(TcpFlags::RST), ..Image::default() };
        let another = &mut PooledLeg { key: LEG.reversed(), ..leg };
        assert_eq!(on_pooled(another, &image, &mut Plan::default()), PooledStep::Busy);
    }

    #[test]
    fn what_is_said_while_a_leg_moves_is_not_forgotten() {
        let said = |flags: u8, payload_len: u32| Image {
            tuple: LEG,
            seq: 5,
            ack: 10,
            flags: u32::from(flags),
            payload_len,
            ..Image::default()
        };
        const ACK: u8 = TcpFlags::ACK;
        for (state, flags, payload_len, then) in [
            (PooledLeg::MOVING, ACK, 0, PooledLeg::MOVING),
            (PooledLeg::MOVING, ACK, 1, PooledLeg::SPOILED),
            (PooledLeg::MOVING, ACK | TcpFlags::FIN, 0, PooledLeg::SPOILED),
            (PooledLeg::MOVING, TcpFlags::RST, 0, PooledLeg::SPOILED),
            (PooledLeg::SPOILED, ACK, 0, PooledLeg::SPOILED),
            (PooledLeg::GONE, ACK, 1, PooledLeg::GONE),
        ] {
            let mut leg = PooledLeg { state, key: LEG, ..PooledLeg::default() };
            let step = on_pooled(&mut leg, &said(flags, payload_len), &mut Plan::default());
            let expected = if state == PooledLeg::GONE { PooledStep::Taken } else { PooledStep::Busy };
            assert_eq!((step, leg.state), (expected, then), "{state} {flags} {payload_len}");
        }
    }
}
