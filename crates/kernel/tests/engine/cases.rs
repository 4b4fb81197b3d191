//! Each rule that a packet trace broke, by name.

use std::cell::Cell;
use std::rc::Rc;

use wire::Reason;

use crate::apps::{Manners, Step};
use crate::basics::{from, one_by_one, sim};
use crate::http::{Ask, Kind};
use crate::net::{endpoint, tables_draining, tables_removed};
use crate::packet::{ACK, FIN, RST, SYN, Seg};
use crate::sim::{Door, Place, Sim, profile, vip};
use crate::tcp::Profile;

pub(crate) fn send(ask: Ask) -> Step {
    Step::Send(vec![ask], vec![])
}

/// Loses the first segment at `place` that `is_it` says.
pub(crate) fn lose_first(
    sim: &mut Sim,
    place: Place,
    is_it: impl Fn(&crate::packet::Seg) -> bool + 'static,
) -> Rc<Cell<u32>> {
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let hit = at == place && is_it(seg) && count.get() == 0;
        count.set(count.get() + u32::from(hit));
        hit
    }));
    lost
}

fn manners(sim: &mut Sim, n: u8, manners: Manners) {
    sim.nodes.get_mut(&endpoint(n, false)).unwrap().manners = manners;
}

pub(crate) fn dial(sim: &mut Sim, steps: Vec<Step>) -> usize {
    sim.dial(from(40_000), vip(), profile(1), steps)
}

pub(crate) fn finish(sim: &mut Sim, client: usize) -> Vec<String> {
    sim.run(120_000);
    sim.check();
    sim.client(client).answers.iter().map(|(_, by)| by.clone()).collect()
}

#[test]
fn a_request_that_crosses_the_endpoints_fin_is_bound_anew() {
    let mut sim = sim(1);
    manners(&mut sim, 3, Manners { idle_close: Some(500), ..Manners::default() });
    // The request leaves while the FIN is on its way.
    let client = dial(
        &mut sim,
        vec![send(Ask::get('b')), Step::Wait, Step::Pause(498), send(Ask::get('b')), Step::Wait],
    );
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 2);
}

