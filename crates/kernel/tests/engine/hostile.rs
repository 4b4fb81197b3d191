//! Segments of somebody who guesses, and late copies: they neither end a connection nor act twice.

use std::cell::RefCell;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;

use dataplane::cookie;
use wire::{Flow, Reason, TcpOptions};

use crate::apps::Step;
use crate::basics::{from, sim};
use crate::http::Ask;
use crate::packet::{ACK, FIN, RST, SYN, Seg};
use crate::sim::{Place, Sim, profile, vip};
use crate::world::tuple;

fn send(ask: Ask) -> Step {
    Step::Send(vec![ask], vec![])
}

/// A connection whose first request takes its time.
fn busy(seed: u64) -> (Sim, usize) {
    let mut sim = sim(seed);
    let steps = vec![send(Ask::get('b').delay(900)), Step::Wait, send(Ask::get('b')), Step::Wait];
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    sim.run_for(50);
    (sim, client)
}

fn flow(sim: &Sim) -> Flow {
    sim.world.flows.all()[0].1
}

/// What goes to the client from now on.
fn listen(sim: &mut Sim) -> Rc<RefCell<Vec<Seg>>> {
    let heard = Rc::new(RefCell::new(vec![]));
    let into = heard.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        if at == Place::ToClient {
            into.borrow_mut().push(seg.clone());
        }
        false
    }));
    heard
}

fn forged(flags: u8, seq: u32, ack: u32) -> Seg {
    Seg::bare(from(40_000), vip(), flags, seq, ack)
}

/// The first segment of a connection that began with `isn`: its cookie is right.
fn guessed(sim: &Sim, isn: u32) -> Seg {
    let options = TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK };
    let tuple = tuple(from(40_000), vip());
    let cookie = cookie::make(&sim.world.settings.cookie_key, &tuple, isn, options, sim.now);
    let data = b"GET /b?i=99 HTTP/1.1\r\nHost: t\r\n\r\n".to_vec();
    Seg { data, ..forged(ACK, isn.wrapping_add(1), cookie.wrapping_add(1)) }
}

fn assert_answered(sim: &mut Sim, client: usize, by: &[&str]) {
    sim.run(120_000);
    sim.check();
    let answers = &sim.client(client).answers;
    assert_eq!(answers.iter().map(|(_, by)| by.as_str()).collect::<Vec<_>>(), by);
}

#[test]
fn a_guessed_cookie_challenges_a_live_connection_and_does_not_end_it() {
    let (mut sim, client) = busy(1);
    let heard = listen(&mut sim);
    let flow = flow(&sim);
    for isn in [0x4000_0000, 0xc000_0000] {
        let guess = guessed(&sim, isn);
        sim.forge(&guess);
    }
    sim.run_for(10);
    let answers: Vec<_> = heard.borrow().iter().map(|seg| (seg.flags, seg.seq, seg.ack)).collect();
    assert_eq!(answers, [(ACK, flow.sent_end, flow.client_end)], "once, for there is a limit");
    assert_answered(&mut sim, client, &["e3", "e3"]);
    assert_eq!((sim.world.counted(Reason::Challenged), sim.world.counted(Reason::Superseded)), (1, 0));
}

#[test]
fn resets_and_syns_that_are_not_exactly_right_are_challenged() {
    for (flags, distance) in
        [(RST, 1), (RST | ACK, 100_000), (RST, u32::MAX), (SYN, 7), (SYN, 1 << 31), (SYN | ACK, 0)]
    {
        let (mut sim, client) = busy(2);
        let heard = listen(&mut sim);
        let flow = flow(&sim);
        let seg = forged(flags, flow.client_end.wrapping_add(distance), flow.sent_end);
        for _ in 0..5 {
            sim.forge(&seg);
        }
        sim.run_for(10);
        let answers: Vec<_> = heard.borrow().iter().map(|seg| (seg.flags, seg.seq, seg.ack)).collect();
        assert_eq!(answers, [(ACK, flow.sent_end, flow.client_end)], "{flags:#x} {distance}");
        assert_answered(&mut sim, client, &["e3", "e3"]);
    }
}

#[test]
fn a_challenge_acknowledges_no_more_than_the_endpoint_did() {
    let mut sim = sim(3);
    // The second request is lost behind the gateway.
    sim.filter =
        Some(Box::new(|seg, at, ms| at == Place::ToEndpoint && ms > 20 && ms < 100 && !seg.data.is_empty()));
    let steps = vec![send(Ask::get('b')), Step::Wait, Step::Pause(20), send(Ask::get('b')), Step::Wait];
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    sim.run_for(60);
    let heard = listen(&mut sim);
    let flow = flow(&sim);
    assert!(flow.newest_seq != flow.client_end && flow.outstanding == 1);
    sim.forge(&forged(SYN, 5, 0));
    sim.run_for(5);
    assert_eq!(heard.borrow().iter().map(|seg| seg.ack).collect::<Vec<_>>(), [flow.newest_seq]);
    assert_answered(&mut sim, client, &["e3", "e3"]);
}

