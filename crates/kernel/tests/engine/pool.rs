//! Legs that are left by one client and taken up by the next: never with a byte between them that is not accounted for.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use wire::Reason;

use crate::apps::{Manners, Step};
use crate::basics::{from, plain, sim};
use crate::http::{Ask, Kind};
use crate::net::{endpoint, tables_draining, tables_removed};
use crate::packet::{ACK, FIN, RST, Seg};
use crate::random::Random;
use crate::sim::{Door, Place, Sim, profile, vip};
use crate::tcp::{Death, MS, Profile};

/// How long legs wait, in ms.
pub(crate) const IDLE: u64 = 4000;

/// A model whose legs are pooled.
pub(crate) fn pooling(seed: u64) -> Sim {
    let mut sim = plain(seed);
    turn_on(&mut sim);
    sim
}

fn turn_on(sim: &mut Sim) {
    sim.world.settings.pool_idle = IDLE * MS;
    sim.world.settings.pool_legs = 64;
}

pub(crate) fn ask(ask: Ask) -> [Step; 2] {
    [Step::Send(vec![ask], vec![]), Step::Wait]
}

/// One connection for the request; who answered.
pub(crate) fn once(sim: &mut Sim, port: u16, asked: Ask) -> String {
    once_as(sim, from(port), profile(u32::from(port) << 10), asked)
}

fn once_as(sim: &mut Sim, client: SocketAddr, profile: Profile, asked: Ask) -> String {
    let number = sim.dial(client, vip(), profile, ask(asked).to_vec());
    for _ in 0..60 {
        if sim.is_done() {
            break;
        }
        sim.run_for(100);
    }
    assert!(sim.is_done(), "not through:\n{}", sim.describe());
    sim.check();
    sim.client(number).answers[0].1.clone()
}

pub(crate) fn syns(sim: &Sim, n: u8) -> u32 {
    sim.nodes[&endpoint(n, false)].syns
}

pub(crate) fn counts(sim: &Sim) -> (u32, u32, u32) {
    (
        sim.world.counted(Reason::Bound),
        sim.world.counted(Reason::Pooled),
        sim.world.counted(Reason::LegPooled),
    )
}

/// What passes at `place`.
fn listen(sim: &mut Sim, place: Place) -> Rc<std::cell::RefCell<Vec<Seg>>> {
    let heard = Rc::new(std::cell::RefCell::new(vec![]));
    let into = heard.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        if at == place {
            into.borrow_mut().push(seg.clone());
        }
        false
    }));
    heard
}

#[test]
fn one_leg_serves_clients_one_after_the_other() {
    let mut sim = pooling(1);
    for port in 0..20 {
        assert_eq!(once(&mut sim, 20_000 + port, Ask::get('b').size(3000)), "e3");
    }
    assert_eq!((syns(&sim, 3), counts(&sim)), (1, (1, 19, 20)));
    assert!(sim.world.flows.all().is_empty(), "clients are through");
    assert!(sim.conns.iter().all(|conn| conn.end.too_old == 0), "time runs forward on the leg");
    sim.run_for(IDLE + 3000);
    assert!(sim.world.pooled.all().is_empty() && sim.world.legs.all().is_empty());
}

#[test]
fn every_kind_of_response_with_an_end_that_is_seen_leaves_a_leg_behind() {
    for (kind, is_pooled) in [
        (Kind::Length, true),
        (Kind::Chunked, true),
        (Kind::NoContent, true),
        (Kind::NotModified, true),
        (Kind::Hints, true),
        (Kind::Trailer, false),
        (Kind::Last, false),
        (Kind::UntilClose, false),
        (Kind::Unauthorized, false),
    ] {
        let mut sim = pooling(2);
        once(&mut sim, 20_000, Ask::get('b').kind(kind).size(2000));
        once(&mut sim, 20_001, Ask::get('b'));
        assert_eq!(counts(&sim).1, u32::from(is_pooled), "{kind:?}");
        assert_eq!(syns(&sim, 3), 2 - u32::from(is_pooled), "{kind:?}");
    }
    for asked in [Ask::get('b').head(), Ask::post('b', 300), Ask::get('m'), Ask::get('b').pad(600)] {
        let mut sim = pooling(3);
        once(&mut sim, 20_000, asked.clone());
        once(&mut sim, 20_001, asked.clone());
        assert_eq!(counts(&sim).1, 1, "{asked:?}");
    }
}

