//! Where a response ends, and what tells: what a client repeats, what an endpoint repeats, and what neither can.

use dataplane::flow::{flag, phase, state};
use wire::Reason;

use crate::apps::Step;
use crate::basics::{from, sim};
use crate::cases::{dial, finish, say, send, utter, waiting};
use crate::http::{Ask, Kind};
use crate::net::endpoint;
use crate::packet::{ACK, FIN, Packet, Seg};
use crate::sim::{Place, Sim, vip};

/// A response whose head comes in two pieces, the second after two seconds: a request is repeated several times in between.
fn cut() -> Ask {
    Ask::get('b').kind(Kind::Split).delay(2000)
}

#[test]
fn a_request_sent_before_the_answer_is_whole_never_gets_into_it() {
    for seed in 0..20 {
        let mut sim = sim(seed);
        let client = dial(&mut sim, vec![send(cut()), send(Ask::get('a')), Step::Wait]);
        sim.client(client).may_be_cut = true;
        assert_eq!(finish(&mut sim, client), ["e3"], "seed {seed}");
    }
}

#[test]
fn nor_does_one_whose_first_copies_were_lost() {
    for seed in 0..20 {
        let mut sim = sim(seed);
        let mut sent = 0;
        sim.filter = Some(Box::new(move |seg, place, ms| {
            sent += u32::from(place == Place::FromClient && !seg.data.is_empty());
            // All but the first request, and the acknowledgements that show there is more.
            place == Place::FromClient && sent > 1 && ms < 2200
        }));
        let client = dial(&mut sim, vec![send(cut()), send(Ask::get('a')), Step::Wait]);
        sim.client(client).may_be_cut = true;
        assert_eq!(finish(&mut sim, client)[0], "e3", "seed {seed}");
    }
}

#[test]
fn requests_for_one_endpoint_go_on_behind_an_answer_that_cannot_be_told() {
    let mut sim = sim(3);
    let more = [send(Ask::get('b')), send(Ask::get('b')), Step::Wait];
    let client = dial(&mut sim, [vec![send(cut()), Step::Pause(2500)], more.to_vec()].concat());
    assert_eq!(finish(&mut sim, client), ["e3", "e3", "e3"]);
    assert_eq!(sim.world.counted(Reason::HoldBusy), 0);
}

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nX-Id: 1\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_head_that_comes_again_whole_is_read() {
    for cut in 8..WHOLE.len() - 2 {
        let mut sim = sim(1);
        let flow = waiting(&mut sim);
        let first = flow.leg_end;
        let flow = say(&sim, &flow, first, &WHOLE[..cut]);
        assert_eq!((flow.phase, flow.outstanding, flow.leg_next), (phase::PARTIAL, 1, first), "{cut}");
        let flow = say(&sim, &flow, first, WHOLE);
        assert_eq!((flow.phase, flow.outstanding), (phase::HEAD, 0), "{cut}");
    }
}

#[test]
fn a_head_of_which_only_the_rest_comes_is_not_known() {
    let mut sim = sim(1);
    let flow = waiting(&mut sim);
    let flow = say(&sim, &flow, flow.leg_end, &WHOLE[..30]);
    let flow = say(&sim, &flow, flow.leg_end, &WHOLE[30..]);
    assert_eq!((flow.phase, flow.outstanding), (phase::UNKNOWN, 1));
}

#[test]
fn an_acknowledgement_from_behind_what_is_lost_hides_no_gap() {
    let mut sim = sim(1);
    let flow = waiting(&mut sim);
    let (first, behind) = (flow.leg_end, flow.leg_end.wrapping_add(WHOLE.len() as u32));
    let flow = utter(&sim, &flow, behind, ACK, b"");
    assert_eq!(flow.leg_end, first, "nothing was sent");
    let flow = utter(&sim, &flow, behind, ACK | FIN, b"");
    assert_eq!((flow.state, flow.leg_end, flow.flags & flag::LEG_FIN), (state::SPLICED, first, 0));
    assert_eq!(sim.world.counted(Reason::DropGap), 1, "the FIN comes again, behind what is missing");
    let flow = utter(&sim, &flow, first, ACK | FIN, WHOLE);
    assert_eq!((flow.outstanding, flow.flags & flag::LEG_ENDS), (0, flag::LEG_ENDS));
}

#[test]
fn an_end_that_brings_repeated_bytes_crosses_a_request_like_any_other() {
    let mut sim = sim(1);
    let steps = vec![send(Ask::get('b')), Step::Wait, Step::Pause(300), send(Ask::get('b')), Step::Wait];
    // The second request does not arrive.
    sim.filter = Some(Box::new(|seg, place, ms| {
        place == Place::ToEndpoint && !seg.data.is_empty() && (100..400).contains(&ms)
    }));
    let client = dial(&mut sim, steps);
    sim.run_for(350);
    let flow = sim.world.flows.all()[0].1;
    assert_eq!((flow.state, flow.outstanding), (state::SPLICED, 1));
    let tail = sim.client(client).answers.len() as u32 * 10;
    let flow = utter(&sim, &flow, flow.leg_end.wrapping_sub(tail), ACK | FIN, b"0123456789");
    assert_eq!(
        (flow.state, flow.outstanding),
        (state::UNBOUND, 0),
        "the leg has ended, the request is to be sent again"
    );
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 2);
}

fn odd(delay: u64) -> Ask {
    Ask::get('b').kind(Kind::Odd).delay(delay)
}

