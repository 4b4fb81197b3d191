//! Requests that say `Connection: close` while legs are pooled: the endpoint is not told, and the client's end is ours.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use dataplane::flow::{end_for, state};
use wire::Reason;

use crate::apps::{Manners, Step};
use crate::basics::{from, plain};
use crate::http::{Ask, Kind};
use crate::net::endpoint;
use crate::packet::{ACK, FIN, RST, Seg};
use crate::pool::{IDLE, counts, pooling, syns};
use crate::sim::{Place, Sim, profile, vip};
use crate::world::Fate;

/// A client that closes as soon as it is answered, and one that waits for the other side's end.
const WAITS: [bool; 2] = [false, true];

fn steps(asked: Ask, waits: bool) -> Vec<Step> {
    let mut steps = vec![Step::Send(vec![asked], vec![]), Step::Wait];
    if waits {
        steps.push(Step::End);
    }
    steps
}

/// One connection for a request that is its last, to its end; after how many ms that was, with waits of 10 ms.
fn once(sim: &mut Sim, port: u16, asked: Ask, waits: bool) -> u64 {
    let number = sim.dial(from(port), vip(), profile(u32::from(port) << 9), steps(asked.last(), waits));
    let mut took = 0;
    while !sim.is_done() {
        assert!(took < 30_000, "not through:\n{}", sim.describe());
        sim.run_for(10);
        took += 10;
    }
    sim.check();
    assert_eq!(sim.client(number).answers.len(), 1);
    took
}

/// What passes, and where.
fn listen(sim: &mut Sim) -> Rc<RefCell<Vec<(Place, Seg)>>> {
    let heard = Rc::new(RefCell::new(vec![]));
    let into = heard.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        into.borrow_mut().push((at, seg.clone()));
        false
    }));
    heard
}

fn text(seg: &Seg) -> String {
    String::from_utf8_lossy(&seg.data).into_owned()
}

/// Loses the first `times` segments that `is_it`; how many it has lost.
fn lose(sim: &mut Sim, times: u32, is_it: impl Fn(&Seg, Place) -> bool + 'static) -> Rc<Cell<u32>> {
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let is_lost = count.get() < times && is_it(seg, at);
        count.set(count.get() + u32::from(is_lost));
        is_lost
    }));
    lost
}

#[test]
fn a_client_that_asks_for_nothing_more_leaves_its_leg_to_the_next() {
    for waits in WAITS {
        let mut sim = pooling(31);
        for port in 0..20 {
            let took = once(&mut sim, 20_000 + port, Ask::get('b').size(3000), waits);
            assert!(took < 100, "nobody waits for a timer: {took} ms");
        }
        assert_eq!((syns(&sim, 3), counts(&sim)), (1, (1, 19, 20)), "{waits}");
        assert!(sim.conns.iter().all(|conn| conn.end.death.is_none()), "{}", sim.describe());
        sim.run_for(IDLE + 3000);
        assert!(sim.world.pooled.all().is_empty() && sim.world.legs.all().is_empty());
        assert!(sim.world.flows.all().is_empty());
    }
}

#[test]
fn the_endpoint_is_not_told_and_the_client_is() {
    // Over a new leg, over one of the pool, over the client's own; with text that is inserted and without.
    for route in ['b', 'm'] {
        let mut sim = pooling(32);
        let heard = listen(&mut sim);
        for port in 0..2 {
            once(&mut sim, 20_000 + port, Ask::get(route), false);
        }
        let two = [steps(Ask::get(route), false), steps(Ask::get(route).last(), true)].concat();
        sim.dial(from(20_002), vip(), profile(3), two);
        sim.run_for(500);
        assert!(sim.is_done());
        sim.check();
        let heard = heard.borrow();
        let at = |place: Place, word: &str| {
            heard.iter().filter(|(at, seg)| *at == place && text(seg).contains(word)).count()
        };
        assert_eq!(at(Place::ToEndpoint, "close"), 0, "{route}");
        assert_eq!(at(Place::ToEndpoint, "Connection:      \r\n"), 3, "{route}");
        assert_eq!(at(Place::ToEndpoint, "X-Forwarded-For"), if route == 'b' { 4 } else { 0 });
        assert_eq!(at(Place::ToClient, "Connection: close     \r\n"), 3);
        assert_eq!(at(Place::ToClient, "Connection: keep-alive\r\n"), 1);
        let ends = heard.iter().filter(|(at, seg)| *at == Place::ToClient && seg.has(FIN));
        assert!(ends.clone().all(|(_, seg)| text(seg).contains("close     ")), "with the response");
        assert_eq!(ends.count(), 3);
        assert_eq!(syns(&sim, 3), 1);
    }
}

