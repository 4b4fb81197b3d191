//! Connections that live the same life, a packet at a time.

use std::net::SocketAddr;

use crate::Samples;
use crate::support::program::{Program, Said};
use crate::support::segment::{ACK, FIN, GATEWAY, PSH, ROUTER, SYN, Seg, timestamps};
use crate::support::tables::VIP;

/// Kinds of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Neither IPv4 nor IPv6: what measuring costs.
    Nothing,
    Udp,
    Foreign,
    Syn,
    BareAck,
    First,
    Accept,
    Response,
    Ack,
    Next,
    NextResponse,
    Plain,
    BodyHead,
    Body,
    Large,
    BodyAck,
    ClientFin,
    EndpointFin,
    LastAck,
}

impl Kind {
    /// In the order of a connection's life.
    pub(crate) const ALL: [Self; 19] = [
        Self::Nothing,
        Self::Udp,
        Self::Foreign,
        Self::Syn,
        Self::BareAck,
        Self::First,
        Self::Accept,
        Self::Response,
        Self::Ack,
        Self::Next,
        Self::NextResponse,
        Self::Plain,
        Self::BodyHead,
        Self::Body,
        Self::Large,
        Self::BodyAck,
        Self::ClientFin,
        Self::EndpointFin,
        Self::LastAck,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "measuring itself (an ARP frame)",
            Self::Udp => "not ours: UDP",
            Self::Foreign => "not ours: TCP",
            Self::Syn => "SYN, answered with a cookie",
            Self::BareAck => "acknowledgement of the cookie, dropped",
            Self::First => "first request, becomes a SYN",
            Self::Accept => "SYN-ACK of the endpoint, becomes the request",
            Self::Response => "response of 128 B with its head",
            Self::Ack => "acknowledgement of the client",
            Self::Next => "next request, forwarded headers inserted",
            Self::NextResponse => "its response of 128 B",
            Self::Plain => "next request, nothing inserted",
            Self::BodyHead => "response of 1 MB: head and 1,200 B",
            Self::Body => "body, 1,448 B",
            Self::Large => "body, GSO",
            Self::BodyAck => "acknowledgement of body",
            Self::ClientFin => "FIN of the client",
            Self::EndpointFin => "FIN of the endpoint",
            Self::LastAck => "last acknowledgement, forgets the connection",
        }
    }
}

/// One client's connection, in the numbers of both sides.
pub(crate) struct Conversation {
    client: SocketAddr,
    vip: SocketAddr,
    seq: u32,
    ack: u32,
    echo: u32,
    us: SocketAddr,
    endpoint: SocketAddr,
    leg_seq: u32,
    leg_peer: u32,
    leg_clock: u32,
}

/// The route's endpoint is 10.1.0.1:80; text is inserted into its requests.
const GET: &str = "GET /128 HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";
/// On this route nothing is inserted, and the endpoint is another.
const GET_PLAIN: &str =
    "GET /plain HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\n\
Content-Type: application/octet-stream\r\nConnection: keep-alive\r\n";

/// A response with the head of a usual server.
fn response(length: u32, body: usize) -> Vec<u8> {
    [HEAD.as_bytes(), format!("Content-Length: {length}\r\n\r\n").as_bytes(), &vec![b'x'; body]].concat()
}

/// Connections to the route that inserts nothing have ports this much higher.
const PLAIN_PORTS: u16 = 30_000;

