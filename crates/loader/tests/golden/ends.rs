//! How legs and connections end, and what becomes of a request whose endpoint does not answer.

use wire::{EndpointHealth, Reason};

use crate::lockstep::Both;
use crate::support::program::Said;
use crate::support::segment::{ACK, FIN, PSH, RST, SYN, Seg, timestamps};
use crate::support::tables::{SOURCE, VIP};
use crate::talk::{CLIENT_CLOCK, Leg, Talk, bind, layouts, respond};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const ROOT: (&str, &str) = ("10.1.0.1:80", SOURCE);

/// A connection of a Linux client with one request answered.
fn spliced(both: &mut Both, port: u16) -> (Talk, Leg) {
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, &format!("198.51.100.8:{port}"), VIP, linux);
    let mut leg = bind(both, &mut talk, GET, ROOT, Reason::Bound);
    respond(both, &mut talk, &mut leg, OK);
    (talk, leg)
}

/// What we answer in the place of an endpoint.
fn answer(talk: &Talk, flags: u8, ack: u32) -> Seg {
    let options = timestamps(talk.echo, CLIENT_CLOCK + 5);
    Seg::new(talk.vip, talk.client, flags, talk.ack, ack).window(65_535).options(&options)
}

#[test]
fn an_endpoint_that_closes_an_idle_leg_leaves_the_client_connected() {
    let both = &mut *Both::shared();
    let (mut talk, leg) = spliced(both, 40_001);
    let reset = both.sends("FIN of the endpoint", &leg.seg(FIN | ACK, b""), &[Reason::LegEnded]);
    assert_eq!(reset, leg.reset());
    let probe = Seg { seq: talk.seq.wrapping_sub(1), ..talk.seg(ACK, b"\0") };
    assert_eq!(both.sends("probe", &probe, &[Reason::Probe]), answer(&talk, ACK, talk.seq));
    both.drops("acknowledgement", &talk.seg(ACK, b""), Reason::DropUseless);
    let mut second = bind(both, &mut talk, GET, ROOT, Reason::Rebound);
    respond(both, &mut talk, &mut second, OK);

    both.drops("RST of the endpoint", &second.seg(RST | ACK, b""), Reason::LegEnded);
    let fin = both.sends("FIN of the client", &talk.seg(FIN | ACK, b""), &[Reason::Probe]);
    assert_eq!(fin, answer(&talk, FIN | ACK, talk.seq.wrapping_add(1)));
    (talk.seq, talk.ack) = (talk.seq.wrapping_add(1), talk.ack.wrapping_add(1));
    both.drops("the last acknowledgement", &talk.seg(ACK, b""), Reason::Closed);
    assert_eq!(both.flow(talk.client, talk.vip), None);
}

#[test]
fn a_connection_that_both_ends_close_is_forgotten_with_its_last_segment() {
    let both = &mut *Both::shared();
    let (mut talk, mut leg) = spliced(both, 40_002);
    let fin = both.sends("FIN of the client", &talk.seg(FIN | ACK, b""), &[]);
    assert_eq!(fin, leg.up(&talk, FIN | ACK, b""));
    (talk.seq, leg.seq) = (talk.seq.wrapping_add(1), leg.seq.wrapping_add(1));
    let fin = both.sends("FIN of the endpoint", &leg.seg(FIN | ACK, b""), &[Reason::LegEnded]);
    assert_eq!(fin, leg.down(&talk, FIN | ACK, b""));
    (talk.ack, leg.peer) = (talk.ack.wrapping_add(1), leg.peer.wrapping_add(1));
    let last = both.sends("the last acknowledgement", &talk.seg(ACK, b""), &[Reason::Closed]);
    assert_eq!(last, leg.up(&talk, ACK, b""));
    assert_eq!(both.flow(talk.client, talk.vip), None);
    both.passes("the endpoint, later", &leg.seg(ACK, b"").frame(), None);
}

