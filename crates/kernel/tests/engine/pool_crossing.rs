//! What an endpoint says over a leg of the pool before it has a byte of the request that is on its way there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::apps::{Manners, Step};
use crate::basics::{from, plain};
use crate::http::{Ask, Kind};
use crate::net::endpoint;
use crate::packet::{ACK, FIN, RST, SYN, Seg};
use crate::pool::{ask, counts, once, pooling, syns};
use crate::sim::{Place, Sim, profile, vip};
use crate::tcp::MS;

/// A client whose first request is on its way over a pooled leg.
fn on_its_way(seed: u64, steps: Vec<Step>) -> (Sim, usize) {
    let mut sim = pooling(seed);
    once(&mut sim, 20_000, Ask::get('b'));
    // All is acknowledged: an endpoint that waits for that does not close.
    sim.run_for(500);
    let leg = sim.world.pooled.all()[0].0;
    assert_eq!(leg.source_port, 8080u16.to_be_bytes());
    let asked = Rc::new(Cell::new(false));
    let is_asked = asked.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        is_asked.set(is_asked.get() || at == Place::ToEndpoint && !seg.data.is_empty());
        false
    }));
    let number = sim.dial(from(20_001), vip(), profile(7), steps);
    while !asked.get() {
        assert!(sim.run_next(), "{}", sim.describe());
    }
    sim.filter = None;
    (sim, number)
}

/// The same, when the endpoint says `farewell` over the leg, at its next idle moment.
fn crossing(seed: u64, steps: Vec<Step>, farewell: Manners) -> (Sim, usize) {
    let (mut sim, number) = on_its_way(seed, steps);
    sim.may_repeat = farewell.unsolicited.is_some();
    sim.farewell(endpoint(3, false), farewell);
    (sim, number)
}

const SAYS_408: Manners =
    Manners { idle_close: None, says_so: true, unsolicited: None, resets: false, is_rude: false };
const SURPLUS: Manners = Manners { says_so: false, unsolicited: Some(0), ..SAYS_408 };

#[test]
fn a_request_that_crosses_an_endpoints_end_is_bound_anew() {
    for manners in [Manners::default(), Manners { resets: true, ..Manners::default() }, SAYS_408, SURPLUS] {
        let (mut sim, number) = crossing(8, ask(Ask::get('b')).to_vec(), manners);
        sim.run(60_000);
        sim.check();
        assert_eq!(sim.client(number).answers.len(), 1, "{}", sim.describe());
        assert_eq!((syns(&sim, 3), counts(&sim).1), (2, 1), "{manners:?}");
    }
}

/// The client is told to ask again, and reads nothing that was another's.
fn ends_without_an_answer(mut sim: Sim, number: usize) {
    sim.client(number).may_be_cut = true;
    sim.run(60_000);
    sim.check();
    assert!(sim.client(number).answers.is_empty() && sim.conns[number].end.received.is_empty());
    assert!(sim.conns[number].end.death.is_some(), "{}", sim.describe());
    assert!(sim.world.flows.all().is_empty() && sim.world.pooled.all().is_empty());
}

#[test]
fn what_crosses_two_pipelined_requests_is_no_answer() {
    for manners in [SAYS_408, SURPLUS] {
        let send = || Step::Send(vec![Ask::get('b')], vec![]);
        let (sim, number) = crossing(51, vec![send(), send(), Step::Wait], manners);
        ends_without_an_answer(sim, number);
    }
}

#[test]
fn what_crosses_a_request_and_its_clients_end_is_no_answer() {
    for manners in [SAYS_408, SURPLUS] {
        let steps = vec![Step::Send(vec![Ask::get('b').delay(600)], vec![]), Step::Shut, Step::Wait];
        let (sim, number) = crossing(53, steps, manners);
        ends_without_an_answer(sim, number);
    }
}