/// All connections of a round: `count`, from client port `port` on.
pub(crate) fn round(program: &mut Program, samples: &mut Samples, port: u16, count: u16) {
    let mut all: Vec<Conversation> = (0..count).map(|n| Conversation::new(port + n)).collect();
    let mut measure = Measure { program, samples: &mut *samples };
    for one in &all {
        let arp = [&GATEWAY[..], &ROUTER, &[8, 6], &[0; 46]].concat();
        measure.frame(Kind::Nothing, &arp, 0, Said::Pass);
        let mut udp = one.foreign().frame();
        udp[23] = 17;
        measure.frame(Kind::Udp, &udp, 0, Said::Pass);
        measure.frame(Kind::Foreign, &one.foreign().frame(), 0, Said::Pass);
    }
    let small = response(128, 128);
    all.iter_mut().for_each(|one| one.syn(&mut measure));
    all.iter_mut().for_each(|one| measure.drops(Kind::BareAck, &one.up(ACK, b"")));
    all.iter_mut().for_each(|one| one.first(&mut measure, GET));
    all.iter_mut().for_each(|one| one.accept(&mut measure, GET));
    all.iter_mut().for_each(|one| one.answer(&mut measure, Kind::Response, &small, 0));
    all.iter_mut().for_each(|one| one.acknowledge(&mut measure, Kind::Ack));
    all.iter_mut().for_each(|one| one.next(&mut measure, Kind::Next, GET));
    all.iter_mut().for_each(|one| one.answer(&mut measure, Kind::NextResponse, &small, 0));
    all.iter_mut().for_each(|one| one.acknowledge(&mut measure, Kind::Ack));
    all.iter_mut().for_each(|one| one.next(&mut measure, Kind::Next, GET));
    all.iter_mut().for_each(|one| one.answer(&mut measure, Kind::BodyHead, &response(1_000_000, 1200), 0));
    for _ in 0..4 {
        all.iter_mut().for_each(|one| one.answer(&mut measure, Kind::Body, &[b'x'; 1448], 0));
        all.iter_mut().for_each(|one| one.answer(&mut measure, Kind::Large, &[b'x'; 2 * 1448], 1448));
        all.iter_mut().for_each(|one| one.acknowledge(&mut measure, Kind::BodyAck));
    }
    all.iter_mut().for_each(|one| one.close(&mut measure));
    // Others of the same life, whose route inserts nothing.
    let mut plain: Vec<Conversation> =
        (0..count).map(|n| Conversation::new(port + PLAIN_PORTS + n)).collect();
    let mut uncounted = Measure { program: measure.program, samples: &mut Samples::new() };
    for one in &mut plain {
        one.syn(&mut uncounted);
        one.first(&mut uncounted, GET_PLAIN);
        one.accept(&mut uncounted, GET_PLAIN);
        one.answer(&mut uncounted, Kind::Response, &small, 0);
        one.acknowledge(&mut uncounted, Kind::Ack);
    }
    let mut measure = Measure { program, samples };
    plain.iter_mut().for_each(|one| one.next(&mut measure, Kind::Plain, GET_PLAIN));
}

/// Runs frames, and keeps what they took.
struct Measure<'m> {
    program: &'m mut Program,
    samples: &'m mut Samples,
}

impl Measure<'_> {
    fn frame(&mut self, kind: Kind, frame: &[u8], gso_size: u32, expected: Said) -> Vec<u8> {
        let (said, out, took) = self.program.run_as(frame, gso_size);
        assert_eq!(said, expected, "{}", kind.name());
        let out = out.to_vec();
        self.samples.entry(kind).or_default().push(u64::try_from(took.as_nanos()).unwrap());
        out
    }

    fn drops(&mut self, kind: Kind, seg: &Seg) {
        self.frame(kind, &seg.frame(), 0, Said::Drop);
    }

    fn sends(&mut self, kind: Kind, seg: &Seg, gso_size: u32) -> Seg {
        Seg::read(&self.frame(kind, &seg.frame(), gso_size, Said::Send))
    }
}

/// The client's and the endpoint's timestamps: they need not move.
const CLIENT_CLOCK: u32 = 0x0102_0304;
const ENDPOINT_CLOCK: u32 = 0x7000_0000;
/// Options of a SYN of Linux: MSS 1460, SACK, timestamps, scale 7.
fn linux(clock: u32, echo: u32) -> Vec<u8> {
    let clocks = [clock.to_be_bytes(), echo.to_be_bytes()].concat();
    [&[2, 4, 5, 0xb4, 4, 2, 8, 10][..], &clocks, &[1, 3, 3, 7]].concat()
}