#[test]
fn a_client_that_is_gone_with_requests_that_wait_is_believed_once_it_was_asked() {
    let mut sim = sim(4);
    let steps = vec![
        send(Ask::get('a').delay(700)),
        Step::Pause(20),
        // Of another endpoint: held. Its bytes count for the client.
        send(Ask::get('b')),
        Step::Pause(20),
        Step::Abort,
    ];
    sim.dial(from(40_000), vip(), profile(1), steps);
    sim.run(5000);
    assert!(sim.world.counted(Reason::HoldBusy) > 0);
    assert_eq!((sim.world.counted(Reason::Challenged), sim.world.counted(Reason::Reset)), (1, 1));
    assert!(sim.world.flows.all().is_empty() && sim.world.legs.all().is_empty());
}

#[test]
fn a_client_that_lost_its_state_connects_again_through_a_challenge() {
    let (mut sim, old) = busy(5);
    // It forgot everything: what comes for the old connection finds none.
    sim.conns[old].end.death = Some(crate::tcp::Death::Aborted);
    let client = sim.dial(from(40_000), vip(), profile(0x7000_0000), vec![send(Ask::get('b')), Step::Wait]);
    sim.client(old).is_done = true;
    sim.run(20_000);
    assert_eq!(sim.client(client).answers.iter().map(|(_, by)| by.as_str()).collect::<Vec<_>>(), ["e3"]);
    assert_eq!((sim.world.counted(Reason::Challenged), sim.world.counted(Reason::Reset)), (1, 1));
}

/// RFC 5961 section 5: older than the largest window allows, an acknowledgement is a guess, of either side.
#[test]
fn acknowledgements_of_long_ago_are_guesses() {
    let (mut sim, client) = busy(9);
    let live = flow(&sim);
    let end = |address: [u8; 16], port| SocketAddr::new(Ipv6Addr::from(address).to_canonical(), port);
    let leg = live.leg;
    let (endpoint, ours) = (
        end(leg.source, u16::from_be_bytes(leg.source_port)),
        end(leg.destination, u16::from_be_bytes(leg.destination_port)),
    );
    let oldest = |newest: u32, options: TcpOptions| newest.wrapping_sub(65_535 << options.window_scale);
    let request = |ack| {
        let data = b"GET /b?i=0 HTTP/1.1\r\nHost: t\r\n\r\n".to_vec();
        let timestamps = Some((live.client_tsval, live.sent_tsval));
        Seg { data, timestamps, ..forged(ACK, live.next_seq, ack) }
    };
    let response = |ack| {
        let data = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec();
        let timestamps = Some((live.leg_peer_tsval, live.client_tsval.wrapping_add(live.tsval_add)));
        Seg { data, timestamps, ..Seg::bare(endpoint, ours, ACK, live.leg_end, ack) }
    };
    let (of_client, of_endpoint) =
        (oldest(live.client_ack, live.client_options), oldest(live.leg_ack, live.leg_options));
    for guess in [request(of_client.wrapping_sub(1)), response(of_endpoint.wrapping_sub(1))] {
        let dropped = sim.world.counted(Reason::DropUseless);
        sim.forge(&guess);
        sim.run_for(5);
        assert_eq!(sim.world.counted(Reason::DropUseless), dropped + 1, "{guess:?}");
        let now = flow(&sim);
        assert_eq!((now.next_seq, now.leg_end, now.outstanding), (live.next_seq, live.leg_end, 1));
    }
    assert_answered(&mut sim, client, &["e3", "e3"]);

    // What may still be on its way is believed; the ends need not see it.
    let (mut sim, _) = busy(9);
    assert_eq!(flow(&sim), live, "the same run again");
    sim.filter = Some(Box::new(|_, at, _| matches!(at, Place::ToEndpoint | Place::ToClient)));
    sim.forge(&request(of_client));
    sim.run_for(5);
    assert_eq!(flow(&sim).outstanding, 2);
    sim.forge(&response(of_endpoint));
    sim.run_for(5);
    assert_ne!(flow(&sim).leg_end, live.leg_end);
}