#[test]
fn what_an_acknowledgement_of_the_request_overtakes_is_no_answer() {
    let (mut sim, number) = crossing(54, ask(Ask::get('b').delay(600)).to_vec(), SURPLUS);
    let (late, overtaken): (Rc<RefCell<Option<Seg>>>, _) = (Rc::default(), Rc::new(Cell::new(false)));
    let (into, is_overtaken) = (late.clone(), overtaken.clone());
    sim.filter = Some(Box::new(move |seg, at, _| {
        if at != Place::FromEndpoint {
            return false;
        }
        let is_late = !seg.data.is_empty() && into.borrow().is_none();
        if is_late {
            into.replace(Some(seg.clone()));
        }
        is_overtaken.set(is_overtaken.get() || seg.data.is_empty() && seg.flags == ACK);
        is_late
    }));
    while !overtaken.get() {
        assert!(sim.run_next(), "{}", sim.describe());
    }
    sim.run_for(2);
    sim.filter = None;
    let seg = late.take().unwrap();
    sim.forge(&seg);
    ends_without_an_answer(sim, number);
}

/// The end of the first response cannot be seen, and its rest is under way when the next request is.
#[test]
fn the_rest_of_a_response_that_a_request_crosses_is_the_clients() {
    for kind in [Kind::Odd, Kind::Trailer] {
        for thirds in 0..60u64 {
            let mut sim = pooling(55);
            once(&mut sim, 20_000, Ask::get('b'));
            sim.run_for(300);
            sim.now += thirds % 3 * MS / 3;
            let steps = vec![
                Step::Send(vec![Ask::get('b').kind(kind).delay(300).size(600)], vec![]),
                Step::Pause(590 + thirds / 3),
                Step::Send(vec![Ask::get('b')], vec![]),
                Step::Wait,
            ];
            let number = sim.dial(from(20_001), vip(), profile(7), steps);
            sim.client(number).may_be_cut = true;
            sim.run(60_000);
            sim.check();
            assert_eq!((sim.client(number).answers.len(), counts(&sim).1), (2, 1), "{kind:?} {thirds}");
        }
    }
}

/// The server of the newest leg to e3.
fn server(sim: &Sim) -> usize {
    sim.conns.iter().rposition(|conn| conn.end.name == "e3").unwrap()
}

#[test]
fn a_body_that_comes_late_goes_to_no_other_client() {
    let mut sim = pooling(60);
    once(&mut sim, 20_000, Ask::get('b').head());
    let number = sim.dial(from(20_001), vip(), profile(3), ask(Ask::get('b').delay(400)).to_vec());
    sim.run_for(100);
    let server = server(&sim);
    sim.conns[server].end.write(b"the body behind the response to a HEAD\r\n\r\n");
    ends_without_an_answer(sim, number);
}

/// On a client's own leg the endpoint answers the second request before it has a byte of it; and once more when the next client is there.
#[test]
fn a_leg_with_an_early_answer_goes_to_no_other_client() {
    let mut sim = pooling(66);
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        count.set(count.get() + u32::from(at == Place::ToEndpoint && !seg.data.is_empty()));
        false
    }));
    let second = ask(Ask::get('b').delay(700));
    let steps = [&ask(Ask::get('b'))[..], &second, &[Step::Pause(100), Step::Abort]].concat();
    sim.dial(from(20_000), vip(), profile(1), steps);
    while asked.get() < 2 {
        assert!(sim.run_next());
    }
    sim.filter = None;
    sim.may_repeat = true;
    let (server, body) = (server(&sim), crate::http::body(2, 100));
    let head = b"HTTP/1.1 200 OK\r\nX-Id: 2\r\nX-By: e3\r\nContent-Length: 100\r\n\r\n";
    sim.conns[server].end.write(&[&head[..], &body].concat());
    sim.run_for(200);
    assert!(sim.is_done() && sim.world.pooled.all().is_empty(), "{}", sim.describe());
    let number = sim.dial(from(20_001), vip(), profile(3), ask(Ask::get('b').delay(1500)).to_vec());
    sim.run(30_000);
    sim.check();
    assert_eq!((sim.client(number).answers.len(), counts(&sim).1), (1, 0), "{}", sim.describe());
}

#[test]
fn a_leg_of_a_client_that_pipelined_goes_to_no_other() {
    let mut sim = pooling(67);
    let send = || Step::Send(vec![Ask::get('b').delay(100)], vec![]);
    let pipelined = vec![send(), Step::Pause(50), send(), Step::Wait];
    for (port, steps) in [(20_000, pipelined), (20_001, vec![send(), Step::Wait])] {
        sim.dial(from(port), vip(), profile(1), steps);
        sim.run_for(500);
        assert!(sim.is_done(), "{}", sim.describe());
    }
    sim.check();
    assert_eq!((syns(&sim, 3), counts(&sim).1), (2, 0));
}

