//! A connection through the loaded program: its first request, and some more.

use std::net::SocketAddr;

use dataplane::cookie;
use wire::{Reason, TcpOptions, Tuple};

use crate::compiled::generate::Dice;
use crate::expected::{Decided, World};
use crate::requests::bytes;
use crate::support::program::{Program, Said};
use crate::support::segment::{ACK, PSH, SYN, Seg};
use crate::support::tuple;

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) bound: u64,
    pub(crate) handed_first: u64,
    pub(crate) reused: u64,
    pub(crate) rebound: u64,
    pub(crate) handed_later: u64,
    /// Those that came ahead of the response before: of the same leg, and for later.
    pub(crate) ahead: u64,
    pub(crate) held: u64,
    /// Rests that came behind a part that was handed off.
    pub(crate) rests: u64,
    /// How many of those that the kernel decided were over IPv6.
    pub(crate) over_v6: u64,
}

const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const PEER_ISN: u32 = 0x5000_0000;

/// One client, as far as it gets.
struct Connection<'p> {
    program: &'p mut Program,
    client: SocketAddr,
    vip: SocketAddr,
    seq: u32,
    ack: u32,
    /// The leg as its SYN showed it, and the next bytes of both sides on it.
    leg: Option<(Seg, u32, u32)>,
    /// Everything that is to be forgotten in the end.
    legs: Vec<Tuple>,
}

/// A connection with one to four requests.
pub(crate) fn converse(
    program: &mut Program,
    world: &World<'_>,
    key: &[u64; 2],
    dice: &mut Dice,
    counts: &mut Counts,
) {
    let (host, port) = (dice.below(250) as u16, 1024 + dice.below(60_000) as u16);
    let client = if world.vip.is_ipv4() {
        SocketAddr::from(([198, 51, 100, host as u8], port))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, host << 4, 0, host], port))
    };
    let isn = dice.below(1 << 32) as u32;
    let options = TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK };
    let cookie = cookie::make(key, &tuple(client, world.vip), isn, options, loader::now());
    let (seq, ack) = (isn.wrapping_add(1), cookie.wrapping_add(1));
    let mut connection = Connection { program, client, vip: world.vip, seq, ack, leg: None, legs: vec![] };
    let mut route: Option<Decided> = None;
    let mut held: Option<Vec<u8>> = None;
    for round in 0..4 {
        let request = held.take().unwrap_or_else(|| bytes(dice, world.snapshot));
        let expected = world.expect(&request);
        counts.requests += 1;
        counts.over_v6 += u64::from(client.is_ipv6() && expected.is_some());
        let what = request.escape_ascii().to_string();
        let is_same = route.is_some_and(|one| expected.is_some_and(|next| next.endpoint == one.endpoint));
        match expected {
            Some(next) if is_same && (next.is_whole || !next.inserts) => {
                connection.reuse(&what, &request, next);
                counts.reused += 1;
                // The rest of a body that is not there yet would come first.
                if !next.is_whole {
                    break;
                }
            }
            Some(next) if next.is_whole => {
                connection.bind(&what, &request, next);
                *(if round == 0 { &mut counts.bound } else { &mut counts.rebound }) += 1;
            }
            _ => {
                connection.is_handed_off(&what, &request);
                if dice.one_in(4) {
                    let rest = bytes(dice, world.snapshot);
                    counts.rests += u64::from(connection.rest_waits(&what, &request, &rest, key));
                }
                *(if round == 0 { &mut counts.handed_first } else { &mut counts.handed_later }) += 1;
                break;
            }
        }
        route = expected;
        if expected.is_some_and(|one| one.closes) {
            break;
        }
        let mut is_last = false;
        if dice.one_in(6) {
            let next = bytes(dice, world.snapshot);
            let is_of_leg = |next: &Decided| expected.is_some_and(|now| now.endpoint == next.endpoint);
            match world.expect(&next) {
                Some(known) if is_of_leg(&known) && known.is_whole => {
                    connection.reuse(&next.escape_ascii().to_string(), &next, known);
                    (counts.ahead, counts.requests) = (counts.ahead + 1, counts.requests + 1);
                    is_last = known.closes;
                    if !is_last {
                        connection.respond(&what);
                    }
                }
                // The head goes on, and the rest of its body would come first.
                Some(known) if is_of_leg(&known) && !known.inserts => {}
                _ => {
                    connection.is_held(&what, &next);
                    counts.held += 1;
                    held = Some(next);
                }
            }
        }
        if is_last {
            break;
        }
        connection.respond(&what);
    }
    connection.forget();
}