#[test]
fn an_idle_endpoints_end_is_not_the_clients() {
    for resets in [false, true] {
        let mut sim = sim(2);
        manners(&mut sim, 3, Manners { idle_close: Some(300), resets, ..Manners::default() });
        let mut steps = vec![];
        for _ in 0..4 {
            steps.extend([send(Ask::get('b')), Step::Wait, Step::Pause(1000)]);
        }
        let client = dial(&mut sim, steps);
        assert_eq!(finish(&mut sim, client), ["e3"; 4]);
        assert_eq!(sim.nodes[&endpoint(3, false)].syns, 4);
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let mut sim = sim(3);
    let client = dial(&mut sim, vec![send(Ask::get('b').delay(300).size(20_000)), Step::Shut, Step::Wait]);
    assert_eq!(finish(&mut sim, client), ["e3"]);
    assert!(sim.world.flows.all().is_empty());
}

#[test]
fn an_early_refusal_of_a_body_reaches_the_client() {
    let mut sim = sim(4);
    let large = Ask::post('m', 30_000).kind(Kind::TooLarge);
    let client = dial(&mut sim, vec![send(Ask::get('m')), Step::Wait, send(large), Step::Wait]);
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
}

/// Its segments must not be decided by two hooks, by their lengths: they would overtake each other.
#[test]
fn a_body_needs_no_room_to_grow_in_xdp() {
    let mut sim = sim(44);
    sim.world.early.set(100);
    sim.world.early_room.set(0);
    let steps = vec![send(Ask::get('m')), Step::Wait, send(Ask::post('m', 40_000)), Step::Wait];
    let client = dial(&mut sim, steps);
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
    assert!(sim.world.early_bytes.get() > 36_000, "{}", sim.world.early_bytes.get());
}

#[test]
fn the_lost_tail_of_a_response_is_repeated_by_its_endpoint() {
    let mut sim = sim(5);
    let lost = lose_first(&mut sim, Place::ToClient, |seg| seg.data.len() > 100 && seg.data.len() < 1000);
    let client =
        dial(&mut sim, vec![send(Ask::get('a').size(3000)), Step::Wait, send(Ask::get('b')), Step::Wait]);
    assert_eq!(finish(&mut sim, client)[1], "e3");
    assert_eq!(lost.get(), 1);
}

#[test]
fn a_lost_answer_to_the_syn_ack_is_given_again() {
    let mut sim = sim(6);
    let lost = lose_first(&mut sim, Place::ToEndpoint, |seg| !seg.has(SYN) && !seg.data.is_empty());
    let client = dial(&mut sim, vec![send(Ask::get('b')), Step::Wait]);
    assert_eq!((finish(&mut sim, client), lost.get()), (vec!["e3".to_owned()], 1));
}

#[test]
fn a_first_request_may_come_again_in_other_pieces() {
    for seed in 0..20 {
        let mut sim = sim(seed);
        lose_first(&mut sim, Place::ToEndpoint, |seg| seg.has(SYN));
        // Two in a row: a repetition may hold both, or a half.
        let steps = vec![send(Ask::get('b')), send(Ask::get('a')), Step::Wait];
        let client = dial(&mut sim, steps);
        let by = finish(&mut sim, client);
        assert_eq!((by[0].as_str(), by[1].starts_with('e')), ("e3", true), "seed {seed}");
    }
}

#[test]
fn a_probe_of_an_idle_preconnect_is_answered() {
    let mut sim = sim(7);
    let steps = vec![
        Step::Pause(40_000),
        Step::Probe,
        Step::Pause(40_000),
        Step::Probe,
        send(Ask::get('b')),
        Step::Wait,
    ];
    let client = dial(&mut sim, steps);
    assert_eq!(finish(&mut sim, client), ["e3"]);
    assert_eq!(sim.world.counted(Reason::Probe), 2);
}

#[test]
fn a_dead_endpoint_is_given_up_after_three_tries() {
    let mut sim = sim(8);
    let mut by_two = 0;
    for port in 0..12 {
        for n in [1, 2] {
            sim.nodes.get_mut(&endpoint(n, false)).unwrap().door =
                if n == 1 { Door::Dead } else { Door::Open };
        }
        let client = sim.dial(from(41_000 + port), vip(), profile(9), vec![send(Ask::get('a')), Step::Wait]);
        by_two += u32::from(finish(&mut sim, client) == ["e2"]);
    }
    assert_eq!(by_two, 12);
    assert!(sim.world.counted(Reason::Replaced) > 0, "one of them met the dead one");
}

#[test]
fn a_refusal_goes_to_another_endpoint() {
    let mut sim = sim(9);
    sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = Door::Shut;
    for port in 0..4 {
        let client = sim.dial(from(42_000 + port), vip(), profile(9), vec![send(Ask::get('a')), Step::Wait]);
        assert_eq!(finish(&mut sim, client), ["e2"]);
    }
}

#[test]
fn an_endpoint_without_what_clients_were_promised_is_the_hosts() {
    let lacking: [fn(&mut Profile); 4] =
        [|p| p.timestamps = false, |p| p.sack = false, |p| p.scale = None, |p| p.mss = 1000];
    for lack in lacking {
        let mut sim = sim(10);
        lack(&mut sim.nodes.get_mut(&endpoint(3, false)).unwrap().profile);
        assert_eq!(one_by_one(&mut sim, &[Ask::get('b'), Ask::get('a')]), ["host", "host"]);
        assert_eq!(sim.world.counted(Reason::DropLacksOptions), 1);
    }
}

#[test]
fn a_draining_endpoint_finishes_and_a_removed_one_gets_nothing_new() {
    for tables in [tables_draining(), tables_removed()] {
        let mut sim = sim(11);
        let steps = vec![send(Ask::get('n').delay(500)), Step::Wait, send(Ask::get('n')), Step::Wait];
        let clients: Vec<usize> =
            (0..6).map(|n| sim.dial(from(43_000 + n), vip(), profile(3), steps.clone())).collect();
        sim.run_for(100);
        sim.world.tables.replace(tables);
        sim.run(60_000);
        sim.check();
        let answers: Vec<_> = clients.iter().map(|client| sim.client(*client).answers.clone()).collect();
        assert!(answers.iter().any(|by| by[0].1 == "e1"), "{answers:?}");
        assert!(answers.iter().all(|by| by[1].1 == "e2"), "{answers:?}");
    }
}

#[test]
fn a_pipelined_request_of_another_route_waits_for_its_turn() {
    let mut sim = sim(12);
    let first = send(Ask::get('a').delay(600));
    let steps = vec![first, Step::Pause(20), send(Ask::get('a')), send(Ask::get('b')), Step::Wait];
    let client = dial(&mut sim, steps);
    let by = finish(&mut sim, client);
    assert_eq!((by[0] == by[1], by[2].as_str()), (true, "e3"), "{by:?}");
    assert!(sim.world.counted(Reason::HoldBusy) > 0);
}

#[test]
fn more_requests_than_can_be_outstanding_wait() {
    let mut sim = sim(13);
    let mut steps: Vec<Step> = vec![send(Ask::get('m').delay(400)), Step::Pause(20)];
    steps.extend((0..40).map(|_| send(Ask::get('m').size(3))));
    steps.push(Step::Wait);
    let client = dial(&mut sim, steps);
    // Those that were held may come again in one segment, which is the host's.
    let by = finish(&mut sim, client);
    assert_eq!((by.len(), &by[..32]), (41, &vec!["e3".to_owned(); 32][..]));
    assert!(sim.world.counted(Reason::HoldBusy) > 0);
}

#[test]
fn more_insertions_than_can_be_remembered_wait() {
    let mut sim = sim(14);
    // The endpoint hears nothing for a while, so that it acknowledges nothing.
    sim.filter =
        Some(Box::new(|seg, place, ms| place == Place::ToEndpoint && ms > 20 && ms < 150 && !seg.has(SYN)));
    let mut steps = vec![send(Ask::get('b')), Step::Wait, Step::Pause(30)];
    steps.extend((0..12).map(|_| send(Ask::get('b').size(5))));
    steps.push(Step::Wait);
    let client = dial(&mut sim, steps);
    let by = finish(&mut sim, client);
    assert_eq!((by.len(), &by[..9]), (13, &vec!["e3".to_owned(); 9][..]));
    assert!(sim.world.counted(Reason::HoldBusy) > 0);
}

#[test]
fn sequence_numbers_may_wrap_anywhere() {
    for before in [1, 20, 60, 100, 600, 1300] {
        let mut sim = sim(15 + u64::from(before));
        let isn = 0u32.wrapping_sub(before);
        let asks = [Ask::get('a').pad(700), Ask::get('b').size(4000), Ask::get('a')];
        let steps = asks.iter().flat_map(|ask| [send(ask.clone()), Step::Wait]).collect();
        let client = sim.dial(from(40_000), vip(), profile(isn), steps);
        assert_eq!(finish(&mut sim, client)[1], "e3");
    }
}

#[test]
fn unsolicited_bytes_answer_nobody() {
    let mut sim = sim(16);
    manners(&mut sim, 3, Manners { unsolicited: Some(200), ..Manners::default() });
    let client = dial(
        &mut sim,
        vec![send(Ask::get('b')), Step::Wait, Step::Pause(1000), send(Ask::get('b')), Step::Wait],
    );
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
    assert_eq!(sim.world.counted(Reason::DropSurplus), 0, "the leg ends instead");
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 2);
}