#[test]
fn only_a_reset_at_the_next_byte_is_believed() {
    let both = &mut *Both::shared();
    for (port, off) in [(40_010, 1), (40_011, 1000), (40_012, u32::MAX)] {
        let (talk, _) = spliced(both, port);
        let blind = Seg { seq: talk.seq.wrapping_add(off), ..talk.seg(RST, b"") };
        let challenge = both.sends("blind RST of a client", &blind, &[Reason::Challenged]);
        assert_eq!(challenge, answer(&talk, ACK, talk.seq).window(511), "{off}");
    }
    let (talk, leg) = spliced(both, 40_003);
    for flags in [RST, RST | ACK, FIN | ACK] {
        let corrupt = Seg { window: 501, ..talk.seg(flags, b"") };
        let mut frame = corrupt.frame();
        // One bit on the wire.
        frame[48] ^= 4;
        let outcome = both.run("corrupt end", &frame);
        assert_eq!(
            (outcome.said, &*outcome.reasons),
            (Said::Drop, &[Reason::DropChecksum][..]),
            "{flags:#x}"
        );
    }
    let old = Seg { seq: leg.peer.wrapping_sub(1), ..leg.seg(RST, b"") };
    both.drops("old RST of an endpoint", &old, Reason::DropUseless);
    // Ahead, it is for the client to ask back: it knows what it lacks.
    let ahead = Seg { seq: leg.peer.wrapping_add(9), ..leg.seg(RST, b"") };
    let sent = both.sends("RST of an endpoint ahead", &ahead, &[]);
    assert_eq!((sent.dst, sent.flags, sent.seq), (talk.client, RST, talk.ack.wrapping_add(9)));
    let reset = both.sends("RST", &talk.seg(RST | ACK, b""), &[Reason::Reset]);
    assert_eq!(reset, leg.up(&talk, RST | ACK, b""));
    assert_eq!(both.flow(talk.client, talk.vip), None);
}

#[test]
fn an_endpoint_that_refuses_is_replaced_at_once() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let talk = Talk::open(both, "198.51.100.8:40004", VIP, linux);
    let request = talk.request("GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    let syn = both.sends("request", &request, &[Reason::Bound]);
    let (first, other) = if syn.dst.ip().to_string() == "10.1.0.5" {
        ("10.1.0.5:80", "10.1.0.6:80")
    } else {
        ("10.1.0.6:80", "10.1.0.5:80")
    };
    let leg = Leg::of("request", &syn, &talk, first, SOURCE);
    let refusal = Seg { seq: 0, options: vec![], ..leg.seg(RST | ACK, b"") };
    both.drops(
        "a refusal of something else",
        &Seg { ack: leg.seq ^ 1, ..refusal.clone() },
        Reason::DropUseless,
    );
    let syn = both.sends("refusal", &refusal, &[Reason::Replaced]);
    let mut leg = Leg::of("refusal", &syn, &talk, other, SOURCE);
    let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    assert_eq!((sent.flags, sent.seq, sent.ack), (ACK | PSH, leg.seq, leg.peer));
}

#[test]
fn an_endpoint_that_is_silent_is_replaced_after_three_tries() {
    let both = &mut *Both::shared();
    let [_, windows, ..] = layouts();
    let talk = Talk::open(both, "198.51.100.8:40005", VIP, windows);
    let request = talk.request("GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = both.sends("request", &request, &[Reason::Bound]);
    for _ in 1..3 {
        assert_eq!(both.sends("request again", &request, &[Reason::Reopened]), first);
    }
    let other = both.sends("request once more", &request, &[Reason::Replaced]);
    assert_ne!(other.dst, first.dst);
}

#[test]
fn an_endpoint_that_lacks_a_promised_option_is_reset_and_left_to_userspace() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let talk = Talk::open(both, "198.51.100.8:40006", VIP, linux);
    let request = talk.request(GET);
    let syn = both.sends("request", &request, &[Reason::Bound]);
    let leg = Leg::of("request", &syn, &talk, ROOT.0, ROOT.1);
    let accept = leg.accept();
    // Without its last option, the window scale.
    let poor = Seg { options: accept.options[..accept.options.len() - 4].to_vec(), ..accept };
    let reset = both.sends("SYN-ACK without scale", &poor, &[Reason::DropLacksOptions]);
    assert_eq!(reset, Seg::new(leg.us, leg.endpoint, RST, leg.seq, 0).window(0));
    both.hands_off("request again", &request);
    let lacks = |at: &u32| both.program.health(*at).flags & EndpointHealth::LACKS_OPTIONS != 0;
    let lacking: Vec<u32> = (0..16).filter(lacks).collect();
    assert_eq!(lacking.len(), 1, "it is remembered");
    both.program.forget_health(lacking[0]);
    both.native.forget_health(lacking[0]);
}