#[test]
fn requests_joined_in_the_repetition_of_a_first_one_tell_that_the_client_pipelines() {
    let mut sim = sim(1);
    let mut sent = 0;
    sim.filter = Some(Box::new(move |seg, place, _| {
        let is_request = place == Place::FromClient && !seg.data.is_empty();
        sent += u32::from(is_request);
        // No SYN arrives, and of the second request nothing but what is behind the first one in its segment.
        place == Place::ToEndpoint || is_request && sent == 2
    }));
    dial(&mut sim, vec![send(Ask::get('b')), send(Ask::get('a')), Step::Wait]);
    sim.run_for(100);
    let flags = |sim: &Sim| sim.world.flows.all()[0].1.flags & flag::PIPELINES;
    assert_eq!(flags(&sim), 0);
    sim.run_for(900);
    assert_eq!(sim.world.flows.all()[0].1.state, state::OPENING);
    assert_ne!(flags(&sim), 0);
}

#[test]
fn an_answer_that_ends_with_its_connection_is_waited_for_however_long_it_pauses() {
    for route in ['a', 'b'] {
        let mut sim = sim(1);
        let burst = vec![send(Ask::get('b')), send(Ask::get('b')), Step::Wait];
        let ask = Ask::get('b').kind(Kind::UntilClose).delay(30_000);
        let middle = vec![send(ask), Step::Pause(30_100), send(Ask::get(route)), Step::Wait];
        let client = dial(&mut sim, [burst, middle].concat());
        sim.client(client).may_be_cut = true;
        assert_eq!(finish(&mut sim, client), ["e3", "e3", "e3"], "{route}");
    }
}

#[test]
fn a_client_that_has_pipelined_once_goes_on_behind_an_answer_that_cannot_be_told() {
    let mut sim = sim(1);
    let mut steps = vec![send(Ask::get('b')), send(Ask::get('b')), Step::Wait, send(odd(0)), Step::Wait];
    steps.extend((0..50).flat_map(|_| [send(Ask::get('b')), Step::Wait]));
    let client = dial(&mut sim, steps);
    assert_eq!(finish(&mut sim, client).len(), 53);
    assert_eq!(sim.world.counted(Reason::HoldBusy), 0);
}

/// Something for the other CPU to do that changes nothing.
fn nothing() -> crate::packet::Packet {
    Seg::bare(([10, 1, 0, 3], 9).into(), ([10, 0, 0, 1], 9).into(), ACK, 1, 1).packet(false, false, false)
}

/// Processes `late` while another CPU processes `early`, after its `steps`-th step; whether that came too late for it.
fn beside(sim: &Sim, steps: usize, early: Packet, late: Packet) -> bool {
    let mut queue = std::iter::repeat_with(nothing).take(steps).collect::<Vec<_>>();
    queue.push(early);
    sim.world.beside.borrow_mut().extend(queue);
    sim.world.races.set(100);
    sim.world.process(late, 0);
    sim.world.races.set(0);
    !std::mem::take(&mut *sim.world.beside.borrow_mut()).is_empty()
}

/// A segment of endpoint 3 on the leg of `flow`, `offset` bytes behind its newest.
fn segment(flow: &wire::Flow, offset: u32, data: &[u8]) -> Packet {
    let from = (endpoint(3, false), 8080).into();
    let to = (vip().ip(), u16::from_be_bytes(flow.leg.destination_port)).into();
    let seq = flow.leg_end.wrapping_add(offset);
    Seg { data: data.to_vec(), ..Seg::bare(from, to, ACK, seq, flow.leg_ack) }.packet(false, false, false)
}

#[test]
fn pieces_of_an_answer_on_two_cpus_do_not_lose_its_end() {
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n";
    for (head, second) in [(LENGTH, vec![b'x'; 150]), (CHUNKED, [&[b'x'; 50][..], b"\r\n0\r\n\r\n"].concat())]
    {
        for steps in 0..6 {
            let mut sim = sim(1);
            let flow = waiting(&mut sim);
            let flow = say(&sim, &flow, flow.leg_end, head);
            let dropped = || sim.world.counted(Reason::DropGap);
            let is_late = beside(&sim, steps, segment(&flow, 0, &[b'x'; 50]), segment(&flow, 50, &second));
            // What was sent on does not come again.
            let is_dropped = dropped() > 0;
            if is_late {
                sim.world.process(segment(&flow, 0, &[b'x'; 50]), 0);
            }
            if is_dropped {
                sim.world.process(segment(&flow, 50, &second), 0);
            }
            let after = sim.world.flows.all()[0].1;
            assert_eq!((after.phase, after.outstanding, after.remaining), (phase::HEAD, 0, 0), "{steps}");
        }
    }
}

#[test]
fn a_word_of_an_idle_endpoint_swallows_no_request_of_another_cpu() {
    for steps in 0..6 {
        let mut sim = sim(1);
        let steps_of_client =
            vec![send(Ask::get('b')), Step::Wait, Step::Pause(500), send(Ask::get('b')), Step::Wait];
        dial(&mut sim, steps_of_client);
        sim.run_for(300);
        let flow = sim.world.flows.all()[0].1;
        let farewell = segment(
            &flow,
            0,
            b"HTTP/1.1 408 Request Timeout\r\nX-Id: 2\r\nX-By: e3\r\nContent-Length: 0\r\n\r\n",
        );
        let text = b"GET /b?i=2&k=l&n=100&d=0 HTTP/1.1\r\nHost: example.test\r\n\r\n";
        let request =
            Seg { data: text.to_vec(), ..Seg::bare(from(40_000), vip(), ACK, flow.next_seq, flow.sent_end) };
        beside(&sim, steps, request.packet(false, false, false), farewell);
        let Some((_, after)) = sim.world.flows.all().first().copied() else { panic!("{steps}: gone") };
        // The leg ends before the request, which is then sent again, or it does not: what was sent on is not forgotten.
        let is_lost = after.state == state::UNBOUND && after.next_seq != flow.next_seq;
        assert!(!is_lost, "{steps}");
    }
}