impl Conversation {
    fn new(port: u16) -> Self {
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            client: SocketAddr::from(([198, 51, 100, 7], port)),
            vip: VIP.parse().unwrap(),
            seq: u32::from(port) << 8,
            ack: 0,
            echo: 0,
            us: none,
            endpoint: none,
            leg_seq: 0,
            leg_peer: u32::from(port) << 9,
            leg_clock: 0,
        }
    }

    /// What is no business of ours.
    fn foreign(&self) -> Seg {
        Seg::new(self.client, SocketAddr::from(([203, 0, 113, 9], 443)), ACK, self.seq, 1)
            .options(&timestamps(CLIENT_CLOCK, 1))
            .data(&[b'x'; 512])
    }

    fn up(&self, flags: u8, data: &[u8]) -> Seg {
        let options = timestamps(CLIENT_CLOCK + 5, self.echo);
        Seg::new(self.client, self.vip, flags, self.seq, self.ack).options(&options).data(data)
    }

    fn down(&self, flags: u8, data: &[u8]) -> Seg {
        let options = timestamps(ENDPOINT_CLOCK + 9, self.leg_clock);
        Seg::new(self.endpoint, self.us, flags, self.leg_peer, self.leg_seq).options(&options).data(data)
    }

    fn syn(&mut self, measure: &mut Measure<'_>) {
        let syn = Seg::new(self.client, self.vip, SYN, self.seq, 0).window(64_240);
        let answer = measure.sends(Kind::Syn, &syn.options(&linux(CLIENT_CLOCK, 0)), 0);
        (self.seq, self.ack) = (self.seq.wrapping_add(1), answer.seq.wrapping_add(1));
        self.echo = clock(&answer.options, 8);
    }

    fn first(&mut self, measure: &mut Measure<'_>, head: &str) {
        let syn = measure.sends(Kind::First, &self.up(ACK | PSH, head.as_bytes()), 0);
        (self.us, self.endpoint) = (syn.src, syn.dst);
        (self.leg_seq, self.leg_clock) = (syn.seq.wrapping_add(1), clock(&syn.options, 8));
        self.seq = self.seq.wrapping_add(head.len() as u32);
    }

    fn accept(&mut self, measure: &mut Measure<'_>, head: &str) {
        let options = linux(ENDPOINT_CLOCK, self.leg_clock);
        let accept = Seg::new(self.endpoint, self.us, SYN | ACK, self.leg_peer, self.leg_seq);
        let sent = measure.sends(Kind::Accept, &accept.window(65_160).options(&options), 0);
        assert!(sent.data.len() >= head.len(), "the whole request");
        self.leg_peer = self.leg_peer.wrapping_add(1);
        self.leg_seq = self.leg_seq.wrapping_add(sent.data.len() as u32);
    }

    fn answer(&mut self, measure: &mut Measure<'_>, kind: Kind, data: &[u8], gso_size: u32) {
        let sent = measure.sends(kind, &self.down(ACK | PSH, data), gso_size);
        assert_eq!((sent.dst, sent.seq), (self.client, self.ack), "{}", kind.name());
        self.leg_peer = self.leg_peer.wrapping_add(data.len() as u32);
        self.ack = self.ack.wrapping_add(data.len() as u32);
        self.echo = clock(&sent.options, 4);
    }

    fn acknowledge(&mut self, measure: &mut Measure<'_>, kind: Kind) {
        let sent = measure.sends(kind, &self.up(ACK, b""), 0);
        assert_eq!(sent.ack, self.leg_peer, "{}", kind.name());
    }

    fn next(&mut self, measure: &mut Measure<'_>, kind: Kind, head: &str) {
        let sent = measure.sends(kind, &self.up(ACK | PSH, head.as_bytes()), 0);
        assert_eq!((sent.dst, sent.seq), (self.endpoint, self.leg_seq), "{}", kind.name());
        self.seq = self.seq.wrapping_add(head.len() as u32);
        self.leg_seq = self.leg_seq.wrapping_add(sent.data.len() as u32);
    }

    /// The client goes first; what is left of the response is not missed by anybody.
    fn close(&mut self, measure: &mut Measure<'_>) {
        measure.sends(Kind::ClientFin, &self.up(ACK | FIN, b""), 0);
        (self.seq, self.leg_seq) = (self.seq.wrapping_add(1), self.leg_seq.wrapping_add(1));
        measure.sends(Kind::EndpointFin, &self.down(ACK | FIN, b""), 0);
        (self.ack, self.leg_peer) = (self.ack.wrapping_add(1), self.leg_peer.wrapping_add(1));
        measure.sends(Kind::LastAck, &self.up(ACK, b""), 0);
    }
}

/// Four bytes of the options.
fn clock(options: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(options[at..at + 4].try_into().unwrap())
}