/// RFC 6528, RFC 7323 section 5.4: who sees one connection of ours, and so our clock, knows nothing of another.
#[test]
fn numbers_do_not_begin_at_the_clock() {
    let mut sim = sim(10);
    for port in 40_000..40_004 {
        sim.dial(from(port), vip(), profile(1), vec![send(Ask::get('b').delay(900)), Step::Wait]);
    }
    sim.run_for(50);
    let flows = sim.world.flows.all();
    assert_eq!(flows.len(), 4);
    let begins = |flow: &Flow| {
        let clocks = ((flow.began >> 10) as u32, (flow.began / 1_000_000) as u32);
        [
            flow.leg_isn.wrapping_sub(clocks.0),
            flow.leg_tsval.wrapping_sub(clocks.1),
            flow.request_tsecr.wrapping_sub(clocks.1),
        ]
    };
    let mut all: Vec<u32> = flows.iter().flat_map(|(_, flow)| begins(flow)).chain([0]).collect();
    all.sort_unstable();
    // Of thirteen places by chance, no two are within a minute of one clock, or a tenth of a second of the other.
    assert!(all.windows(2).all(|two| two[1] - two[0] > 100_000), "{all:?}");
}

#[test]
fn bytes_from_before_a_hand_off_that_no_socket_took_are_acknowledged() {
    let mut sim = sim(6);
    let steps = vec![send(Ask::get('b')), Step::Wait, send(Ask::get('t')), Step::Wait];
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    // The agent restarts.
    sim.world.listens.set(false);
    sim.run_for(100);
    assert!(sim.world.counted(Reason::DropHandOff) > 0);
    let heard = listen(&mut sim);
    let flow = flow(&sim);
    // All of the connection's bytes so far, in one segment.
    let again = Seg { data: vec![b'x'; 90], ..forged(ACK, 2, flow.sent_end) };
    let probe = forged(ACK, flow.next_seq.wrapping_sub(1), flow.sent_end);
    for seg in [again, probe] {
        let seg = Seg { timestamps: Some((flow.client_tsval, flow.sent_tsval)), ..seg };
        sim.forge(&seg);
        sim.run_for(10);
        let answers: Vec<_> = heard.borrow_mut().drain(..).map(|seg| (seg.flags, seg.seq, seg.ack)).collect();
        assert_eq!(answers, [(ACK, flow.sent_end, flow.next_seq)]);
    }
    sim.world.listens.set(true);
    assert_answered(&mut sim, client, &["e3", "host"]);
}

#[test]
fn what_was_handed_off_is_not_handed_off_again_when_it_is_over() {
    let mut sim = sim(7);
    let copies = Rc::new(RefCell::new(vec![]));
    let into = copies.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        if at == Place::FromClient && seg.data.windows(5).any(|five| five == b"GET /") {
            into.borrow_mut().push(seg.clone());
        }
        false
    }));
    let steps = vec![send(Ask::get('b')), Step::Wait, send(Ask::get('t')), Step::Wait];
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    assert_answered(&mut sim, client, &["e3", "host"]);
    assert!(sim.world.owners.borrow().is_empty(), "the client closed first: no TIME_WAIT here");
    let handed = sim.world.counted(Reason::HandRoute) + sim.world.counted(Reason::HandUndecidable);
    sim.filter = None;
    let copies = copies.take();
    assert_eq!(copies.len(), 2);
    for copy in copies {
        sim.forge(&copy);
    }
    sim.run_for(1000);
    assert_eq!(sim.world.counted(Reason::HandRoute) + sim.world.counted(Reason::HandUndecidable), handed);
    assert_eq!(sim.log.done.len(), 2, "{:?}", sim.log.done);
}

#[test]
fn nonsense_is_not_answered() {
    let (mut sim, client) = busy(8);
    let heard = listen(&mut sim);
    for flags in [SYN | RST, SYN | FIN, SYN | FIN | RST] {
        sim.forge(&forged(flags, 77, 0));
    }
    sim.run_for(10);
    assert!(heard.borrow().is_empty());
    assert_eq!(sim.world.counted(Reason::DropFlags), 3);
    assert_answered(&mut sim, client, &["e3", "e3"]);
}

#[test]
fn a_copy_of_the_first_request_on_another_cpu_opens_no_second_leg() {
    let mut races = 0;
    for seed in 0..40 {
        let mut sim = sim(seed);
        sim.faults.duplicate = 100;
        sim.world.races.set(60);
        let steps = vec![send(Ask::get('b')), Step::Wait];
        let client = sim.dial(from(40_000), vip(), profile(1), steps);
        assert_answered(&mut sim, client, &["e3"]);
        assert_eq!(sim.world.counted(Reason::Bound), 1, "seed {seed}");
        races += sim.world.counted(Reason::DropRace);
    }
    assert!(races > 0, "none met another");
}