#[test]
fn an_endpoint_that_says_nothing_of_its_connection_is_not_spoken_for() {
    let mut sim = pooling(33);
    let heard = listen(&mut sim);
    for port in 0..8 {
        once(&mut sim, 20_000 + port, Ask::get('a'), true);
    }
    let is_told = |by: &str| {
        heard.borrow().iter().any(|(at, seg)| {
            let text = text(seg);
            *at == Place::ToClient && text.contains(by) && text.contains("Connection: close     ")
        })
    };
    assert!(is_told("X-By: e1") && !is_told("X-By: e2"));
    assert!(syns(&sim, 1) == 1 && syns(&sim, 2) == 1);
}

#[test]
fn without_a_pool_the_endpoint_is_told() {
    let mut sim = crate::basics::sim(34);
    let heard = listen(&mut sim);
    for (port, waits) in [(20_000, false), (20_001, true)] {
        once(&mut sim, port, Ask::get('b'), waits);
    }
    let heard = heard.borrow();
    assert_eq!(
        heard.iter().filter(|(at, seg)| *at == Place::ToEndpoint && text(seg).contains("close\r\n")).count(),
        2
    );
    assert_eq!(syns(&sim, 3), 2);
}

#[test]
fn every_kind_of_response_ends_and_only_exact_ones_leave_a_leg() {
    for (kind, is_seen, is_given) in [
        (Kind::Length, true, true),
        (Kind::Chunked, true, true),
        (Kind::NoContent, true, true),
        (Kind::NotModified, true, true),
        (Kind::Hints, true, true),
        (Kind::Unauthorized, true, false),
        (Kind::Last, true, false),
        (Kind::UntilClose, true, false),
        (Kind::Trailer, false, false),
        (Kind::Odd, false, false),
    ] {
        for waits in WAITS {
            let mut sim = pooling(35);
            if is_seen || !waits {
                once(&mut sim, 20_000, Ask::get('b').kind(kind).size(2000), waits);
                assert_eq!(counts(&sim).2, u32::from(is_given), "{kind:?} {waits}");
                sim.run_for(3000);
            }
            assert_eq!(sim.world.pooled.all().len(), usize::from(is_given && (is_seen || !waits)));
        }
    }
    for asked in [Ask::get('b').head(), Ask::get('m').size(40_000), Ask::get('b').pad(600)] {
        for waits in WAITS {
            let mut sim = pooling(36);
            once(&mut sim, 20_000, asked.clone(), waits);
            assert_eq!(counts(&sim).2, 1, "{asked:?}");
        }
    }
}

#[test]
fn a_response_whose_end_cannot_be_seen_ends_with_its_endpoint() {
    let mut sim = pooling(37);
    sim.nodes.get_mut(&endpoint(3, false)).unwrap().manners =
        Manners { idle_close: Some(700), ..Manners::default() };
    let took = once(&mut sim, 20_000, Ask::get('b').kind(Kind::Trailer).size(500), true);
    assert!((700..1500).contains(&took), "{took}");
    assert_eq!(counts(&sim).2, 0);
}

