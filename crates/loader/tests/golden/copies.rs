//! Routes of which a half of the requests is copied.

use dataplane::lookup::Balancing;
use wire::{Reason, RouteAction};

use crate::lockstep::Both;
use crate::support::program::Said;
use crate::support::segment::Seg;
use crate::support::tables::{SOURCE, SOURCE6, VIP, VIP6};
use crate::support::tuple;
use crate::talk::{Leg, Talk, layouts, respond};

const GET: &str = "GET /copied HTTP/1.1\r\nHost: a.example\r\nUser-Agent: golden\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";

/// By family: client, VIP, and the endpoint with our address on the leg.
const FAMILIES: [(&str, &str, (&str, &str)); 2] = [
    ("198.51.100.12", VIP, ("10.1.0.12:80", SOURCE)),
    ("[2001:db8:9::12]", VIP6, ("[2001:db8:1::12]:80", SOURCE6)),
];

/// How many requests of each connection the kernel has served before one is copied, of four.
const SERVED: [u32; 24] = [1, 2, 1, 4, 0, 0, 1, 1, 1, 1, 0, 2, 3, 0, 1, 4, 1, 1, 0, 1, 4, 0, 1, 3];

/// Whether both gave the talk's connection a lot, and the same one.
fn has_lot(both: &Both, talk: &Talk) -> bool {
    let key = tuple(talk.client, talk.vip);
    let (kernel, native) = (both.program.lot(&key), both.native.lot(&key));
    assert_eq!(kernel.map(|noted| noted.lot), native.map(|noted| noted.lot));
    assert!(kernel.is_none_or(|noted| noted.noted_s > 0 && noted.lot < 1 << 31), "{kernel:?}");
    kernel.is_some()
}

/// A request of the talk, and the leg that it opens; none if it is copied, of which userspace must be told.
fn open(both: &mut Both, talk: &mut Talk, (endpoint, source): (&str, &str)) -> Option<Leg> {
    let request = talk.request(GET);
    let outcome = both.run("first request", &request.frame());
    if outcome.said == Said::Drop {
        both.hands_off_for("a request that is copied", &request, Reason::HandCopied);
        return None;
    }
    assert_eq!((outcome.said, &*outcome.reasons), (Said::Send, &[Reason::Bound][..]));
    let syn = Seg::read(&outcome.frame);
    let mut leg = Leg::of("first request", &syn, talk, endpoint, source);
    let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(sent.data.len() as u32);
    Some(leg)
}

/// The next request, which goes on over the leg or is copied.
fn next(both: &mut Both, talk: &mut Talk, leg: &mut Leg) -> bool {
    let request = talk.request(GET);
    let outcome = both.run("next request", &request.frame());
    if outcome.said == Said::Drop {
        assert!(outcome.asked.is_some(), "{:?}", outcome.reasons);
        return false;
    }
    assert_eq!((outcome.said, &*outcome.reasons), (Said::Send, &[Reason::Reused][..]));
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(Seg::read(&outcome.frame).data.len() as u32);
    true
}

#[test]
fn each_request_is_drawn_and_the_lots_of_those_that_are_copied_are_left_to_userspace() {
    let both = &mut *Both::shared();
    let actions = both.native.tables.actions.iter();
    let copied = actions.filter(|(_, action)| action.flags & RouteAction::COPIED != 0);
    let below: Vec<_> = copied.map(|(at, _)| both.native.tables.copied_below(*at)).collect();
    assert_eq!(below, [Some(1 << 31); 2]);
    let mut served = vec![];
    for (client, vip, way) in FAMILIES {
        for port in 47_000..47_012 {
            let [linux, ..] = layouts();
            let mut talk = Talk::open(both, &format!("{client}:{port}"), vip, linux);
            let mut count = 0;
            if let Some(mut leg) = open(both, &mut talk, way) {
                count = 1;
                respond(both, &mut talk, &mut leg, OK);
                assert!(!has_lot(both, &talk), "the kernel has it");
                while count < 4 && next(both, &mut talk, &mut leg) {
                    count += 1;
                    respond(both, &mut talk, &mut leg, OK);
                }
            }
            assert_eq!(has_lot(both, &talk), count < 4);
            served.push(count);
        }
    }
    // Key, ports and numbers are the same in each run, and so are the lots.
    assert_eq!(served, SERVED);
}