#[test]
fn what_was_in_doubt_once_stays_in_doubt() {
    for kind in [Kind::Trailer, Kind::Unauthorized] {
        let mut sim = pooling(4);
        let steps = [ask(Ask::get('b').kind(kind)), ask(Ask::get('b')), ask(Ask::get('b'))].concat();
        sim.dial(from(20_000), vip(), profile(1), steps);
        sim.run(60_000);
        sim.check();
        assert_eq!(counts(&sim).2, 0, "{kind:?}");
    }
}

#[test]
fn a_leg_goes_on_only_with_a_client_of_the_same_kind() {
    let first = profile(5);
    let others = [
        Profile { mss: 1300, ..first },
        Profile { scale: Some(8), ..first },
        Profile { scale: None, ..first },
        Profile { sack: false, ..first },
        Profile { timestamps: false, ..first },
    ];
    for other in others {
        let mut sim = pooling(5);
        once_as(&mut sim, from(20_000), first, Ask::get('b'));
        once_as(&mut sim, from(20_001), other, Ask::get('b'));
        assert_eq!(syns(&sim, 3), 2, "{other:?}");
        once_as(&mut sim, from(20_002), first, Ask::get('b'));
        once_as(&mut sim, from(20_003), other, Ask::get('b'));
        assert_eq!((syns(&sim, 3), counts(&sim).1), (2, 2), "each has its own");
    }
}

#[test]
fn an_endpoint_that_ends_an_idle_leg_is_not_asked_by_it() {
    for resets in [false, true] {
        let mut sim = pooling(6);
        let manners = Manners { idle_close: Some(300), resets, ..Manners::default() };
        sim.nodes.get_mut(&endpoint(3, false)).unwrap().manners = manners;
        for port in 0..3 {
            assert_eq!(once(&mut sim, 20_000 + port, Ask::get('b')), "e3");
            sim.run_for(1000);
            assert!(sim.world.pooled.all().is_empty() && sim.world.legs.all().is_empty());
        }
        assert_eq!((syns(&sim, 3), sim.world.counted(Reason::PoolEnded)), (3, 3));
        assert_eq!(counts(&sim).1, 0);
    }
}

#[test]
fn a_response_that_the_endpoint_repeats_is_acknowledged_for_its_client() {
    let mut sim = pooling(9);
    // All that the client acknowledges is lost, but the end of the connection, which is not the endpoint's to see.
    sim.filter =
        Some(Box::new(|seg, at, _| at == Place::ToEndpoint && seg.data.is_empty() && seg.flags == ACK));
    let number = sim.dial(from(20_000), vip(), profile(1), ask(Ask::get('b')).to_vec());
    sim.run_for(100);
    assert!(sim.is_done());
    assert_eq!((sim.client(number).answers.len(), counts(&sim).2), (1, 1));
    let server = sim.conns.iter().position(|conn| conn.end.name == "e3").unwrap();
    assert!(!sim.conns[server].end.is_acked());
    sim.filter = None;
    sim.run_for(1000);
    assert!(sim.conns[server].end.is_acked(), "{}", sim.describe());
    once(&mut sim, 20_001, Ask::get('b'));
    assert_eq!((syns(&sim, 3), counts(&sim).1), (1, 1));
}

#[test]
fn a_lost_request_is_repeated_over_the_leg_of_the_pool() {
    let mut sim = pooling(10);
    once(&mut sim, 20_000, Ask::get('b'));
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let is_lost = at == Place::ToEndpoint && !seg.data.is_empty() && count.get() < 2;
        count.set(count.get() + u32::from(is_lost));
        is_lost
    }));
    assert_eq!(once(&mut sim, 20_001, Ask::get('b').size(9000)), "e3");
    assert_eq!((lost.get(), syns(&sim, 3), counts(&sim).1), (2, 1, 1));
}

#[test]
fn a_probe_of_the_endpoint_is_answered() {
    let mut sim = pooling(11);
    once(&mut sim, 20_000, Ask::get('b'));
    let heard = listen(&mut sim, Place::ToEndpoint);
    let server = sim.conns.iter().position(|conn| conn.end.name == "e3").unwrap();
    sim.conns[server].end.probe();
    sim.run_for(50);
    let leg = sim.world.pooled.all()[0].1;
    let answers: Vec<_> = heard.borrow().iter().map(|seg| (seg.flags, seg.seq, seg.ack)).collect();
    assert_eq!(answers, [(ACK, leg.send_next, leg.receive_next)]);
    once(&mut sim, 20_001, Ask::get('b'));
    assert_eq!(counts(&sim).1, 1);
}