#[test]
fn what_is_lost_comes_again_the_same() {
    type Lost = fn(&Seg, Place) -> bool;
    let cases: [(&str, Lost); 6] = [
        ("the request", |seg, at| at == Place::ToEndpoint && !seg.data.is_empty()),
        ("the response", |seg, at| at == Place::ToClient && !seg.data.is_empty()),
        ("our FIN", |seg, at| at == Place::ToClient && seg.has(FIN)),
        ("what acknowledges it", |seg, at| at == Place::FromClient && seg.data.is_empty()),
        ("the client's FIN", |seg, at| at == Place::FromClient && seg.has(FIN)),
        ("the answer to that", |seg, at| at == Place::ToClient && seg.data.is_empty() && !seg.has(FIN)),
    ];
    for (what, is_it) in cases {
        for waits in WAITS {
            for size in [100, 30_000] {
                let mut sim = pooling(38);
                once(&mut sim, 20_000, Ask::get('b'), false);
                // The third request in vain is the last that goes over the leg.
                let lost = lose(&mut sim, if what == "the request" { 2 } else { 3 }, is_it);
                once(&mut sim, 20_001, Ask::get('b').size(size), waits);
                sim.filter = None;
                assert!(lost.get() > 0, "{what} {waits} {size}");
                sim.run_for(2000);
                once(&mut sim, 20_002, Ask::get('b'), waits);
                assert_eq!(syns(&sim, 3), 1, "{what} {waits} {size}:\n{}", sim.describe());
                let dead = sim.conns.iter().find(|conn| conn.end.death.is_some());
                assert!(dead.is_none(), "{what}: {}", sim.describe());
            }
        }
    }
}

/// What becomes of a segment, with its checksum or with one that is left to the device: what arrives has the right one.
fn through(sim: &Sim, seg: &Seg) -> Vec<Seg> {
    let by = |partial: bool| {
        sim.world.process(seg.packet(partial, false, false), 0);
        let fates = std::mem::take(&mut *sim.world.fates.borrow_mut());
        fates
            .iter()
            .filter_map(|fate| if let Fate::Sent(packet) = fate { Seg::read(packet) } else { None })
            .collect()
    };
    let sent: Vec<Seg> = by(false);
    assert_eq!(sent, by(true));
    sent
}

#[test]
fn a_piece_of_the_request_that_comes_again_says_the_same() {
    for route in ['b', 'm'] {
        let mut sim = pooling(39);
        let asked = Ask::get(route).delay(5000).last();
        sim.dial(from(20_000), vip(), profile(1), steps(asked, false));
        sim.run_for(50);
        let flow = sim.world.flows.all()[0].1;
        let request = sim.log.asked.values().next().unwrap().bytes.clone();
        let at = request.windows(5).position(|five| five == b"close").unwrap();
        let mut told = request.clone();
        told[at..at + 5].fill(b' ');
        let timestamps = Some((flow.client_tsval, flow.sent_tsval));
        for start in at - 3..at + 7 {
            for end in start + 1..request.len().min(at + 9) {
                let seq = flow.request_seq.wrapping_add(start as u32);
                let seg = Seg { timestamps, ..Seg::bare(from(20_000), vip(), ACK, seq, flow.sent_end) };
                let sent = through(&sim, &Seg { data: request[start..end].to_vec(), ..seg });
                assert_eq!(sent.len(), 1, "{start}..{end}");
                assert_eq!(text(&sent[0]).as_bytes(), &told[start..end], "{route} {start}..{end}");
            }
        }
    }
}

#[test]
fn a_piece_of_the_response_that_comes_again_says_the_same() {
    let mut sim = pooling(40);
    let heard = listen(&mut sim);
    sim.dial(from(20_000), vip(), profile(1), steps(Ask::get('b').size(40).last(), false));
    // Nothing that the client says is heard once it is answered.
    while !heard.borrow().iter().any(|(at, seg)| *at == Place::ToClient && !seg.data.is_empty()) {
        assert!(sim.run_next());
    }
    let response = |place: Place| {
        let heard = heard.borrow();
        heard.iter().find(|(at, seg)| *at == place && !seg.data.is_empty()).unwrap().1.clone()
    };
    let told = response(Place::ToClient);
    let flow = sim.world.flows.all()[0].1;
    let said = [&text(&told).replace("close     ", "keep-alive")[..]].concat().into_bytes();
    let at = text(&told).find("close     ").unwrap();
    let key = flow.leg;
    let from =
        (std::net::Ipv4Addr::new(key.source[12], key.source[13], key.source[14], key.source[15]), 8080);
    let to = (vip().ip(), u16::from_be_bytes(key.destination_port));
    let first = flow.leg_end.wrapping_sub(said.len() as u32);
    let timestamps = Some((flow.leg_peer_tsval, flow.client_tsval.wrapping_add(flow.tsval_add)));
    for start in at - 2..at + 12 {
        for end in (start + 1..at + 14).chain([said.len()]) {
            let seq = first.wrapping_add(start as u32);
            let seg = Seg { timestamps, ..Seg::bare(from.into(), to.into(), ACK, seq, flow.leg_ack) };
            let sent = through(&sim, &Seg { data: said[start..end].to_vec(), ..seg });
            assert_eq!(sent.len(), 1, "{start}..{end}");
            assert_eq!(sent[0].data, told.data[start..end], "{start}..{end}");
            assert_eq!(sent[0].has(FIN), end == said.len(), "{start}..{end}");
        }
    }
}