/// How a client ends: in peace, or with a reset.
fn repeated_when_over(route: char, last: Step) {
    let mut sim = sim(9);
    let copies = Rc::new(RefCell::new(vec![]));
    let into = copies.clone();
    sim.filter = Some(Box::new(move |seg, at, _| {
        if at == Place::FromClient && !seg.data.is_empty() {
            into.borrow_mut().push(seg.clone());
        }
        false
    }));
    let steps = vec![send(Ask::post(route, 20)), Step::Wait, last];
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    let by = if route == 't' { "host" } else { "e3" };
    assert_answered(&mut sim, client, &[by]);
    assert!(sim.world.flows.all().is_empty() && sim.world.owners.borrow().is_empty());
    sim.filter = None;
    for copy in copies.take() {
        sim.forge(&copy);
    }
    sim.run_for(1000);
    assert_eq!((sim.world.counted(Reason::DropRepeated), sim.log.done.len()), (1, 1), "{route}");
    // A new connection on the same ports is another one.
    let client = sim.dial(from(40_000), vip(), profile(9), vec![send(Ask::post(route, 20)), Step::Wait]);
    assert_answered(&mut sim, client, &[by]);
}

#[test]
fn a_late_copy_of_a_first_request_is_not_served_again() {
    for route in ['b', 't'] {
        repeated_when_over(route, Step::Shut);
        repeated_when_over(route, Step::Abort);
    }
}

/// 16 bits of a cookie tell one connection of a tuple from the next: one in 65,536 would look like the last one.
#[test]
fn a_connection_whose_cookie_would_be_the_last_ones_gets_another() {
    let mut sim = sim(11);
    let steps = || vec![send(Ask::post('b', 20)), Step::Wait, Step::Shut];
    let client = sim.dial(from(40_000), vip(), profile(1), steps());
    assert_answered(&mut sim, client, &["e3"]);
    let cookie = |isn| {
        let options = TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK };
        cookie::make(&sim.world.settings.cookie_key, &tuple(from(40_000), vip()), isn, options, sim.now)
    };
    let last = sim.world.closed.all()[0].1.isn;
    let like_it = (2..u32::MAX).find(|isn| cookie(*isn) == last).expect("65,536 are enough, mostly");
    let client = sim.dial(from(40_000), vip(), profile(like_it), steps());
    assert_answered(&mut sim, client, &["e3"]);
    assert_eq!(sim.world.counted(Reason::DropRepeated), 0);
    assert_ne!(sim.world.closed.all()[0].1.isn, last);
}

/// The same where the record of the old connection is still there, since its client went without a word.
#[test]
fn a_connection_whose_cookie_would_be_that_of_the_one_it_replaces_gets_another() {
    let mut sim = sim(14);
    let steps = vec![send(Ask::get('b')), Step::Wait, Step::Pause(5000), send(Ask::get('b'))];
    let old = sim.dial(from(40_000), vip(), profile(1), steps);
    sim.run_for(2000);
    sim.conns[old].end.death = Some(crate::tcp::Death::Aborted);
    sim.client(old).is_done = true;
    let options = TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK };
    let (key, last, now) = (sim.world.settings.cookie_key, flow(&sim).isn, sim.now);
    let cookie = |isn| cookie::make(&key, &tuple(from(40_000), vip()), isn, options, now);
    let like_it = (2..u32::MAX).find(|isn| cookie(*isn) == last).expect("65,536 are enough, mostly");
    let steps = vec![send(Ask::post('b', 20)), Step::Wait, Step::Shut];
    let client = sim.dial(from(40_000), vip(), profile(like_it), steps);
    sim.run(20_000);
    assert_eq!(sim.client(client).answers.iter().map(|(_, by)| by.as_str()).collect::<Vec<_>>(), ["e3"]);
    assert_eq!((sim.world.counted(Reason::DropRepeated), sim.world.counted(Reason::Superseded)), (0, 1));
}

#[test]
fn a_first_request_that_the_host_lost_is_handed_off_again() {
    let mut sim = sim(10);
    let client = sim.dial(from(40_000), vip(), profile(1), vec![send(Ask::post('t', 20)), Step::Wait]);
    sim.is_full = true;
    sim.run_for(100);
    assert_eq!(sim.world.counted(Reason::HandRoute), 1);
    sim.is_full = false;
    assert_answered(&mut sim, client, &["host"]);
    assert_eq!(sim.world.counted(Reason::HandRoute), 2);
}

/// What the host lost comes again from a client that has nothing else to say.
#[test]
fn a_client_that_half_closed_behind_what_the_host_lost_is_answered() {
    let mut sim = sim(15);
    let steps = vec![send(Ask::post('t', 20)), Step::Shut, Step::Wait];
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    sim.is_full = true;
    sim.run_for(100);
    assert_eq!(sim.world.counted(Reason::HandRoute) + sim.world.counted(Reason::HandFlags), 1);
    sim.is_full = false;
    assert_answered(&mut sim, client, &["host"]);
    assert_eq!(sim.world.counted(Reason::DropRepeated), 0);
}