#[test]
fn a_clients_end_comes_again_and_is_answered_again() {
    let mut sim = pooling(12);
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let is_lost = at == Place::ToClient && seg.has(FIN) && count.get() < 2;
        count.set(count.get() + u32::from(is_lost));
        is_lost
    }));
    once(&mut sim, 20_000, Ask::get('b'));
    assert_eq!((lost.get(), counts(&sim).2), (2, 1));
    assert!(sim.world.flows.all().is_empty());
}

#[test]
fn a_client_that_resets_leaves_its_leg_behind() {
    let mut sim = pooling(13);
    let steps = [&ask(Ask::get('b'))[..], &[Step::Pause(100), Step::Abort]].concat();
    sim.dial(from(20_000), vip(), profile(1), steps);
    sim.run_for(300);
    assert!(sim.world.flows.all().is_empty());
    once(&mut sim, 20_001, Ask::get('b'));
    assert_eq!((syns(&sim, 3), counts(&sim).1), (1, 1));
}

#[test]
fn an_abort_amid_an_answer_ends_the_leg() {
    let mut sim = pooling(14);
    let steps = vec![Step::Send(vec![Ask::get('b').delay(500)], vec![]), Step::Pause(100), Step::Abort];
    sim.dial(from(20_000), vip(), profile(1), steps);
    sim.run_for(2000);
    assert_eq!(counts(&sim).2, 0);
    assert!(sim.world.pooled.all().is_empty());
}

#[test]
fn a_request_that_leaves_its_leg_leaves_it_to_others() {
    let mut sim = pooling(15);
    let asks = [Ask::get('b'), Ask::get('a'), Ask::get('m'), Ask::get('b'), Ask::get('n'), Ask::get('b')];
    let steps = asks.iter().flat_map(|one| ask(one.clone())).collect();
    sim.dial(from(20_000), vip(), profile(1), steps);
    sim.run(60_000);
    sim.check();
    // a and n may have an endpoint each; b and m have one leg between them.
    assert_eq!(syns(&sim, 3), 1, "{:?}", sim.world.reasons.borrow());
    assert!(syns(&sim, 1) + syns(&sim, 2) <= 2);
}

#[test]
fn no_more_legs_wait_than_are_wanted() {
    let mut sim = pooling(16);
    sim.world.settings.pool_legs = 3;
    let numbers: Vec<usize> = (0..8)
        .map(|n| {
            sim.dial(from(20_000 + n), vip(), profile(u32::from(n)), ask(Ask::get('b').delay(100)).to_vec())
        })
        .collect();
    sim.run_for(1000);
    assert!(sim.is_done());
    sim.check();
    assert!(numbers.iter().all(|n| sim.client(*n).answers.len() == 1));
    assert_eq!(sim.world.pooled.all().len(), 3);
    assert_eq!((sim.world.counted(Reason::PoolFull), counts(&sim).2), (5, 3));
}

#[test]
fn a_leg_waits_for_so_long_and_no_longer() {
    let mut sim = pooling(17);
    once(&mut sim, 20_000, Ask::get('b'));
    sim.run_for(IDLE - 200);
    once(&mut sim, 20_001, Ask::get('b'));
    assert_eq!(counts(&sim).1, 1);
    // Nobody has collected it yet.
    sim.run_for(IDLE + 300);
    assert_eq!(sim.world.pooled.all().len(), 1);
    once(&mut sim, 20_002, Ask::get('b'));
    assert_eq!((counts(&sim).1, syns(&sim, 3)), (1, 2));
}

#[test]
fn an_endpoint_that_is_taken_out_is_not_asked_by_a_leg_that_is_left() {
    for tables in [tables_draining(), tables_removed()] {
        let mut sim = pooling(18);
        for port in 0..12 {
            once(&mut sim, 20_000 + port, Ask::get('a'));
        }
        assert!(syns(&sim, 1) > 0 && syns(&sim, 2) > 0);
        *sim.world.tables.borrow_mut() = tables;
        for port in 0..12 {
            assert_eq!(once(&mut sim, 21_000 + port, Ask::get('a')), "e2");
        }
        sim.run_for(IDLE + 3000);
        assert!(sim.world.pooled.all().is_empty());
    }
}