#[test]
fn what_is_behind_a_last_request_is_none() {
    for joined in [false, true] {
        let mut sim = pooling(41);
        let asks = [Ask::get('b').delay(100).last(), Ask::get('b')];
        let script = if joined {
            vec![Step::Send(asks.to_vec(), vec![]), Step::Wait]
        } else {
            asks.into_iter().map(|ask| Step::Send(vec![ask], vec![])).chain([Step::Wait]).collect()
        };
        let number = sim.dial(from(20_000), vip(), profile(1), script);
        sim.client(number).may_be_cut = true;
        sim.run(60_000);
        sim.check();
        if joined {
            // Not decidable: userspace has both.
            continue;
        }
        assert_eq!(sim.client(number).answers.len(), 1);
        assert_eq!(sim.log.done.len(), 1, "nobody had the second one");
        assert_eq!(counts(&sim).1, 0);
    }
}

#[test]
fn a_client_that_resets_behind_its_last_response_leaves_its_leg() {
    for pause in [1, 100] {
        let mut sim = pooling(42);
        let mut script = steps(Ask::get('b').last(), false);
        script.extend([Step::Pause(pause), Step::Abort]);
        sim.dial(from(20_000), vip(), profile(1), script);
        sim.run_for(1500);
        once(&mut sim, 20_001, Ask::get('b'), false);
        assert_eq!((syns(&sim, 3), counts(&sim).1), (1, 1), "{pause}");
    }
}

/// The wire makes of an acknowledgement one of everything: the client has the leg until it has all that was sent.
#[test]
fn a_damaged_acknowledgement_takes_no_leg_from_its_client() {
    let mut sim = pooling(46);
    let lost = lose(&mut sim, 1, |seg, at| at == Place::ToClient && (1..1000).contains(&seg.data.len()));
    let number = sim.dial(from(20_000), vip(), profile(1), steps(Ask::get('b').size(3000).last(), false));
    while lost.get() == 0 {
        assert!(sim.run_next(), "{}", sim.describe());
    }
    sim.run_for(5);
    let flow = sim.world.flows.all()[0].1;
    assert_ne!(flow.client_ack, flow.sent_end);
    let timestamps = Some((flow.client_tsval, flow.sent_tsval));
    let seg = Seg { timestamps, ..Seg::bare(from(20_000), vip(), ACK, flow.client_end, flow.client_ack) };
    let mut damaged = seg.packet(false, false, false);
    damaged.corrupt = true;
    damaged.frame[42..46].copy_from_slice(&flow.sent_end.to_be_bytes());
    sim.world.process(damaged, 0);
    assert!(sim.world.fates.borrow().is_empty() && sim.world.pooled.all().is_empty());
    sim.run(60_000);
    sim.check();
    assert_eq!(sim.client(number).answers.len(), 1, "{}", sim.describe());
}

#[test]
fn a_full_pool_ends_the_leg_and_not_the_client() {
    for waits in WAITS {
        let mut sim = pooling(43);
        sim.world.settings.pool_legs = 1;
        for n in 0..4 {
            let asked = Ask::get('b').delay(100).last();
            sim.dial(from(20_000 + n), vip(), profile(u32::from(n)), steps(asked, waits));
        }
        sim.run_for(2000);
        assert!(sim.is_done(), "{}", sim.describe());
        sim.check();
        assert!(sim.conns.iter().all(|conn| conn.end.name != "client" || conn.end.death.is_none()));
        assert_eq!((sim.world.counted(Reason::PoolFull), counts(&sim).2), (3, 1));
    }
}

