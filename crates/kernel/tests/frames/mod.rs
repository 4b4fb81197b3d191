//! Whatever frames come to the engine on a connection that it carries: no panic, and records that can be true.
//!
//! The body of fuzz target `kernel_segment`, on the engine outside the kernel that the golden tests compare the programs with.
#![allow(dead_code, reason = "the supports have more than this needs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a fuzz target reports")]
#![allow(clippy::cast_possible_truncation, reason = "frames are short")]

#[path = "../../../loader/tests/support/native.rs"]
mod native;
#[path = "../../../loader/tests/support/segment.rs"]
mod segment;
#[path = "../../../loader/tests/support/tables.rs"]
mod tables;

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use dataplane::flow::{state, to_leg};
use native::{Native, Said};
use segment::{ACK, PSH, SYN, Seg, octets};
use wire::{Cursor, Flow, POINTS_MAX, Segment, Settings, Tuple};

const SECOND: u64 = 1_000_000_000;

/// Requests by path: with headers inserted, without, of two endpoints, of a client that keeps its endpoint, userspace's.
const PATHS: [&str; 5] = ["/", "/plain", "/two", "/kept", "/user"];

const RESPONSES: [&[u8]; 4] = [
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
];

static TABLES: LazyLock<kernel::Tables> = LazyLock::new(|| tables::compile(&tables::snapshot()).tables);

/// A connection, as far as it got.
struct Live {
    native: Native,
    client: SocketAddr,
    vip: SocketAddr,
}

/// Opens a connection with a request, and lets the rest of `data` be what comes next.
pub(crate) fn kernel_segment(data: &[u8]) {
    let mut data = Bytes(data);
    let mut live = Live::open(data.byte());
    for _ in 0..64 {
        let Some(kind) = data.next() else { return };
        live.step(kind, &mut data);
    }
}

impl Live {
    /// Over IPv4 or IPv6, with the first request bound to an endpoint, and answered or not.
    fn open(choice: u8) -> Self {
        let settings = Settings {
            cookie_key: [1, 2],
            heartbeat_timeout: u64::MAX,
            mss_v4: 1360,
            mss_v6: 1340,
            port_first: 20_000,
            port_count: 10_000,
            redraw_after: 2,
            eject_after: 3,
            eject_for: SECOND,
            ..Settings::default()
        };
        let is_v6 = choice & 1 != 0;
        let (client, vip) =
            if is_v6 { ("[2001:db8:9::9]:40000", tables::VIP6) } else { ("198.51.100.9:40000", tables::VIP) };
        let mut live = Self {
            native: Native::new(TABLES.clone(), settings),
            client: client.parse().unwrap(),
            vip: vip.parse().unwrap(),
        };
        live.native.now.set(1_000 * SECOND);
        let syn =
            Seg::new(live.client, live.vip, SYN, 1_000, 0).options(&[2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7]);
        let answer = live.run(&syn.frame()).unwrap();
        let request = request(PATHS[usize::from(choice >> 1 & 3)]);
        let first = Seg::new(live.client, live.vip, ACK | PSH, 1_001, answer.seq.wrapping_add(1));
        let open = live.run(&first.data(&request).frame()).unwrap();
        if choice & 8 == 0 {
            let accept = Seg::new(open.dst, open.src, SYN | ACK, 9_000, open.seq.wrapping_add(1));
            live.run(&accept.options(&[2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 9]).frame()).unwrap();
        }
        live
    }

    fn step(&mut self, kind: u8, data: &mut Bytes<'_>) {
        self.native.random.set(u32::from(kind) << 24);
        match kind % 8 {
            0 => {
                let length = usize::from(data.byte());
                let frame = data.take(length).to_vec();
                self.run(&frame);
            }
            1 => self.native.now.set(self.native.now.get() + u64::from(data.byte()) * SECOND / 10),
            kind => {
                let mut frame =
                    if kind % 2 == 0 { self.of_client(data) } else { self.of_endpoint(data) }.frame();
                if kind >= 6 {
                    let at = usize::from(data.byte()) % frame.len();
                    frame[at] ^= data.byte();
                }
                self.run(&frame);
            }
        }
    }

    /// Near to what the client would send next.
    fn of_client(&self, data: &mut Bytes<'_>) -> Seg {
        let flow = self.flow().unwrap_or_default();
        let (seq, ack) = (flow.next_seq.wrapping_add(data.near()), flow.sent_end.wrapping_add(data.near()));
        let seg = Seg::new(self.client, self.vip, data.flags(), seq, ack);
        let payload = match data.byte() % 4 {
            0 => Vec::new(),
            1 | 2 => request(PATHS[usize::from(data.byte()) % PATHS.len()]),
            _ => data.some(),
        };
        seg.window(data.byte().into()).options(&data.options()).data(&payload)
    }

    /// Near to what its endpoint would.
    fn of_endpoint(&self, data: &mut Bytes<'_>) -> Seg {
        let flow = self.flow().unwrap_or_default();
        let (seq, ack) = (
            flow.leg_end.wrapping_add(data.near()),
            to_leg(&flow, flow.client_end).wrapping_add(data.near()),
        );
        let [src, dst] = if flow.leg == Tuple::default() {
            // A leg that is over, or never was.
            [self.vip, self.client]
        } else {
            [
                socket(flow.leg.source, flow.leg.source_port),
                socket(flow.leg.destination, flow.leg.destination_port),
            ]
        };
        let seg = Seg::new(src, dst, data.flags(), seq, ack);
        let payload = match data.byte() % 4 {
            0 => Vec::new(),
            1 | 2 => RESPONSES[usize::from(data.byte()) % RESPONSES.len()].to_vec(),
            _ => data.some(),
        };
        seg.window(data.byte().into()).options(&data.options()).data(&payload)
    }