#[test]
fn weights_hold_for_every_request() {
    let mut sim = pooling(19);
    sim.world.settings.redraw_after = 1;
    let steps = std::iter::repeat_n(ask(Ask::get('w')), 200).flatten().collect();
    let number = sim.dial(from(20_000), vip(), profile(1), steps);
    sim.run(600_000);
    sim.check();
    let by_y = sim.client(number).answers.iter().filter(|(_, by)| by == "e3").count();
    // Half of them, give or take four deviations.
    assert!((72..=128).contains(&by_y), "{by_y}");
    let all = syns(&sim, 1) + syns(&sim, 2) + syns(&sim, 3);
    assert!(all <= 6, "two legs each at most, and not one for each of 200 requests: {all}");
}

#[test]
fn segments_of_somebody_who_guesses_are_not_for_a_leg_that_waits() {
    let mut sim = pooling(20);
    once(&mut sim, 20_000, Ask::get('b'));
    let (key, leg) = sim.world.pooled.all()[0];
    let (ours, theirs) = (
        SocketAddr::from(([10, 0, 0, 1], u16::from_be_bytes(key.destination_port))),
        SocketAddr::from(([10, 1, 0, 3], 8080)),
    );
    let far = leg.receive_next.wrapping_add(1 << 31);
    let heard = listen(&mut sim, Place::ToEndpoint);
    let data = |seq, ack| Seg { data: vec![1], ..Seg::bare(theirs, ours, ACK, seq, ack) };
    for seg in [
        // A window of 64 KB, shifted by 7, is what the client gave: 16 MB may be under way.
        data(leg.receive_next.wrapping_add(1 << 25), leg.send_next),
        data(leg.receive_next.wrapping_sub(1 << 25), leg.send_next),
        data(leg.receive_next, leg.send_next.wrapping_add(1)),
        data(leg.receive_next, leg.send_next.wrapping_sub(1 << 25)),
        Seg::bare(theirs, ours, RST, leg.receive_next.wrapping_add(1), 0),
        Seg::bare(theirs, ours, RST, far, 0),
        Seg::bare(theirs, ours, FIN | ACK, far, leg.send_next),
        Seg::bare(theirs, ours, ACK, leg.receive_next, leg.send_next),
        Seg::bare(theirs, ours, ACK, leg.receive_next, leg.send_next.wrapping_sub(9)),
    ] {
        sim.forge(&seg);
    }
    sim.run_for(50);
    assert_eq!(heard.borrow().len(), 0);
    assert_eq!(once(&mut sim, 20_001, Ask::get('b')), "e3");
    assert_eq!(counts(&sim).1, 1);
}

#[test]
fn nothing_waits_where_nothing_is_to_wait() {
    let mut sim = sim(21);
    for port in 0..5 {
        once(&mut sim, 20_000 + port, Ask::get('b'));
    }
    assert_eq!((syns(&sim, 3), counts(&sim)), (5, (5, 0, 0)));
    assert!(sim.world.legs.all().is_empty());
}

#[test]
fn a_leg_that_was_told_of_its_client_waits_for_nobody() {
    let mut sim = sim(22);
    turn_on(&mut sim);
    for port in 0..6 {
        assert_eq!(once(&mut sim, 20_000 + port, Ask::get('b')), "e3");
        assert_eq!(once(&mut sim, 20_100 + port, Ask::get('b').last()), "e3");
    }
    assert_eq!((syns(&sim, 3), counts(&sim)), (12, (12, 0, 0)));
    // Others do beside it: what leaves a leg of theirs for one that is told, and comes back.
    let asks = [Ask::get('a'), Ask::get('b'), Ask::get('a'), Ask::get('b'), Ask::get('b').last()];
    let steps = asks.iter().flat_map(|one| ask(one.clone())).collect();
    let number = sim.dial(from(20_200), vip(), profile(1), steps);
    sim.run_for(2000);
    sim.check();
    assert_eq!(sim.client(number).answers.len(), 5, "{}", sim.describe());
    assert_eq!((syns(&sim, 3), counts(&sim).1, counts(&sim).2), (14, 1, 2));
    assert!(sim.world.pooled.all().iter().all(|(key, _)| key.source[15] != 3));
}