/// An answer that nobody asked for, with so long a body.
fn unasked(len: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nX-Id: 0\r\nX-By: nobody\r\nContent-Length: {len}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; len]].concat()
}

#[test]
fn what_follows_a_lost_surplus_gives_it_away() {
    let (mut sim, number) = on_its_way(72, ask(Ask::get('b').delay(600)).to_vec());
    sim.may_repeat = true;
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let is_lost = at == Place::FromEndpoint && !seg.data.is_empty() && count.get() == 0;
        count.set(count.get() + u32::from(is_lost));
        is_lost
    }));
    let server = server(&sim);
    // Two segments.
    sim.conns[server].end.write(&unasked(2500));
    sim.run(60_000);
    sim.check();
    assert_eq!((lost.get(), sim.client(number).answers.len()), (1, 1), "{}", sim.describe());
    assert_eq!(syns(&sim, 3), 2, "the request was bound anew");
}

/// More than was asked for overtakes the answer before it, and comes again when the next client has asked.
#[test]
fn what_overtook_the_answer_before_it_is_no_answer() {
    let mut sim = pooling(74);
    sim.may_repeat = true;
    let kept: Rc<RefCell<Option<Seg>>> = Rc::default();
    let into = kept.clone();
    let only = Cell::new(2);
    sim.filter = Some(Box::new(move |seg, at, _| {
        // The answer waits, and what is behind it is lost.
        let is_it = at == Place::FromEndpoint && !seg.data.is_empty() && only.get() > 0;
        if is_it {
            only.set(only.get() - 1);
            into.borrow_mut().get_or_insert_with(|| seg.clone());
        }
        is_it && only.get() == 1
    }));
    sim.dial(from(20_000), vip(), profile(1), ask(Ask::get('b')).to_vec());
    while kept.borrow().is_none() {
        assert!(sim.run_next());
    }
    let server = server(&sim);
    sim.conns[server].end.write(&unasked(3));
    sim.run_for(5);
    let answer = kept.take().unwrap();
    sim.forge(&answer);
    sim.run_for(20);
    sim.filter = None;
    let number = sim.dial(from(20_001), vip(), profile(3), ask(Ask::get('b').delay(1500)).to_vec());
    sim.run(30_000);
    sim.check();
    assert_eq!(sim.client(number).answers.len(), 1, "{}", sim.describe());
    assert_eq!(counts(&sim).1, 0);
}

/// As Linux joins what it repeats: the end of an answer whose acknowledgement came with a FIN, and what was written since.
#[test]
fn a_surplus_behind_the_end_of_the_last_answer_is_no_answer() {
    let (mut sim, number) = on_its_way(73, ask(Ask::get('b').delay(600)).to_vec());
    sim.may_repeat = true;
    let kept: Rc<RefCell<Option<Seg>>> = Rc::default();
    let into = kept.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        let is_it = at == Place::FromEndpoint && !seg.data.is_empty() && into.borrow().is_none();
        if is_it {
            into.replace(Some(seg.clone()));
        }
        is_it
    }));
    let server = server(&sim);
    let said = sim.conns[server].end.written().to_vec();
    sim.conns[server].end.write(&unasked(3));
    sim.run_for(0);
    sim.filter = None;
    let seg = kept.take().unwrap();
    let joined = [&said[said.len() - 40..], &seg.data].concat();
    sim.forge(&Seg { seq: seg.seq.wrapping_sub(40), data: joined, ..seg });
    sim.run(60_000);
    sim.check();
    assert_eq!(sim.client(number).answers.len(), 1, "{}", sim.describe());
}

