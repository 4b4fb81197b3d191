//! Legs that one client leaves and another takes up.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use wire::{Reason, Settings};

use crate::lockstep::Both;
use crate::support::segment::{ACK, FIN, PSH, RST, Seg, timestamps};
use crate::support::tables::{SOURCE, VIP};
use crate::talk::{CLIENT_CLOCK, Leg, PEER_CLOCK, Talk, bind, forwarded, layouts, respond};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const ROOT: (&str, &str) = ("10.1.0.1:80", SOURCE);

/// Both, with the pool on for one test, which finds no leg of another's.
pub(crate) struct Pooling(MutexGuard<'static, Both>);

impl Pooling {
    pub(crate) fn new() -> Self {
        let mut both = Both::shared();
        let settings = Settings { pool_idle: 3_600_000_000_000, pool_legs: 64, ..both.settings };
        set(&mut both, settings);
        Self(both)
    }
}

fn set(both: &mut Both, settings: Settings) {
    both.program.set(&settings);
    both.native.settings = settings;
    both.settings = settings;
}

impl Drop for Pooling {
    fn drop(&mut self) {
        let settings = Settings { pool_idle: 0, pool_legs: 0, ..self.0.settings };
        set(&mut self.0, settings);
        self.0.program.empty_pools();
        self.0.native.empty_pools();
    }
}

impl Deref for Pooling {
    type Target = Both;
    fn deref(&self) -> &Both {
        &self.0
    }
}

impl DerefMut for Pooling {
    fn deref_mut(&mut self) -> &mut Both {
        &mut self.0
    }
}

pub(crate) fn open(both: &mut Both, port: u16, layout: usize) -> Talk {
    let layout = layouts().into_iter().nth(layout).unwrap();
    Talk::open(both, &format!("198.51.100.44:{port}"), VIP, layout)
}

/// The client closes: the gateway answers in the place of the endpoint, whose leg waits.
fn close(both: &mut Both, talk: &mut Talk) {
    let end = talk.seq.wrapping_add(1);
    for turn in 0..2 {
        let reasons = if turn == 0 { &[Reason::Probe, Reason::LegPooled][..] } else { &[Reason::Probe] };
        let fin = both.sends("FIN of the client", &talk.seg(FIN | ACK, b""), reasons);
        let options = if talk.layout.timestamps { timestamps(talk.echo, CLIENT_CLOCK + 5) } else { vec![] };
        let wanted =
            Seg::new(talk.vip, talk.client, FIN | ACK, talk.ack, end).window(65_535).options(&options);
        assert_eq!(fin, wanted, "turn {turn}");
    }
    (talk.seq, talk.ack) = (end, talk.ack.wrapping_add(1));
    both.drops("the last acknowledgement", &talk.seg(ACK, b""), Reason::Closed);
    assert_eq!(both.flow(talk.client, talk.vip), None);
}

/// A request that goes out over the leg that was left.
fn join(both: &mut Both, talk: &mut Talk, head: &str, left: &Leg) -> Leg {
    let request = talk.request(head);
    let sent = both.sends(head, &request, &[Reason::Pooled]);
    let mut leg = left.taken_by(talk, &sent);
    let data = forwarded(head.as_bytes(), talk.client);
    assert_eq!(sent, leg.up(talk, ACK | PSH, &data), "{head} on the leg");
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(data.len() as u32);
    leg
}

#[test]
fn a_leg_goes_from_client_to_client_of_one_kind() {
    let both = &mut *Pooling::new();
    for (layout, other) in [(0, 1), (1, 0), (3, 0), (4, 0), (5, 0)] {
        let port = 41_000 + 10 * layout as u16;
        let mut first = open(both, port, layout);
        let mut leg = bind(both, &mut first, GET, ROOT, Reason::Bound);
        respond(both, &mut first, &mut leg, OK);
        close(both, &mut first);
        let mut stranger = open(both, port + 1, other);
        let mut its = bind(both, &mut stranger, GET, ROOT, Reason::Bound);
        for turn in 2..6 {
            let mut talk = open(both, port + turn, layout);
            leg = join(both, &mut talk, GET, &leg);
            respond(both, &mut talk, &mut leg, OK);
            close(both, &mut talk);
        }
        respond(both, &mut stranger, &mut its, OK);
        both.drops("RST of the endpoint", &leg.seg(RST | ACK, b""), Reason::PoolEnded);
        both.passes("the endpoint, later", &leg.seg(ACK, b"").frame(), None);
        both.drops("RST of the other endpoint", &its.seg(RST | ACK, b""), Reason::LegEnded);
    }
}

#[test]
fn an_endpoint_is_answered_while_nobody_asks_it() {
    let both = &mut *Pooling::new();
    let mut talk = open(both, 41_100, 0);
    let mut leg = bind(both, &mut talk, GET, ROOT, Reason::Bound);
    respond(both, &mut talk, &mut leg, OK);
    close(both, &mut talk);
    let wanted = Seg::new(leg.us, leg.endpoint, ACK, leg.seq, leg.peer)
        .window(511)
        .options(&timestamps(leg.clock, PEER_CLOCK + 9));
    let probe = Seg { seq: leg.peer.wrapping_sub(1), ..leg.seg(ACK, b"") };
    assert_eq!(both.sends("probe", &probe, &[Reason::Probe]), wanted);
    let again = Seg { seq: leg.peer.wrapping_sub(OK.len() as u32), ..leg.seg(ACK | PSH, OK.as_bytes()) };
    assert_eq!(both.sends("the response again", &again, &[Reason::Probe]), wanted);
    both.drops("acknowledgement", &leg.seg(ACK, b""), Reason::DropUseless);
    let late = both.sends("408", &leg.seg(ACK | PSH, b"HTTP/1.1 408 Late\r\n\r\n"), &[Reason::PoolEnded]);
    assert_eq!(late, leg.reset());
    both.passes("the endpoint, later", &leg.seg(ACK, b"").frame(), None);
    let mut next = open(both, 41_101, 0);
    bind(both, &mut next, GET, ROOT, Reason::Bound);
}

#[test]
fn what_an_endpoint_said_before_it_was_asked_is_nobodys_answer() {
    let both = &mut *Pooling::new();
    let mut talk = open(both, 41_110, 0);
    let mut leg = bind(both, &mut talk, GET, ROOT, Reason::Bound);
    respond(both, &mut talk, &mut leg, OK);
    close(both, &mut talk);
    let before = leg.clone();
    let mut next = open(both, 41_111, 0);
    let seq = next.seq;
    let leg = join(both, &mut next, GET, &leg);
    let said = Seg { ack: before.seq, ..leg.seg(ACK | PSH, OK.as_bytes()) };
    assert_eq!(both.sends("a surplus", &said, &[Reason::LegEnded]), before.reset());
    // The request comes again, and gets another leg.
    next.seq = seq;
    bind(both, &mut next, GET, ROOT, Reason::Rebound);
}

#[test]
fn a_leg_with_an_open_question_ends_with_its_client() {
    let both = &mut *Pooling::new();
    for (port, response) in [
        (41_120, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        (41_121, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: trailer\r\n\r\n"),
    ] {
        let mut talk = open(both, port, 0);
        let mut leg = bind(both, &mut talk, GET, ROOT, Reason::Bound);
        respond(both, &mut talk, &mut leg, response);
        let fin = both.sends("FIN of the client", &talk.seg(FIN | ACK, b""), &[]);
        assert_eq!(fin, leg.up(&talk, FIN | ACK, b""), "{response}");
    }
}