#[test]
fn an_endpoint_that_is_told_hears_close_and_others_do_not() {
    for (early, refuses) in [(0, false), (100, false), (0, true)] {
        let mut sim = sim(23);
        turn_on(&mut sim);
        sim.world.early.set(early);
        if refuses {
            // The word was taken over for another endpoint, which refuses.
            for n in 1..3 {
                sim.nodes.get_mut(&endpoint(n, false)).unwrap().door = Door::Shut;
            }
        }
        let heard = listen(&mut sim, Place::ToEndpoint);
        for port in 0..8 {
            let route = if refuses { 'w' } else { 'b' };
            let number = sim.dial(
                from(20_000 + port),
                vip(),
                profile(u32::from(port)),
                ask(Ask::get(route).last()).to_vec(),
            );
            sim.run_for(10_000);
            sim.check();
            assert_eq!(sim.client(number).answers.len(), 1, "{}", sim.describe());
        }
        let requests: Vec<_> = heard
            .borrow()
            .iter()
            .filter(|seg| seg.dst.ip() == endpoint(3, false) && !seg.data.is_empty())
            .map(|seg| String::from_utf8_lossy(&seg.data).into_owned())
            .collect();
        assert!(
            !requests.is_empty() && requests.iter().all(|text| text.contains("Connection: close\r\n")),
            "{requests:?}"
        );
        assert_eq!(counts(&sim).2, 0);
    }
}

/// The most failures that an endpoint has.
fn failures(sim: &Sim) -> u32 {
    // SAFETY: the model has one thread.
    sim.world.health.iter().map(|health| unsafe { (*health.get()).failures }).max().unwrap_or(0)
}

/// Eight clients behind an endpoint that died without a word, with legs of it that wait: how many are through, and how often it was asked.
fn died(sim: &mut Sim, first: u16) -> (usize, usize) {
    let gone = endpoint(1, false);
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let is_request = at == Place::ToEndpoint && seg.dst.ip() == gone && !seg.data.is_empty();
        count.set(count.get() + usize::from(is_request));
        seg.src.ip() == gone || seg.dst.ip() == gone
    }));
    sim.nodes.get_mut(&gone).unwrap().door = Door::Dead;
    let numbers: Vec<_> = (0..8)
        .map(|n| sim.dial(from(first + n), vip(), profile(u32::from(n)), ask(Ask::get('a')).to_vec()))
        .collect();
    sim.run_for(20_000);
    sim.check();
    (numbers.iter().filter(|n| sim.client(**n).is_done).count(), asked.get())
}

#[test]
fn an_endpoint_that_died_silently_keeps_nobody() {
    let mut sim = pooling(58);
    for n in 0..12 {
        once(&mut sim, 20_000 + n, Ask::get('a'));
    }
    assert!(syns(&sim, 1) > 0);
    let (through, asked) = died(&mut sim, 21_000);
    // The request and two repetitions of it over each leg that waited.
    assert_eq!((through, asked % 3), (8, 0));
    assert!(asked > 0, "no leg of it waited");
    assert!(failures(&sim) > 0, "nobody else would know");
}

#[test]
fn one_blind_segment_ends_no_leg() {
    let random = Random::new(9);
    let mut sim = pooling(64);
    once(&mut sim, 20_000, Ask::get('b'));
    let (key, _) = sim.world.pooled.all()[0];
    let ours = SocketAddr::from(([10, 0, 0, 1], u16::from_be_bytes(key.destination_port)));
    let theirs = SocketAddr::from(([10, 1, 0, 3], 8080));
    // One in 2^17 would.
    for _ in 0..2000 {
        let bare = Seg::bare(theirs, ours, ACK, random.next() as u32, random.next() as u32);
        sim.world.process(Seg { data: vec![1], ..bare }.packet(false, false, false), 0);
    }
    sim.world.fates.borrow_mut().clear();
    assert_eq!(sim.world.pooled.all().len(), 1);
    assert_eq!(once(&mut sim, 20_001, Ask::get('b')), "e3");
    assert_eq!(counts(&sim).1, 1);
}

