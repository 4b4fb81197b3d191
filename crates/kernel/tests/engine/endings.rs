//! Where a response ends, and what tells: what a client repeats, what an endpoint repeats, and what neither can.

use dataplane::flow::{flag, phase, state};
use wire::Reason;

use crate::apps::Step;
use crate::basics::sim;
use crate::cases::{dial, finish, say, send, utter, waiting};
use crate::http::{Ask, Kind};
use crate::net::endpoint;
use crate::packet::{ACK, FIN};
use crate::sim::Place;

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