#[test]
fn a_timeout_said_on_an_idle_connection_answers_nobody() {
    let mut sim = sim(17);
    manners(&mut sim, 3, Manners { idle_close: Some(200), says_so: true, ..Manners::default() });
    let client = dial(
        &mut sim,
        vec![send(Ask::get('b')), Step::Wait, Step::Pause(1000), send(Ask::get('b')), Step::Wait],
    );
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
}

#[test]
fn a_new_connection_on_the_ports_of_an_old_one_takes_its_place() {
    // Far away, near, and just below what the old one sent.
    let isns = [500_000, 0x8000_0000, 40, 1000];
    for (route, isn) in isns.into_iter().flat_map(|isn| [('b', isn), ('t', isn)]) {
        let mut sim = sim(18);
        // The client is gone without a word.
        dial(&mut sim, vec![send(Ask::get(route)), Step::Wait, Step::Abort]);
        sim.filter = Some(Box::new(|seg, place, _| place == Place::FromClient && seg.has(RST)));
        sim.run_for(1100);
        sim.world.owners.borrow_mut().clear();
        sim.filter = None;
        let client = sim.dial(from(40_000), vip(), profile(isn), vec![send(Ask::get('a')), Step::Wait]);
        let by = finish(&mut sim, client);
        assert!(by[0] == "e1" || by[0] == "e2", "{route} {isn}: {by:?}");
    }
}

#[test]
fn a_lost_fin_of_the_endpoint_comes_again() {
    let mut sim = sim(19);
    let lost = lose_first(&mut sim, Place::ToClient, |seg| seg.has(FIN));
    let client =
        dial(&mut sim, vec![send(Ask::get('b').kind(Kind::UntilClose).size(3000)), Step::Wait, Step::End]);
    assert_eq!((finish(&mut sim, client), lost.get()), (vec!["e3".to_owned()], 1));
}