#[test]
fn a_port_is_used_again_at_once() {
    let mut sim = pooling(44);
    for turn in 0..10u32 {
        let number =
            sim.dial(from(20_000), vip(), profile(turn * 77_777_777), steps(Ask::get('b').last(), true));
        sim.run_for(600);
        assert!(sim.is_done(), "{turn}: {}", sim.describe());
        assert_eq!(sim.client(number).answers.len(), 1);
    }
    assert_eq!((syns(&sim, 3), counts(&sim).1), (1, 9));
}

#[test]
fn a_fin_of_a_connection_that_is_over_is_answered_as_long_as_it_is_known() {
    let mut sim = pooling(45);
    let heard = listen(&mut sim);
    once(&mut sim, 20_000, Ask::get('b'), false);
    let (_, fin) =
        heard.borrow().iter().find(|(at, seg)| *at == Place::FromClient && seg.has(FIN)).unwrap().clone();
    assert!(sim.world.flows.all().iter().all(|(_, flow)| flow.state != state::SPLICED));
    let sent = through(&sim, &fin);
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].flags, sent[0].seq, sent[0].ack), (ACK, fin.ack, fin.seq.wrapping_add(1)));
    let other = Seg { src: from(20_001), ..fin };
    assert!(through(&sim, &other).iter().all(|seg| seg.has(RST)), "not one of ours");
}

#[test]
fn a_client_that_waits_for_the_end_leaves_nothing_behind() {
    for waits in [false, true] {
        let mut sim = pooling(59);
        for n in 0..10 {
            let mut steps = vec![Step::Send(vec![Ask::get('b').last()], vec![]), Step::Wait];
            if waits {
                steps.push(Step::End);
            }
            sim.dial(from(20_000 + n), vip(), profile(u32::from(n)), steps);
            sim.run_for(50);
            assert!(sim.is_done(), "{}", sim.describe());
            assert!(sim.world.flows.all().is_empty(), "{waits} {n}");
        }
        sim.check();
        assert_eq!(counts(&sim).1, 9, "{waits}");
    }
}

/// On a port that was used before, the first request is lost, and the client's FIN comes without it.
fn fin_without_its_request(mut sim: Sim) {
    let lost = lose(&mut sim, 1, |seg, at| at == Place::FromClient && !seg.data.is_empty());
    let steps = vec![Step::Send(vec![Ask::get('b')], vec![]), Step::Shut, Step::Wait];
    let number = sim.dial(from(20_000), vip(), profile(77_777_777), steps);
    sim.run(60_000);
    sim.check();
    assert_eq!((lost.get(), sim.client(number).answers.len()), (1, 1), "{}", sim.describe());
}

#[test]
fn the_last_fin_of_a_connection_is_not_another_ones() {
    let mut sim = pooling(70);
    once(&mut sim, 20_000, Ask::get('b'), true);
    sim.run_for(1500);
    fin_without_its_request(sim);
    // The agent ends the first connection, and its client answers.
    let mut sim = plain(70);
    let steps = vec![Step::Send(vec![Ask::get('b')], vec![]), Step::Wait, Step::End];
    sim.dial(from(20_000), vip(), profile(1), steps);
    sim.run_for(500);
    let (key, mut flow) = sim.world.flows.all()[0];
    sim.world.legs.remove(&flow.leg);
    end_for(&mut flow);
    flow.began = sim.now;
    sim.world.flows.remove(&key);
    assert!(sim.world.flows.insert(&key, flow));
    let timestamps = Some((flow.sent_tsval, flow.client_tsval));
    let seq = flow.sent_end.wrapping_sub(1);
    let fin = Seg { timestamps, ..Seg::bare(vip(), from(20_000), FIN | ACK, seq, flow.client_end) };
    sim.forge(&fin);
    sim.run_for(1500);
    assert!(sim.is_done() && sim.world.flows.all().is_empty(), "{}", sim.describe());
    fin_without_its_request(sim);
}