/// A surplus of the endpoint meets another CPU at step `k` of the program that takes a leg, or gives it. How many legs were given or taken.
fn beside(gives: bool, k: usize) -> u32 {
    let mut sim = pooling(61);
    if !gives {
        once(&mut sim, 20_000, Ask::get('b'));
        sim.run_for(300);
    }
    let kept: Rc<RefCell<Option<Seg>>> = Rc::default();
    // The first segment at `place` with what is wanted, which is lost.
    let catch = |place: Place, is_wanted: fn(&Seg) -> bool| -> crate::sim::Filter {
        let into = kept.clone();
        Box::new(move |seg, at, _| {
            let is_it = at == place && is_wanted(seg) && into.borrow().is_none();
            if is_it {
                into.replace(Some(seg.clone()));
            }
            is_it
        })
    };
    sim.filter =
        Some(catch(Place::FromClient, if gives { |seg| seg.has(FIN) } else { |seg| !seg.data.is_empty() }));
    let asked = Ask::get('b').delay(if gives { 0 } else { 600 });
    let number = sim.dial(from(20_001), vip(), profile(7), ask(asked).to_vec());
    while kept.borrow().is_none() {
        assert!(sim.run_next());
    }
    let segment = kept.take().unwrap();
    sim.filter = Some(catch(Place::FromEndpoint, |seg| !seg.data.is_empty()));
    let server = server(&sim);
    let surplus = b"HTTP/1.1 200 OK\r\nX-Id: 0\r\nX-By: nobody\r\nContent-Length: 3\r\n\r\nabc";
    sim.conns[server].end.write(surplus);
    sim.run_for(0);
    let said = kept.take().unwrap();
    sim.filter = None;
    sim.may_repeat = true;
    // What a stranger resets stands for nothing.
    let nothing = || Seg::bare(from(9), vip(), RST, 1, 0).packet(false, false, false);
    let before = counts(&sim);
    sim.world.beside.borrow_mut().extend((0..k).map(|_| nothing()));
    sim.world.beside.borrow_mut().push_back(said.packet(false, false, false));
    sim.world.races.set(100);
    sim.client(number).may_be_cut = true;
    sim.gateway(segment.packet(false, false, false));
    sim.world.races.set(0);
    let after = counts(&sim);
    if gives {
        let next = sim.dial(from(20_002), vip(), profile(8), ask(Ask::get('b').delay(600)).to_vec());
        sim.client(next).may_be_cut = true;
    }
    sim.run(60_000);
    sim.check();
    if gives { after.2 - before.2 } else { after.1 - before.1 }
}

#[test]
fn what_is_said_while_a_leg_is_given_or_taken_is_no_answer() {
    for gives in [false, true] {
        let moved: u32 = (0..60).map(|k| beside(gives, k)).sum();
        assert!((1..60).contains(&moved), "{gives}: it was said at the right time {moved} times of 60");
    }
}

/// A POST is done over a leg, its client's own or one of the pool. Its answer is lost, and its endpoint knows no connection from then on;
/// that it resets this one is lost, too, if `is_silent`.
fn done_and_forgotten(pools: bool, is_silent: bool) {
    let steps = ask(Ask::post('b', 50)).to_vec();
    let (mut sim, number) = if pools {
        on_its_way(80, steps)
    } else {
        let mut sim = plain(80);
        let number = sim.dial(from(20_001), vip(), profile(7), steps);
        (sim, number)
    };
    sim.filter = Some(Box::new(move |seg, at, _| {
        at == Place::FromEndpoint && !seg.has(SYN) && (is_silent || !seg.has(RST))
    }));
    sim.run_for(50);
    let server = server(&sim);
    sim.conns[server].end.abort();
    sim.run_for(2);
    sim.filter = None;
    assert_eq!(sim.log.done.len(), 1 + usize::from(pools));
    ends_without_an_answer(sim, number);
}

#[test]
fn what_may_have_been_done_and_must_not_be_twice_is_not_bound_anew() {
    for (pools, is_silent) in [(false, false), (false, true), (true, false), (true, true)] {
        done_and_forgotten(pools, is_silent);
    }
}

/// An endpoint that knows nothing of the leg, and has said so to nobody, answers the first copy of a POST.
#[test]
fn what_was_not_done_is_bound_anew_whatever_it_is() {
    let mut sim = pooling(81);
    once(&mut sim, 20_000, Ask::get('b'));
    sim.run_for(300);
    sim.filter = Some(Box::new(|_, at, _| at == Place::FromEndpoint));
    let server = server(&sim);
    sim.conns[server].end.abort();
    sim.run_for(5);
    sim.filter = None;
    assert_eq!(once(&mut sim, 20_001, Ask::post('b', 50)), "e3");
    assert_eq!((syns(&sim, 3), counts(&sim).1), (2, 1));
}
