//! What is told of requests and their responses, so that a log can have both in one line.

use wire::{Event, Method, Reason, Settings};

use crate::apps::{Manners, Step};
use crate::basics::{from, one_by_one, sim};
use crate::cases::{dial, finish, send};
use crate::http::{Ask, Kind};
use crate::net::endpoint;
use crate::pool::{once, pooling};
use crate::sim::{Door, Sim, profile, vip};
use crate::tcp::MS;

/// A model that tells of one in `every` requests.
fn telling(seed: u64, flags: u32, every: u32) -> Sim {
    let mut sim = sim(seed);
    let settings = sim.world.settings;
    sim.world.settings =
        Settings { flags: settings.flags | Settings::TRACE | flags, trace_every: every, ..settings };
    sim
}

fn told(sim: &Sim) -> Vec<Event> {
    sim.world.events.borrow().clone()
}

fn is_answer(event: &Event) -> bool {
    event.reason == Reason::Answered as u8
}

fn is_end(event: &Event) -> bool {
    event.reason == Reason::Ended as u8
}

fn text(bytes: &[u8], len: u16) -> &str {
    std::str::from_utf8(&bytes[..usize::from(len).min(bytes.len())]).unwrap()
}

#[test]
fn each_answer_has_the_number_of_its_request() {
    let mut sim = telling(1, 0, 1);
    let asks = [
        Ask::get('a'),
        Ask::get('b').head(),
        Ask::post('b', 30).size(20_000),
        Ask::get('b').kind(Kind::NotModified),
        Ask::get('b').kind(Kind::Hints),
    ];
    one_by_one(&mut sim, &asks);
    let (ends, others): (Vec<Event>, Vec<Event>) = told(&sim).into_iter().partition(is_end);
    let (answers, requests): (Vec<Event>, Vec<Event>) = others.into_iter().partition(is_answer);
    let numbers = |events: &[Event]| events.iter().map(|event| event.number).collect::<Vec<_>>();
    assert_eq!((numbers(&requests), numbers(&answers)), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
    let paths: Vec<&str> = requests.iter().map(|event| text(&event.path, event.path_len)).collect();
    assert_eq!(paths, ["/a", "/b", "/b", "/b", "/b"], "without their queries");
    assert!(requests.iter().all(|event| text(&event.host, event.host_len) == "example.test"));
    let methods = [Method::Get, Method::Head, Method::Post, Method::Get, Method::Get];
    assert!(requests.iter().zip(methods).all(|(event, method)| event.method == method as u8));
    assert_eq!(answers.iter().map(|event| event.status).collect::<Vec<_>>(), [200, 200, 200, 304, 200]);
    for (request, answer) in requests.iter().zip(&answers) {
        assert_eq!((request.client, request.lot), (answer.client, answer.lot));
        assert_eq!((request.route, request.endpoint), (answer.route, answer.endpoint));
        // The first byte of the last one was that of the hints.
        assert_eq!((answer.first_byte_ns > 0, answer.path_len), (answer.number != 5, 0));
        assert!(request.len > 40, "the whole head");
    }
    // Headers are the same but for the length of the body.
    assert!((30..60).contains(&(requests[2].len - requests[1].len)), "{:?}", requests[2]);

    // One was longer than a segment.
    let whole = |answer: &&Event| answer.flags == Event::WHOLE;
    assert_eq!(answers.iter().filter(whole).map(|event| event.number).collect::<Vec<_>>(), [1, 2, 4, 5]);
    assert_eq!((numbers(&ends), ends[0].client, ends[0].lot), (vec![3], answers[2].client, answers[2].lot));
    assert!(ends[0].time > answers[2].time && ends[0].route == answers[2].route);
    let long = ends[0].ends_at.wrapping_sub(answers[2].begins_at);
    assert!((20_030..20_300).contains(&long), "{long} bytes");
    for answer in answers.iter().filter(whole) {
        let bytes = answer.ends_at.wrapping_sub(answer.begins_at);
        assert!((15..2000).contains(&bytes), "{bytes} bytes: {answer:?}");
    }
}

#[test]
fn answers_in_a_row_have_the_numbers_of_their_requests() {
    let mut sim = telling(2, 0, 1);
    let burst =
        [Ask::get('b').size(20), Ask::get('b').size(4000), Ask::get('b').kind(Kind::Chunked).size(9000)];
    let mut steps = vec![Step::Send(vec![Ask::get('b')], vec![]), Step::Wait];
    steps.extend(burst.into_iter().map(|ask| Step::Send(vec![ask], vec![])));
    steps.push(Step::Wait);
    let client = sim.dial(from(40_000), vip(), profile(1), steps);
    sim.run(120_000);
    assert_eq!(sim.client(client).answers.len(), 4);
    let events = told(&sim);
    let numbers_of = |kind: fn(&Event) -> bool| -> Vec<u32> {
        events.iter().filter(|event| kind(event)).map(|event| event.number).collect()
    };
    let answers = numbers_of(is_answer);
    // Of heads that come in one segment the newest is told of.
    assert!(answers.is_sorted() && answers.first() == Some(&1) && answers.last() == Some(&4), "{answers:?}");
    // The last is longer than a segment: that it ends is told later.
    let ends = numbers_of(is_end);
    assert!(ends.is_sorted() && ends.last() == Some(&4), "{ends:?}");
}

#[test]
fn a_request_and_its_answer_are_both_told_of_or_neither() {
    let mut pairs = 0;
    for seed in 0..60 {
        let mut sim = telling(seed, 0, 3);
        one_by_one(&mut sim, &vec![Ask::get('b'); 5]);
        let events = told(&sim);
        assert!(events.iter().all(|event| Event::is_drawn(event.lot, 3)));
        let number = |wanted: bool| -> Vec<u32> {
            events.iter().filter(|event| is_answer(event) == wanted).map(|event| event.number).collect()
        };
        assert_eq!(number(true), number(false), "seed {seed}");
        pairs += number(true).len();
    }
    assert!((60..140).contains(&pairs), "{pairs} of 300 requests");
}

#[test]
fn errors_are_told_of_where_that_is_asked_for() {
    for (flags, expected) in [(0, 0), (Settings::TRACE_ERRORS, 1)] {
        let mut sim = telling(4, flags, u32::MAX);
        let refused = Ask { kind: Kind::TooLarge, ..Ask::post('n', 900) };
        one_by_one(&mut sim, &[Ask::get('n'), refused]);
        let events = told(&sim);
        assert_eq!(events.len(), expected, "{events:?}");
        assert!(events.iter().all(|event| (event.status, event.number) == (413, 2)), "{events:?}");
    }
}

#[test]
fn a_request_that_goes_elsewhere_keeps_its_number_and_its_client() {
    let mut sim = telling(5, 0, 1);
    let refusing = endpoint(1, false);
    sim.nodes.get_mut(&refusing).unwrap().door = Door::Shut;
    for port in 0..8 {
        let steps = vec![Step::Send(vec![Ask::get('a')], vec![]), Step::Wait];
        sim.dial(from(40_000 + port), vip(), profile(1), steps);
    }
    sim.run(120_000);
    let events = told(&sim);
    let elsewhere: Vec<&Event> =
        events.iter().filter(|event| event.reason == Reason::Replaced as u8).collect();
    assert!(!elsewhere.is_empty(), "one in two is refused");
    for event in elsewhere {
        let first =
            events.iter().find(|other| other.reason == Reason::Bound as u8 && other.client == event.client);
        let first = first.expect("told of the client, not of the leg");
        assert_eq!((event.number, event.lot, event.path_len), (first.number, first.lot, 0));
        assert_ne!(event.endpoint, first.endpoint);
    }
}

/// Reason and number of each event.
fn numbered(events: &[Event]) -> Vec<(Reason, u32)> {
    let known = |event: &Event| Reason::ALL.into_iter().find(|reason| *reason as u8 == event.reason).unwrap();
    events.iter().map(|event| (known(event), event.number)).collect()
}

#[test]
fn a_request_that_an_endpoints_end_crosses_keeps_its_number() {
    for resets in [false, true] {
        let mut sim = telling(6, 0, 1);
        let manners = Manners { idle_close: Some(500), resets, ..Manners::default() };
        sim.nodes.get_mut(&endpoint(3, false)).unwrap().manners = manners;
        // The request leaves while the end is on its way.
        let steps = vec![send(Ask::get('b')), Step::Wait, Step::Pause(498), send(Ask::get('b')), Step::Wait];
        let client = dial(&mut sim, steps);
        assert_eq!(finish(&mut sim, client), ["e3", "e3"]);
        let events = told(&sim);
        let expected = [Reason::Bound, Reason::Answered, Reason::Reused, Reason::Rebound, Reason::Answered];
        let expected: Vec<_> = expected.into_iter().zip([1, 1, 2, 2, 2]).collect();
        assert_eq!(numbered(&events), expected, "resets: {resets}");
        assert!(events[2..].iter().all(|event| event.lot == events[2].lot));
    }
}

#[test]
fn a_request_whose_endpoint_lacks_what_clients_were_promised_keeps_its_number() {
    let mut sim = telling(7, 0, 1);
    sim.nodes.get_mut(&endpoint(1, false)).unwrap().profile.sack = false;
    let mut lacking = 0;
    for port in 0..8 {
        sim.world.events.borrow_mut().clear();
        let client = sim.dial(from(40_000 + port), vip(), profile(1), vec![send(Ask::get('a')), Step::Wait]);
        assert_eq!(finish(&mut sim, client), ["e2"]);
        let events = told(&sim);
        lacking += u32::from(events.len() == 3);
        assert!(events.iter().all(|event| (event.number, event.lot) == (1, events[0].lot)), "{events:?}");
    }
    assert_eq!(lacking, 1, "then it is known");
}

#[test]
fn a_request_that_goes_to_userspace_after_it_was_told_of_keeps_its_number() {
    type Spoil = fn(&mut Sim);
    let spoils: [(Spoil, Reason); 2] = [
        // Nobody answers: the third repetition finds no other.
        (|sim| sim.nodes.get_mut(&endpoint(3, false)).unwrap().door = Door::Dead, Reason::HandNoEndpoint),
        // It answers without what the client was promised.
        (|sim| sim.nodes.get_mut(&endpoint(3, false)).unwrap().profile.sack = false, Reason::HandNoEndpoint),
    ];
    for (spoil, why) in spoils {
        let mut sim = telling(8, 0, 1);
        let steps = vec![send(Ask::get('a')), Step::Wait, send(Ask::get('b')), Step::Wait];
        spoil(&mut sim);
        let client = dial(&mut sim, steps);
        assert_eq!(finish(&mut sim, client)[1], "host");
        let events = told(&sim);
        let expected = [(Reason::Bound, 1), (Reason::Answered, 1), (Reason::Rebound, 2), (why, 2)];
        assert_eq!(numbered(&events), expected);
        assert_eq!(events[2].lot, events[3].lot);
    }
}

#[test]
fn hand_offs_are_drawn_as_requests_are() {
    let mut sim = telling(9, 0, 1);
    let client = dial(&mut sim, vec![send(Ask::get('t')), Step::Wait]);
    sim.run_for(50);
    let events = told(&sim);
    assert_eq!(numbered(&events), [(Reason::HandRoute, 1)]);
    let closed = sim.world.closed.get(&events[0].client).unwrap();
    // SAFETY: the model has one thread.
    assert_eq!(events[0].lot, Event::lot_of(unsafe { (*closed).isn }, 1));
    assert_eq!(finish(&mut sim, client), ["host"]);
}

#[test]
fn a_flood_of_failures_is_counted_and_leaves_the_sample_its_room() {
    const PORTS: u16 = 90;
    let mut sim = telling(10, Settings::TRACE_ERRORS, 20);
    let refused = Ask { kind: Kind::TooLarge, ..Ask::post('n', 900) };
    let steps =
        |pause| vec![send(Ask::get('n')), Step::Wait, Step::Pause(pause), send(refused.clone()), Step::Wait];
    // One after the other, for their first requests are stored; then all fail at once.
    for port in 0..PORTS {
        sim.dial(from(40_000 + port), vip(), profile(1), steps(2000 - 5 * u64::from(port)));
        sim.run_for(5);
    }
    sim.run(60_000);
    let events = told(&sim);
    let failed: Vec<Event> = events.iter().filter(|event| event.status == 413).copied().collect();
    let (first, last) = (failed[0].time, failed[failed.len() - 1].time);
    assert!(last - first < 100 * MS, "{} ms", (last - first) / MS);
    let (drawn, others): (Vec<Event>, Vec<Event>) =
        failed.into_iter().partition(|event| Event::is_drawn(event.lot, 20));
    let asked = events.iter().filter(|event| event.reason == Reason::Reused as u8).count();
    assert_eq!(drawn.len(), asked, "each of the sample");
    let untold = |sim: &Sim| sim.world.counted(Reason::UntoldFailure) as usize;
    // Some went to the host, for which there was no port.
    let failures = sim.world.counted(Reason::Bound) as usize;
    assert_eq!((others.len(), untold(&sim)), (64, failures - drawn.len() - 64));
    assert!(failures > 75, "a flood");
    // Each tenth of a second is a new one.
    sim.run_for(100);
    let client = sim.dial(from(50_000), vip(), profile(1), steps(0));
    assert_eq!(finish(&mut sim, client).len(), 2);
    assert_eq!(untold(&sim), failures - drawn.len() - 64);
}

#[test]
fn requests_over_legs_that_waited_are_told_of() {
    let mut sim = pooling(9);
    let settings = sim.world.settings;
    sim.world.settings = Settings { flags: settings.flags | Settings::TRACE, trace_every: 1, ..settings };
    for port in 0..3 {
        once(&mut sim, 20_000 + port, Ask::get('b'));
    }
    let (answers, requests): (Vec<Event>, Vec<Event>) = told(&sim).into_iter().partition(is_answer);
    let reasons: Vec<u8> = requests.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [Reason::Bound, Reason::Pooled, Reason::Pooled].map(|reason| reason as u8));
    assert_eq!(answers.len(), 3);
    for (port, (request, answer)) in requests.iter().zip(&answers).enumerate() {
        assert_eq!(request.client.source_port, (20_000 + port as u16).to_be_bytes());
        assert_eq!((request.client, request.lot, request.number), (answer.client, answer.lot, 1));
        assert_eq!((text(&request.path, request.path_len), answer.status), ("/b", 200));
    }
}