#[test]
fn a_request_behind_an_answer_without_length_never_gets_into_it() {
    for route in ['a', 'b'] {
        let mut sim = sim(20);
        // The endpoint pauses for longer than a request is held that seems to follow an answer.
        let steps = vec![
            send(Ask::get('b').kind(Kind::UntilClose).size(3000).delay(4000)),
            Step::Pause(4200),
            send(Ask::get(route)),
            Step::Wait,
        ];
        let client = dial(&mut sim, steps);
        sim.client(client).may_be_cut = true;
        assert_eq!(finish(&mut sim, client), ["e3"], "{route}");
        assert!(sim.world.counted(Reason::HoldBusy) > 1);
    }
}

#[test]
fn requests_pipelined_behind_an_answer_whose_end_cannot_be_seen_are_answered_in_order_or_not_at_all() {
    for seed in 0..20 {
        let mut sim = sim(seed);
        let steps = vec![
            // The head comes in two pieces.
            send(Ask::get('b').kind(Kind::Split).delay(500)),
            Step::Pause(600),
            // On the same leg, before the second piece.
            send(Ask::get('b').delay(5000)),
            Step::Pause(600),
            send(Ask::get('a')),
            Step::Wait,
        ];
        let client = dial(&mut sim, steps);
        sim.client(client).may_be_cut = true;
        assert_eq!(finish(&mut sim, client), ["e3", "e3"], "seed {seed}");
        assert!(sim.world.flows.all().is_empty(), "seed {seed}: it was reset");
    }
}

#[test]
fn a_client_that_waits_goes_on_after_an_answer_whose_end_cannot_be_seen() {
    let mut sim = sim(21);
    let split = Ask::get('b').kind(Kind::Split).delay(50);
    let asks = [split.clone(), split.clone(), Ask::get('b'), Ask::get('a'), split, Ask::get('a')];
    let steps = asks.iter().flat_map(|ask| [send(ask.clone()), Step::Wait]).collect();
    let client = dial(&mut sim, steps);
    let by = finish(&mut sim, client);
    assert_eq!((&by[..3], by[4].as_str(), by.len()), (&vec!["e3".to_owned(); 3][..], "e3", 6));
}

#[test]
fn a_request_that_was_joined_and_fits_no_segment_is_the_hosts() {
    // Over a narrow path and joined on arrival: the endpoint's path would have to carry it in one.
    for (pad, by) in
        [(1100, "e3"), (1250, "e3"), (1400, "host"), (1800, "host"), (1950, "host"), (2100, "host")]
    {
        let mut sim = sim(20);
        let narrow = Profile { mss: 536, large: true, ..profile(1) };
        let steps = vec![send(Ask::get('m').pad(pad)), Step::Wait];
        let client = sim.dial(from(40_000), vip(), narrow, steps);
        assert_eq!(finish(&mut sim, client), [by], "{pad}");
        // The same on a connection that has a leg, and needs another one.
        let steps = vec![send(Ask::get('n').pad(30)), Step::Wait, send(Ask::get('m').pad(pad)), Step::Wait];
        let client = sim.dial(from(40_001), vip(), narrow, steps);
        assert_eq!(finish(&mut sim, client)[1], by, "{pad}");
        assert_eq!(sim.world.counted(Reason::DropMangle), 0);
    }
}

#[test]
fn a_segment_of_an_endpoint_from_another_network_is_dropped() {
    let mut sim = sim(22);
    let steps = vec![send(Ask::get('b')), Step::Wait, Step::Pause(1000), send(Ask::get('b')), Step::Wait];
    let client = dial(&mut sim, steps);
    sim.run_for(500);
    let (key, flow) = sim.world.flows.all()[0];
    let us = (vip().ip(), u16::from_be_bytes(flow.leg.destination_port)).into();
    let forged = Seg::bare((endpoint(3, false), 8080).into(), us, RST | ACK, flow.leg_end, flow.leg_ack);
    let mut packet = forged.packet(false, false, false);
    // The link address of a client.
    packet.frame[9] = 9;
    sim.world.process(packet, 0);
    assert_eq!(sim.world.counted(Reason::DropDevice), 1);
    assert_eq!(sim.world.flows.all(), [(key, flow)]);
    assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 1);
}

