//! Fragments, IPv4 options and IPv6 extension headers: the stack's, unless it would reset what it knows nothing of.

use wire::{EndpointHealth, Reason};

use crate::lockstep::{Both, Outcome};
use crate::support::program::Said;
use crate::support::segment::{ACK, PSH, Seg, with_extension, with_fragment_header, with_ip_options};
use crate::support::tables::{SOURCE, SOURCE6, VIP, VIP6};
use crate::talk::{Talk, bind, layouts, respond};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const ROOT: (&str, &str) = ("10.1.0.1:80", SOURCE);
const ROOT6: (&str, &str) = ("[2001:db8:1::1]:80", SOURCE6);

/// A segment in every other shape, and whether the stack could read it without waiting for more.
fn shapes(seg: &Seg) -> Vec<(&'static str, Vec<u8>, bool)> {
    let frame = seg.frame();
    if seg.src.is_ipv4() {
        return vec![
            ("options", with_ip_options(&frame, &[1, 1, 1, 0]), true),
            ("the longest options", with_ip_options(&frame, &[1; 40]), true),
            ("fragment", with_fragment_header(&frame, 0x2000), false),
        ];
    }
    let hop_by_hop = with_extension(&frame, 0, &[1, 4, 0, 0, 0, 0]);
    vec![
        ("hop-by-hop options", hop_by_hop.clone(), true),
        ("destination options before them", with_extension(&hop_by_hop, 60, &[1, 4, 0, 0, 0, 0]), true),
        ("lone fragment", with_fragment_header(&frame, 0), true),
        ("fragment", with_fragment_header(&frame, 1), false),
    ]
}

#[track_caller]
fn assert_dropped(what: &str, outcome: &Outcome) {
    assert_eq!((outcome.said, &*outcome.reasons), (Said::Drop, &[Reason::DropShape][..]), "{what}");
}

#[test]
fn on_a_connection_they_are_dropped_and_it_goes_on() {
    let both = &mut *Both::shared();
    let [linux, windows, ..] = layouts();
    for (client, vip, root, layout) in
        [("198.51.100.9:40001", VIP, ROOT, linux), ("[2001:db8:9::9]:40001", VIP6, ROOT6, windows)]
    {
        let mut talk = Talk::open(both, client, vip, layout);
        let mut leg = bind(both, &mut talk, GET, root, Reason::Bound);
        respond(both, &mut talk, &mut leg, OK);
        for (what, frame, _) in shapes(&talk.request(GET)) {
            let outcome = both.run(what, &frame);
            assert_dropped(what, &outcome);
        }
        let again = both.sends("the request again", &talk.request(GET), &[Reason::Reused]);
        assert_eq!((again.dst, again.flags), (leg.endpoint, ACK | PSH));
    }
}

#[test]
fn with_the_first_request_they_are_handed_off_or_dropped() {
    let both = &mut *Both::shared();
    for (client, vip) in [("198.51.100.9:40002", VIP), ("[2001:db8:9::9]:40002", VIP6)] {
        let [linux, ..] = layouts();
        let talk = Talk::open(both, client, vip, linux);
        for (what, frame, is_whole) in shapes(&talk.request(GET)) {
            let outcome = both.run(what, &frame);
            if !is_whole {
                assert_dropped(what, &outcome);
                continue;
            }
            // A test run cannot assign sockets.
            assert_eq!((outcome.said, &*outcome.reasons), (Said::Drop, &[Reason::DropHandOff][..]), "{what}");
            let asked = outcome.asked.unwrap();
            assert_eq!((asked.tstamp_ok, asked.sack_ok, asked.snd_wscale), (1, 1, 7), "{what}");
        }
        // Without our cookie they are somebody else's.
        let foreign = Seg { ack: talk.ack ^ 0x8000_0000, ..talk.request(GET) };
        for (what, frame, _) in shapes(&foreign) {
            both.passes(what, &frame, Some(Reason::PassShape));
        }
    }
}

#[test]
fn an_endpoint_that_sends_them_is_left_to_userspace() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, "198.51.100.9:40003", VIP, linux);
    let leg = bind(both, &mut talk, GET, ROOT, Reason::Bound);
    let lacking = |both: &Both| -> Vec<u32> {
        (0..16).filter(|&at| both.program.health(at).flags & EndpointHealth::LACKS_OPTIONS != 0).collect()
    };
    // Far from what the endpoint said, anybody may have sent it.
    let far = Seg { seq: leg.peer.wrapping_add(1 << 30), ..leg.seg(ACK, OK.as_bytes()) };
    for (what, frame, _) in shapes(&far) {
        assert_dropped(what, &both.run(what, &frame));
    }
    assert!(lacking(both).is_empty());
    for (what, frame, _) in shapes(&leg.seg(ACK, OK.as_bytes())) {
        assert_dropped(what, &both.run(what, &frame));
        assert_eq!(lacking(both).len(), 1, "{what}");
    }
    for at in lacking(both) {
        both.program.forget_health(at);
        both.native.forget_health(at);
    }
}