    /// What leaves in place of a frame that is sent on; of the handshake, whose numbers are right.
    fn run(&mut self, frame: &[u8]) -> Option<Seg> {
        let done = self.native.run(frame);
        let sent = match done.said {
            Said::Pass => {
                assert_eq!(done.frame, frame, "what passes is not touched: {:?}", done.reasons);
                None
            }
            Said::Drop => {
                assert!(!done.reasons.is_empty(), "dropped for no reason: {frame:x?}");
                None
            }
            Said::Send => {
                self.check_sent(frame, &done.frame);
                Some(numbers(&done.frame))
            }
        };
        if let Some(flow) = self.flow() {
            self.check(&flow);
        }
        sent
    }

    /// A whole packet, between the ends of this connection; or back to whom a wrong bit made another client.
    fn check_sent(&self, came: &[u8], frame: &[u8]) {
        let arrived = Segment::parse(Cursor::new(came)).expect("what is sent on was TCP");
        let sent = Segment::parse(Cursor::new(frame)).expect("what is sent is TCP");
        let is_ours = |address: wire::IpAddress, which: &str| octets(which.parse().unwrap()) == address;
        let own = if self.vip.is_ipv4() { tables::SOURCE } else { tables::SOURCE6 };
        let (client, vip) = (octets(self.client.ip()), octets(self.vip.ip()));
        let to_client = sent.source == vip && [client, arrived.source].contains(&sent.destination);
        let to_endpoint = is_ours(sent.source, own) && sent.destination != client && sent.destination != vip;
        assert!(to_client || to_endpoint, "from {:x?} to {:x?}", sent.source, sent.destination);
        // Behind the packet is padding at most, and only if it came so.
        let (before, after) = (behind(came, &arrived), behind(frame, &sent));
        assert!(
            after == 0 || (before > 0 && after > 0),
            "{before} bytes behind what came, {after} behind what is sent"
        );
    }

    fn check(&self, flow: &Flow) {
        assert!(flow.state <= state::ENDING, "state {}", flow.state);
        assert!(flow.outstanding <= 32, "{} outstanding", flow.outstanding);
        assert!(usize::from(flow.points_used) <= POINTS_MAX, "{} points", flow.points_used);
        assert_eq!(flow.client.source, octets(self.client.ip()));
        assert_ne!(flow.state, state::FREE, "a record in the table is in use");
        // Sequence numbers are compared over half their space.
        assert!(flow.sent_end.wrapping_sub(flow.client_ack) < 1 << 31, "acknowledged before it was sent");
        if matches!(flow.state, state::OPENING | state::SPLICED) {
            let leg = self.native.leg(&flow.leg).expect("a flow with a leg has its record");
            assert_eq!(leg.client, flow.client, "the leg is its flow's");
        }
    }

    fn flow(&self) -> Option<Flow> {
        let (source, destination) = (octets(self.client.ip()), octets(self.vip.ip()));
        let (source_port, destination_port) =
            (self.client.port().to_be_bytes(), self.vip.port().to_be_bytes());
        self.native.flow(&Tuple { source, destination, source_port, destination_port })
    }
}

/// How many bytes of the frame are behind its packet; fewer than none if the packet is cut.
fn behind(frame: &[u8], segment: &Segment) -> isize {
    let at = usize::from(segment.network_at);
    let half = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let length = if segment.is_v6 { half(at + 4) + 40 } else { half(at + 2) };
    frame.len().cast_signed() - (at + length).cast_signed()
}

/// Numbers that the fuzzer chooses; zero behind their end.
struct Bytes<'d>(&'d [u8]);

impl<'d> Bytes<'d> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn take(&mut self, length: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn some(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte());
        self.take(length).to_vec()
    }

    /// A distance: none, a few bytes, or far.
    fn near(&mut self) -> u32 {
        match self.byte() {
            0..128 => 0,
            byte @ 128..224 => (i32::from(byte) - 176).cast_unsigned(),
            byte => 1 << (byte - 224),
        }
    }

    fn flags(&mut self) -> u8 {
        match self.byte() {
            0..160 => ACK | PSH,
            byte => byte & 0x3f,
        }
    }

    /// None, or whatever fits.
    fn options(&mut self) -> Vec<u8> {
        let words = match self.byte() {
            0..128 => 0,
            byte => usize::from(byte % 11),
        };
        let mut options = self.take(words * 4).to_vec();
        options.resize(words * 4, 0);
        options
    }
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes()
}

fn socket(address: wire::IpAddress, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(IpAddr::from(address).to_canonical(), u16::from_be_bytes(port))
}

/// Addresses, ports and numbers of a frame, whatever else is in it.
fn numbers(frame: &[u8]) -> Seg {
    let found = Segment::parse(Cursor::new(frame)).unwrap();
    let at = usize::from(found.network_at) + usize::from(found.network_len);
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    let (src, dst) =
        (socket(found.source, found.source_port), socket(found.destination, found.destination_port));
    Seg::new(src, dst, found.flags.0, word(at + 4), word(at + 8))
}