/// An endpoint that was out of use is tried by a SYN: a leg that waits would not show that it takes new ones.
#[test]
fn an_endpoint_heals_however_long_legs_wait() {
    for idle in [1000, 4000, 30_000] {
        let mut sim = pooling(65);
        sim.world.settings.pool_idle = idle * MS;
        sim.world.settings.eject_after = 3;
        sim.world.settings.eject_for = 10_000 * MS;
        for n in 0..12 {
            once(&mut sim, 20_000 + n, Ask::get('a'));
        }
        sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = Door::Shut;
        for n in 0..20 {
            let steps = ask(Ask::get('a').delay(500)).to_vec();
            sim.dial(from(21_000 + n), vip(), profile(u32::from(n)), steps);
        }
        sim.run_for(3000);
        assert!(sim.is_done());
        assert!(failures(&sim) > 2, "{idle}");
        sim.nodes.get_mut(&endpoint(1, false)).unwrap().door = Door::Open;
        for n in 0..10u16 {
            sim.run_for(5000);
            for m in 0..4 {
                once(&mut sim, 22_000 + 10 * n + m, Ask::get('a'));
            }
        }
        assert!(failures(&sim) <= 2, "{idle}");
        let by_it = (0..40).filter(|n| once(&mut sim, 23_000 + n, Ask::get('a')) == "e1").count();
        assert!(by_it >= 10, "{idle}: {by_it} of 40");
    }
}

/// Clients that leave with a segment that says another time than theirs, or none: the next one is heard all the same.
#[test]
fn a_leg_keeps_its_own_time() {
    // As BSD resets, and as nobody does.
    let ends: [(u8, Option<u32>); 2] = [(RST | ACK, None), (FIN | ACK, Some(0x6000_0000))];
    for (flags, leap) in ends {
        let mut sim = pooling(71);
        // Clocks of the upper half.
        for (port, clock) in [(20_000, 0xc000_0000), (20_001, 0xa000_0000u32)] {
            let steps = [&ask(Ask::get('b'))[..], &[Step::Pause(100_000), Step::Probe]].concat();
            let number = sim.dial(from(port), vip(), profile(clock ^ 0x5555_0000), steps);
            sim.run_for(200);
            assert_eq!(sim.client(number).answers.len(), 1, "{}", sim.describe());
            let flow = sim.world.flows.all()[0].1;
            let timestamps = leap.map(|leap| (flow.client_tsval.wrapping_add(leap), flow.sent_tsval));
            let end =
                Seg { timestamps, ..Seg::bare(from(port), vip(), flags, flow.client_end, flow.sent_end) };
            sim.forge(&end);
            let client = sim.client(number);
            client.steps.clear();
            client.is_done = true;
            sim.conns[number].end.death = Some(Death::Aborted);
            sim.run_for(200);
        }
        let number = sim.dial(from(20_002), vip(), profile(5), ask(Ask::post('b', 10)).to_vec());
        sim.run_for(700);
        assert_eq!(sim.client(number).answers.len(), 1, "{flags} {}", sim.describe());
        assert_eq!((syns(&sim, 3), counts(&sim).1), (1, 2), "{flags}");
    }
}

/// A firewall between that has forgotten what was idle: the endpoint takes new connections, and stays in use.
#[test]
fn legs_that_nobody_hears_take_no_endpoint_out() {
    let mut sim = pooling(59);
    sim.world.settings.eject_after = 3;
    sim.world.settings.eject_for = 10_000 * MS;
    let all_at_once = |sim: &mut Sim, first: u16| {
        let steps = || ask(Ask::get('b').delay(100)).to_vec();
        (0..4).map(|n| sim.dial(from(first + n), vip(), profile(u32::from(n)), steps())).collect::<Vec<_>>()
    };
    all_at_once(&mut sim, 20_000);
    sim.run_for(500);
    let legs: Vec<[u8; 2]> = sim.world.pooled.all().iter().map(|(key, _)| key.destination_port).collect();
    assert_eq!(legs.len(), 4);
    sim.filter = Some(Box::new(move |seg, at, _| {
        at == Place::ToEndpoint && legs.contains(&seg.src.port().to_be_bytes())
    }));
    let numbers = all_at_once(&mut sim, 21_000);
    sim.run_for(5000);
    sim.check();
    for number in numbers {
        let by: Vec<String> = sim.client(number).answers.iter().map(|answer| answer.1.clone()).collect();
        assert_eq!(by, ["e3"], "{}", sim.describe());
    }
}