impl Connection<'_> {
    fn bind(&mut self, what: &str, request: &[u8], next: Decided) {
        let seg = Seg::new(self.client, self.vip, ACK | PSH, self.seq, self.ack).data(request);
        let syn = self.sends(what, &seg);
        assert_eq!((syn.flags, syn.dst), (SYN, next.endpoint), "{what}");
        let accept = Seg::new(syn.dst, syn.src, SYN | ACK, PEER_ISN, syn.seq.wrapping_add(1));
        let accept = accept.options(&[2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 9]);
        let sent = self.sends(what, &accept);
        let (ours, theirs) = (syn.seq.wrapping_add(1), PEER_ISN.wrapping_add(1));
        assert_eq!((sent.dst, sent.seq, sent.ack), (next.endpoint, ours, theirs), "{what}");
        self.legs.push(tuple(syn.dst, syn.src));
        self.leg = Some((syn, ours, theirs));
        self.went(what, request, next, &sent);
    }

    fn reuse(&mut self, what: &str, request: &[u8], next: Decided) {
        let seg = Seg::new(self.client, self.vip, ACK | PSH, self.seq, self.ack).data(request);
        let sent = self.sends(what, &seg);
        let (syn, ours, theirs) = self.leg.as_ref().unwrap();
        assert_eq!((sent.src, sent.dst, sent.seq, sent.ack), (syn.src, syn.dst, *ours, *theirs), "{what}");
        self.went(what, request, next, &sent);
    }

    /// The request arrived at the endpoint byte by byte, with what is inserted.
    fn went(&mut self, what: &str, request: &[u8], next: Decided, sent: &Seg) {
        let line = request.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        let text = format!("X-Forwarded-For: {}\r\nX-Forwarded-Proto: http\r\n", self.client.ip());
        let text = if text.len() % 2 == 0 { text } else { text.replace("Proto: ", "Proto:  ") };
        let inserted = if next.inserts { text.as_bytes() } else { b"" };
        let wanted = [&request[..line], inserted, &request[line..]].concat();
        assert_eq!(sent.data.escape_ascii().to_string(), wanted.escape_ascii().to_string(), "{what}");
        self.seq = self.seq.wrapping_add(request.len() as u32);
        let (_, ours, _) = self.leg.as_mut().unwrap();
        *ours = ours.wrapping_add(wanted.len() as u32);
    }

    fn respond(&mut self, what: &str) {
        let (syn, ours, theirs) = self.leg.as_mut().unwrap();
        let seg = Seg::new(syn.dst, syn.src, ACK | PSH, *theirs, *ours).data(RESPONSE);
        *theirs = theirs.wrapping_add(RESPONSE.len() as u32);
        let sent = self.sends(what, &seg);
        let there = (sent.src, sent.dst, sent.seq, sent.ack, &*sent.data);
        assert_eq!(there, (self.vip, self.client, self.ack, self.seq, RESPONSE), "{what}");
        self.ack = self.ack.wrapping_add(RESPONSE.len() as u32);
    }

    /// In a test run no socket takes it: the packet ends as one that the host was asked to take, and for no other reason.
    fn is_handed_off(&mut self, what: &str, request: &[u8]) {
        let seg = Seg::new(self.client, self.vip, ACK | PSH, self.seq, self.ack).data(request);
        let before = self.program.counted(Reason::DropHandOff);
        let (said, _, _) = self.program.run(&seg.frame());
        let asked = self.program.counted(Reason::DropHandOff) - before;
        assert_eq!((said, asked), (Said::Drop, 1), "{what}");
    }

    /// What comes behind a part that nobody took is not looked at: it waits for the part. Nothing to say where the cookie's 16
    /// bits take it for the first segment, which they may.
    fn rest_waits(&mut self, what: &str, part: &[u8], rest: &[u8], key: &[u64; 2]) -> bool {
        let seq = self.seq.wrapping_add(part.len() as u32);
        let (tuple, cookie) = (tuple(self.client, self.vip), self.ack.wrapping_sub(1));
        let taken = cookie::check(key, &tuple, seq.wrapping_sub(1), cookie, loader::now());
        if self.legs.is_empty() && matches!(taken, cookie::Cookie::First(_)) {
            return false;
        }
        self.drops(
            what,
            Seg::new(self.client, self.vip, ACK | PSH, seq, self.ack).data(rest),
            Reason::DropEarly,
        );
        // And the part, which comes again, is offered again.
        self.is_handed_off(what, part);
        true
    }

    /// Ahead of the response, and not for the leg: the client sends it again.
    fn is_held(&mut self, what: &str, request: &[u8]) {
        let seg = Seg::new(self.client, self.vip, ACK | PSH, self.seq, self.ack).data(request);
        self.drops(what, seg, Reason::HoldBusy);
    }

    fn drops(&mut self, what: &str, seg: Seg, reason: Reason) {
        let before = self.program.counted(reason);
        let (said, _, _) = self.program.run(&seg.frame());
        assert_eq!(
            (said, self.program.counted(reason) - before),
            (Said::Drop, 1),
            "{reason:?} behind {what}"
        );
    }

    fn sends(&mut self, what: &str, seg: &Seg) -> Seg {
        let (said, out, _) = self.program.run(&seg.frame());
        assert_eq!(said, Said::Send, "{what}");
        Seg::read(out)
    }

    fn forget(self) {
        self.program.remove("FLOWS", &tuple(self.client, self.vip));
        for leg in &self.legs {
            self.program.remove("LEGS", leg);
        }
    }
}
