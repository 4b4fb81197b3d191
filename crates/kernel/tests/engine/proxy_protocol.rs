//! Endpoint 3 waits to be told who the client is before anything else; its server asserts that it is.

use wire::{Flow, Reason};

use crate::apps::Step;
use crate::basics::{from, sim};
use crate::cases::{dial, finish, lose_first, send, waiting};
use crate::http::Ask;
use crate::net::endpoint;
use crate::packet::{ACK, SYN, Seg};
use crate::sim::{Place, profile, vip};
use crate::tcp::Profile;
use crate::world::Fate;

#[test]
fn what_was_lost_with_the_request_comes_again_with_it() {
    for (early, route) in [0, 100].into_iter().flat_map(|early| [(early, 'b'), (early, 'm')]) {
        let mut sim = sim(31);
        sim.world.early.set(early);
        let lost = lose_first(&mut sim, Place::ToEndpoint, |seg| !seg.data.is_empty());
        let client =
            dial(&mut sim, vec![send(Ask::get(route)), Step::Wait, send(Ask::get(route)), Step::Wait]);
        assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
        assert_eq!((lost.get(), sim.nodes[&endpoint(3, false)].syns), (1, 1), "over the same leg");
    }
}

#[test]
fn each_leg_is_told_and_an_endpoint_that_is_not_hears_nothing() {
    let mut sim = sim(32);
    let steps = "bababb".chars().flat_map(|route| [send(Ask::get(route)), Step::Wait]);
    let client = dial(&mut sim, steps.collect());
    let by = finish(&mut sim, client);
    assert_eq!(by.iter().filter(|by| **by == "e3").count(), 4, "{by:?}");
    assert_eq!(sim.nodes[&endpoint(3, false)].syns, 3);
}

#[test]
fn acknowledgements_within_say_nothing_of_the_request() {
    let mut sim = sim(33);
    // The endpoint opens the leg, and is silent.
    sim.filter = Some(Box::new(|seg, place, _| place == Place::FromEndpoint && !seg.has(SYN)));
    let flow = waiting(&mut sim);
    assert_eq!((flow.told, flow.leg_ack), (28, heard(&flow, 0)));
    let us = (vip().ip(), u16::from_be_bytes(flow.leg.destination_port)).into();
    let acknowledge = |bytes: u32| {
        let seg = Seg::bare((endpoint(3, false), 8080).into(), us, ACK, flow.leg_end, heard(&flow, bytes));
        sim.world.process(seg.packet(false, false, false), 0);
        let fates = std::mem::take(&mut *sim.world.fates.borrow_mut());
        let [Fate::Sent(packet)] = &fates[..] else { panic!("sent on") };
        (Seg::read(packet).unwrap().ack, sim.world.flows.all()[0].1.told)
    };
    let first = flow.request_seq;
    assert_eq!(acknowledge(10), (first, 28));
    assert_eq!(acknowledge(27), (first, 28));
    assert_eq!(acknowledge(28), (first, 28 | Flow::TOLD_HEARD));
    assert_eq!(acknowledge(38), (first.wrapping_add(10), 28 | Flow::TOLD_HEARD));
}

/// The endpoint's acknowledgement of so many bytes.
fn heard(flow: &Flow, bytes: u32) -> u32 {
    flow.leg_isn.wrapping_add(1).wrapping_add(bytes)
}

#[test]
fn a_request_that_fits_its_segment_alone_is_the_hosts() {
    let hosts = |route: char, pad: usize| {
        let mut sim = sim(34);
        let steps = vec![send(Ask::get(route).pad(pad)), Step::Wait];
        let client = sim.dial(from(40_000), vip(), profile(1), steps);
        let by = finish(&mut sim, client).remove(0);
        (by == "host").then(|| sim.world.counted(Reason::HandTooLong))
    };
    let first = |route| (1000..1460).find_map(|pad| Some((pad, hosts(route, pad)?))).unwrap();
    // What is longer still comes in two segments.
    let (alone, _) = first('n');
    assert_eq!(first('m'), (alone - 28, 1));
}

/// What a client sends from before the leg's first request stands in the place of what the endpoint is told first.
#[test]
fn bytes_from_before_the_request_never_reach_an_endpoint_that_waits_to_be_told() {
    let mut sim = sim(35);
    sim.filter = Some(Box::new(|seg, place, _| place == Place::ToEndpoint && !seg.data.is_empty()));
    let flow = waiting(&mut sim);
    assert_eq!(flow.told, 28);
    for (back, len) in [(28, 28), (28, 10), (100, 80), (1, 2), (40, 400)] {
        let mut data = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06".to_vec();
        data.resize(len, b'x');
        let seq = flow.request_seq.wrapping_sub(back);
        let timestamps = Some((flow.client_tsval.wrapping_add(1), flow.request_tsecr));
        let seg = Seg { data, timestamps, ..Seg::bare(from(40_000), vip(), ACK, seq, flow.client_ack) };
        sim.world.process(seg.packet(false, false, false), 0);
        let fates = std::mem::take(&mut *sim.world.fates.borrow_mut());
        let [Fate::Sent(packet)] = &fates[..] else { panic!("{back} {len}: answered") };
        let answer = Seg::read(packet).unwrap();
        assert_eq!((answer.dst, answer.ack), (from(40_000), flow.request_seq), "{back} {len}");
        assert!(answer.data.is_empty());
    }
}

/// Where links are wide, more fits a segment than is stored for a leg.
#[test]
fn requests_that_are_longer_than_what_is_stored_are_the_hosts() {
    for (route, pad) in
        ['n', 'm', 'a', 'b'].into_iter().flat_map(|r| (1700..2040).step_by(3).map(move |p| (r, p)))
    {
        let mut sim = sim(36);
        sim.world.settings.mss_v4 = 8900;
        sim.nodes.values_mut().for_each(|node| node.profile.mss = 8960);
        let wide = Profile { mss: 8960, ..profile(1) };
        let steps = vec![send(Ask::get(route).pad(pad)), Step::Wait];
        let client = sim.dial(from(40_000), vip(), wide, steps);
        assert_eq!(finish(&mut sim, client).len(), 1, "{route} {pad}");
        assert_eq!(sim.world.counted(Reason::DropMangle), 0, "{route} {pad}");
    }
}

/// Two pipelined requests come again as one segment, the text is the second's.
#[test]
fn a_second_requests_text_far_behind_the_first_ones_start_waits() {
    for pad in [100, 800, 850, 900, 1000, 1100] {
        let mut sim = sim(37);
        sim.filter = Some(Box::new(|seg, place, _| place == Place::ToEndpoint && !seg.data.is_empty()));
        let steps = vec![send(Ask::get('m').pad(pad)), Step::Pause(10), send(Ask::get('b')), Step::Wait];
        let client = dial(&mut sim, steps);
        sim.run_for(30);
        let (_, flow) = sim.world.flows.all()[0];
        let data = [1, 2].map(|id| sim.log.asked[&id].bytes.clone()).concat();
        let timestamps = Some((flow.client_tsval, flow.request_tsecr));
        let seg = Seg {
            data,
            timestamps,
            ..Seg::bare(from(40_000), vip(), ACK, flow.request_seq, flow.client_ack)
        };
        sim.filter = None;
        sim.forge(&seg);
        assert_eq!(finish(&mut sim, client), ["e3", "e3"], "{pad}");
        assert_eq!(sim.world.counted(Reason::DropMangle), 0, "{pad}");
    }
}
