//! Differential fuzz of connections: segments that ends might send, and some that none would, through the programs and through the
//! engine outside of them. Seeds are fixed.

use wire::Reason;

use crate::lockstep::Both;
use crate::support::program::Said;
use crate::support::segment::{ACK, FIN, PSH, RST, SYN, Seg, timestamps, with_wrong_checksum};
use crate::support::tables::{SOURCE, SOURCE6, VIP, VIP6};
use crate::talk::{Leg, Talk, bind, layouts};

const CONNECTIONS: u16 = 60;
const SEGMENTS: u32 = 40;

const REQUESTS: [&str; 7] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /again?x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /api HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    "GET /user HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHo",
];

const RESPONSES: [&str; 7] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
];

/// SplitMix64 (Steele et al. 2014): the same in every run.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Mostly the number itself, else one close to it, or any.
    fn near(&mut self, number: u32) -> u32 {
        match self.below(24) {
            0 => number.wrapping_add(self.below(200) as u32),
            1 => number.wrapping_sub(self.below(200) as u32),
            2 => number.wrapping_add(1 << (16 + self.below(12))),
            3 => self.word() as u32,
            _ => number,
        }
    }

    fn flags(&mut self) -> u8 {
        match self.below(40) {
            0 => ACK | FIN,
            1 => RST,
            2 => RST | ACK,
            3 => SYN,
            4 => SYN | ACK,
            5 => self.word() as u8,
            6..20 => ACK,
            _ => ACK | PSH,
        }
    }
}

#[test]
fn whatever_comes_on_a_connection_comes_to_the_same() {
    let both = &mut *Both::shared();
    let mut dice = Dice(1);
    // By what was said: passed, dropped, sent.
    let (mut said, mut reasons) = ([0u32; 3], Vec::new());
    for number in 0..CONNECTIONS {
        let is_v6 = number % 2 == 1;
        let (host, vip) = if is_v6 { ("[2001:db8:9::77]", VIP6) } else { ("198.51.100.77", VIP) };
        let root = if is_v6 { ("[2001:db8:1::1]:80", SOURCE6) } else { ("10.1.0.1:80", SOURCE) };
        let layout = layouts().into_iter().nth(usize::from(number) / 2 % 6).unwrap();
        let client = format!("{host}:{}", 42_000 + number);
        let mut talk = Talk::open_at(both, &client, vip, layout, dice.word() as u32);
        let mut leg = bind(both, &mut talk, REQUESTS[0], root, Reason::Bound);
        for step in 0..SEGMENTS {
            let is_clients = dice.one_in(2);
            let seg = if is_clients { of_client(&mut dice, &talk) } else { of_endpoint(&mut dice, &leg) };
            // That of a bare acknowledgement is its receiver's to check.
            let is_damaged = dice.one_in(30);
            let frame = if is_damaged { with_wrong_checksum(seg.frame()) } else { seg.frame() };
            let what = format!("connection {number}, segment {step}: {seg:?}");
            let outcome = both.run(&what, &frame);
            said[outcome.said as usize] += 1;
            reasons.extend(outcome.reasons);
            if outcome.said == Said::Send && !is_damaged {
                follow(&mut talk, &mut leg, &seg, &Seg::read(&outcome.frame));
            }
        }
    }
    reasons.sort_by_key(|reason| *reason as u8);
    reasons.dedup();
    // The dice reach most of what there is.
    assert!(said[Said::Drop as usize] > 300 && said[Said::Send as usize] > 300, "{said:?} {reasons:?}");
    let expected = [
        Reason::Reused,
        Reason::Rebound,
        Reason::HoldBusy,
        Reason::DropChecksum,
        Reason::DropUseless,
        Reason::DropOrphan,
        Reason::DropHandOff,
    ];
    assert!(expected.iter().all(|reason| reasons.contains(reason)), "{reasons:?}");
}

/// A segment of the client.
fn of_client(dice: &mut Dice, talk: &Talk) -> Seg {
    let flags = dice.flags();
    let data = if flags & PSH == 0 { "" } else { dice.one_of(&REQUESTS) };
    let seg = talk.seg(flags, data.as_bytes());
    changed(dice, seg)
}

/// A segment of the endpoint.
fn of_endpoint(dice: &mut Dice, leg: &Leg) -> Seg {
    let flags = dice.flags();
    if flags & SYN != 0 || dice.one_in(6) {
        return leg.accept();
    }
    let data = if flags & PSH == 0 { "" } else { dice.one_of(&RESPONSES) };
    let seg = leg.seg(flags, data.as_bytes());
    changed(dice, seg)
}

fn changed(dice: &mut Dice, mut seg: Seg) -> Seg {
    seg.seq = dice.near(seg.seq);
    seg.ack = dice.near(seg.ack);
    if dice.one_in(20) {
        seg.window = dice.word() as u16;
    }
    match dice.below(40) {
        0 => seg.options = vec![],
        1 => seg.options = timestamps(dice.word() as u32, dice.word() as u32),
        2 => seg.options = dice.word().to_be_bytes().to_vec(),
        _ => {}
    }
    seg
}

/// Both ends go on behind what arrived.
fn follow(talk: &mut Talk, leg: &mut Leg, seg: &Seg, sent: &Seg) {
    let end = sent.seq.wrapping_add(sent.data.len() as u32);
    if sent.dst == talk.client && seg.src != talk.client {
        talk.ack = end;
        leg.peer = seg.seq.wrapping_add(seg.data.len() as u32);
    } else if sent.dst != talk.client && sent.flags & SYN != 0 {
        // Another leg, for a request that is not sent yet.
        (leg.us, leg.endpoint, leg.seq) = (sent.src, sent.dst, sent.seq.wrapping_add(1));
        leg.peer = u32::MAX - 3;
        talk.seq = seg.seq.wrapping_add(seg.data.len() as u32);
    } else if sent.dst == leg.endpoint {
        leg.seq = end;
        if seg.src == talk.client {
            talk.seq = seg.seq.wrapping_add(seg.data.len() as u32);
        } else {
            leg.peer = seg.seq.wrapping_add(1);
        }
    }
}