#[test]
fn no_leg_is_opened_behind_an_end_that_the_client_was_told() {
    let mut sim = sim(22);
    // The end of the answer cannot be seen, so that of the connection is passed on; the next request is late.
    manners(&mut sim, 3, Manners { idle_close: Some(300), ..Manners::default() });
    sim.filter = Some(Box::new(|seg, at, ms| {
        at == Place::FromClient && !seg.data.is_empty() && (8..700).contains(&ms)
    }));
    let trailer = Ask::get('b').kind(Kind::Trailer);
    // And one behind it, so that it does not say that the client has closed meanwhile.
    let late = [send(Ask::get('b').pad(1250)), send(Ask::get('b').pad(1250))];
    let client = dial(&mut sim, [vec![send(trailer), Step::Wait], late.to_vec(), vec![Step::Wait]].concat());
    sim.client(client).may_be_cut = true;
    assert_eq!(finish(&mut sim, client), ["e3"]);
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 1);
    assert_eq!(sim.world.counted(Reason::Reset), 1, "passed on");
}

/// A connection whose request waits for endpoint 3, in whose name the case speaks.
pub(crate) fn waiting(sim: &mut Sim) -> wire::Flow {
    dial(sim, vec![send(Ask::get('b').delay(100_000)), Step::Wait]);
    sim.run_for(50);
    sim.world.flows.all()[0].1
}

/// Endpoint 3 says this on the leg of `flow`; the record as it is then.
pub(crate) fn say(sim: &Sim, flow: &wire::Flow, seq: u32, data: &[u8]) -> wire::Flow {
    utter(sim, flow, seq, ACK, data)
}

/// The same with these flags.
pub(crate) fn utter(sim: &Sim, flow: &wire::Flow, seq: u32, flags: u8, data: &[u8]) -> wire::Flow {
    let from = (endpoint(3, false), 8080).into();
    let to = (vip().ip(), u16::from_be_bytes(flow.leg.destination_port)).into();
    let seg = Seg { data: data.to_vec(), ..Seg::bare(from, to, flags, seq, flow.leg_ack) };
    sim.world.process(seg.packet(false, data.len() > 1460, false), 0);
    sim.world.flows.all()[0].1
}

/// Lengths have 64 bits, and what lies within one may be missing: all but the last bytes are said in strides.
#[test]
fn a_body_of_five_gigabytes_ends_where_it_was_declared() {
    const BODY: u64 = 5_000_000_000;
    const STRIDE: u64 = 1 << 23;
    let mut sim = sim(23);
    let flow = waiting(&mut sim);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    say(&sim, &flow, flow.leg_end, head.as_bytes());
    let mut seq = flow.leg_end.wrapping_add(head.len() as u32);
    let mut said = 0;
    while said < BODY - 1 {
        let stride = STRIDE.min(BODY - 1 - said);
        said += stride;
        seq = seq.wrapping_add(stride as u32);
        let now = say(&sim, &flow, seq.wrapping_sub(1), b"x");
        assert_eq!((now.outstanding, now.remaining, now.leg_end), (1, BODY - said, seq));
    }
    let end = say(&sim, &flow, seq, b"x");
    assert_eq!((end.outstanding, end.remaining), (0, 0));
    say(&sim, &flow, seq.wrapping_add(1), b"x");
    assert_eq!(sim.world.counted(Reason::DropSurplus), 1);
}

/// Repeated bytes from before the leg's first are nobody's, however little has come since.
#[test]
fn bytes_from_before_a_leg_are_dropped() {
    let mut sim = sim(24);
    let flow = waiting(&mut sim);
    let useless = sim.world.counted(Reason::DropUseless);
    for back in [1, 1000] {
        let now = say(&sim, &flow, flow.leg_end.wrapping_sub(back), b"x");
        assert_eq!(wire::Flow { last_seen: flow.last_seen, ..now }, flow);
    }
    assert_eq!(sim.world.counted(Reason::DropUseless), useless + 2);
}

/// What servers write 2 KiB at a time is joined on its way.
#[test]
fn the_end_of_31_chunks_in_one_segment_is_seen() {
    let mut sim = sim(25);
    let flow = waiting(&mut sim);
    let chunk = format!("800\r\n{}\r\n", "x".repeat(2048));
    let answer =
        ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunk.repeat(31), "0\r\n\r\n"].concat();
    assert_eq!(say(&sim, &flow, flow.leg_end, answer.as_bytes()).outstanding, 0);
}