#[test]
fn bytes_that_no_request_asked_for_never_reach_a_client() {
    let both = &mut *Both::shared();
    let (mut talk, leg) = spliced(both, 40_007);
    let late = leg.seg(ACK | PSH, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    let reset = both.sends("408 on an idle leg", &late, &[Reason::LegEnded]);
    assert_eq!((reset.dst, reset.flags, reset.seq), (leg.endpoint, RST, leg.seq));
    let mut second = bind(both, &mut talk, GET, ROOT, Reason::Rebound);
    respond(both, &mut talk, &mut second, OK);
}

#[test]
fn a_new_connection_on_the_same_ports_takes_the_place_of_the_old() {
    let both = &mut *Both::shared();
    let (mut old, mut leg) = spliced(both, 40_008);
    let [_, windows, ..] = layouts();
    let syn = Seg::new(old.client, old.vip, SYN, 0x4000_0000, 0).options(&windows.options);
    let challenge = both.sends("SYN on a live connection", &syn, &[Reason::Challenged]);
    assert_eq!(challenge, answer(&old, ACK, old.seq).window(511));
    // Both ends have closed, but for the client's last word.
    both.sends("FIN of the client", &old.seg(FIN | ACK, b""), &[]);
    (old.seq, leg.seq) = (old.seq.wrapping_add(1), leg.seq.wrapping_add(1));
    both.sends("FIN of the endpoint", &leg.seg(FIN | ACK, b""), &[Reason::LegEnded]);
    // Far from where the old one was.
    let mut talk = Talk::open_at(both, &old.client.to_string(), VIP, windows, 0x4000_0000);
    both.drops("its acknowledgement", &talk.seg(ACK, b""), Reason::BareAck);
    let mut fresh = talk_bind(both, &mut talk);
    respond(both, &mut talk, &mut fresh, OK);
    // The host answers what it does not know.
    both.passes("the old leg", &leg.seg(ACK, b"").frame(), None);
}

#[test]
fn a_client_that_forgot_its_connection_ends_it_when_it_is_asked() {
    let both = &mut *Both::shared();
    let (old, leg) = spliced(both, 40_009);
    let syn = Seg::new(old.client, old.vip, SYN, 0x4000_0000, 0);
    let challenge = both.sends("SYN on a live connection", &syn, &[Reason::Challenged]);
    // RFC 9293 section 3.10.7.3: it has sent nothing that this acknowledges.
    let reset = Seg::new(old.client, old.vip, RST, challenge.ack, 0);
    let sent = both.sends("its answer", &reset, &[Reason::Reset]);
    assert_eq!((sent.dst, sent.flags, sent.seq), (leg.endpoint, RST, leg.seq));
    assert_eq!(both.flow(old.client, old.vip), None);
    let [linux, ..] = layouts();
    let mut talk = Talk::open_at(both, &old.client.to_string(), VIP, linux, 0x4000_0000);
    bind(both, &mut talk, GET, ROOT, Reason::Bound);
}

#[test]
fn control_bits_that_no_stack_sends_are_not_answered() {
    let both = &mut *Both::shared();
    let (talk, _) = spliced(both, 40_013);
    for flags in [SYN | RST, SYN | FIN, SYN | FIN | RST | PSH] {
        both.drops("on a connection", &talk.seg(flags, b""), Reason::DropFlags);
        let fresh = Seg::new("198.51.100.8:40014".parse().unwrap(), talk.vip, flags, 1, 0);
        both.drops("on none", &fresh, Reason::DropFlags);
    }
}

/// The first request of a connection that supersedes another.
fn talk_bind(both: &mut Both, talk: &mut Talk) -> Leg {
    let request = talk.request(GET);
    let syn = both.sends("request", &request, &[Reason::Bound, Reason::Superseded]);
    let mut leg = Leg::of("request", &syn, talk, ROOT.0, ROOT.1);
    both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(crate::talk::forwarded(GET.as_bytes(), talk.client).len() as u32);
    leg
}
