//! A client, the gateway and endpoints, in the numbers of each.

use std::net::SocketAddr;

use dataplane::{cookie, initial};
use wire::{Reason, TcpOptions};

use crate::lockstep::Both;
use crate::support::segment::{ACK, PSH, RST, SYN, Seg, timestamps};
use crate::support::tuple;

/// Options of a SYN, as systems lay them out.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) options: Vec<u8>,
    pub(crate) mss: Option<u16>,
    pub(crate) scale: u8,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
}

/// The timestamp in the SYNs of [`layouts`].
pub(crate) const CLIENT_CLOCK: u32 = 0x0102_0304;

pub(crate) fn layouts() -> [Layout; 6] {
    let ts = [&[8, 10][..], &CLIENT_CLOCK.to_be_bytes(), &[0; 4]].concat();
    let mss = |mss: u16| [&[2, 4][..], &mss.to_be_bytes()].concat();
    let no = TcpOptions::NO_SCALE;
    let layout = |name, options: &[&[u8]], mss, scale, sack, timestamps| Layout {
        name,
        options: options.concat(),
        mss,
        scale,
        sack,
        timestamps,
    };
    [
        layout("Linux", &[&mss(1460), &[4, 2], &ts, &[1, 3, 3, 7]], Some(1460), 7, true, true),
        layout("Windows", &[&mss(1460), &[1, 3, 3, 8], &[1, 1, 4, 2]], Some(1460), 8, true, false),
        layout("macOS", &[&mss(1440), &[1, 3, 3, 6, 1, 1], &ts, &[4, 2, 0, 0]], Some(1440), 6, true, true),
        layout("no options", &[], None, no, false, false),
        layout("MSS alone", &[&mss(536)], Some(536), no, false, false),
        layout(
            "timestamps and scale",
            &[&mss(1400), &[3, 3, 14], &ts, &[1, 1, 1]],
            Some(1400),
            14,
            false,
            true,
        ),
    ]
}

/// A connection of a client.
pub(crate) struct Talk {
    pub(crate) client: SocketAddr,
    pub(crate) vip: SocketAddr,
    /// The next byte of the client.
    pub(crate) seq: u32,
    /// The next byte that it expects.
    pub(crate) ack: u32,
    pub(crate) layout: Layout,
    /// Our newest timestamp, as the client echoes it.
    pub(crate) echo: u32,
}

impl Talk {
    /// SYN and SYN-ACK, checked to the bit. The client begins close to the end of the numbers, so that they wrap.
    pub(crate) fn open(both: &mut Both, client: &str, vip: &str, layout: Layout) -> Self {
        Self::open_at(both, client, vip, layout, u32::MAX - 60)
    }

    /// The same, from another number on.
    pub(crate) fn open_at(both: &mut Both, client: &str, vip: &str, layout: Layout, isn: u32) -> Self {
        let (client, vip): (SocketAddr, SocketAddr) = (client.parse().unwrap(), vip.parse().unwrap());
        let name = format!("SYN of {} from {client}", layout.name);
        let syn = Seg::new(client, vip, SYN, isn, 0).window(64_240).options(&layout.options);
        let answer = both.sends(&name, &syn, &[Reason::SynCookie]);

        let mss_default = if client.is_ipv4() { 536 } else { 1220 };
        let options = TcpOptions {
            mss: layout.mss.unwrap_or(mss_default),
            window_scale: layout.scale,
            flags: if layout.sack { TcpOptions::SACK } else { 0 },
        };
        let tuple = tuple(client, vip);
        let key = &both.settings.cookie_key;
        assert_eq!(answer.seq, cookie::make(key, &tuple, isn, options, loader::now()), "{name}: cookie");
        let ours = if client.is_ipv4() { both.settings.mss_v4 } else { both.settings.mss_v6 };
        let scale = if layout.scale == TcpOptions::NO_SCALE { [1; 4] } else { [1, 3, 3, 7] };
        let mut expected = vec![2, 4];
        expected.extend(ours.to_be_bytes());
        let mut echo = 0;
        if layout.timestamps {
            expected.extend(if layout.sack { [4, 2, 8, 10] } else { [1, 1, 8, 10] });
            // The tuple's clock, in milliseconds: what it says was compared with the pure engine.
            expected.extend(&answer.options[8..12]);
            expected.extend(CLIENT_CLOCK.to_be_bytes());
            echo = u32::from_be_bytes(answer.options[8..12].try_into().unwrap());
            let now = initial::timestamp(initial::offsets(key, &tuple), loader::now());
            assert!(now.wrapping_sub(echo) < 10_000, "{name}: {echo} at {now}");
        } else {
            expected.extend(if layout.sack { [1, 1, 4, 2] } else { [1; 4] });
        }
        expected.extend(scale);
        let wanted = Seg::new(vip, client, SYN | ACK, answer.seq, isn.wrapping_add(1))
            .window(65_535)
            .options(&expected);
        assert_eq!(answer, wanted, "{name}");
        Self { client, vip, seq: isn.wrapping_add(1), ack: answer.seq.wrapping_add(1), layout, echo }
    }

    /// What the client sends next, without moving on.
    pub(crate) fn seg(&self, flags: u8, data: &[u8]) -> Seg {
        Seg::new(self.client, self.vip, flags, self.seq, self.ack).options(&self.options()).data(data)
    }

    /// A request, which the client will repeat until [`Talk::sent`].
    pub(crate) fn request(&self, head: &str) -> Seg {
        self.seg(ACK | PSH, head.as_bytes())
    }

    /// The client goes on behind what it sent.
    pub(crate) fn sent(&mut self, seg: &Seg) {
        self.seq = seg.seq.wrapping_add(seg.data.len() as u32);
    }

    /// The options of the client's segments on the open connection.
    fn options(&self) -> Vec<u8> {
        if self.layout.timestamps { timestamps(CLIENT_CLOCK + 5, self.echo) } else { vec![] }
    }

    /// The options of a SYN that announces what this client announced, with our `clock`.
    pub(crate) fn syn_options(&self, clock: u32) -> Vec<u8> {
        // Cookies remember four sizes.
        let least = if self.client.is_ipv4() { 536 } else { 1220 };
        let mss = self.layout.mss.unwrap_or(least);
        let mss = [1460, 1440, 1220, 536].into_iter().find(|&size| size <= mss).unwrap_or(536);
        let mut options = vec![2, 4];
        options.extend(u16::to_be_bytes(mss));
        if self.layout.timestamps {
            options.extend(if self.layout.sack { [4, 2, 8, 10] } else { [1, 1, 8, 10] });
            options.extend(clock.to_be_bytes());
            options.extend([0; 4]);
        } else {
            options.extend(if self.layout.sack { [1, 1, 4, 2] } else { [1; 4] });
        }
        let no_scale = self.layout.scale == TcpOptions::NO_SCALE;
        options.extend(if no_scale { [1; 4] } else { [1, 3, 3, self.layout.scale] });
        options
    }
}

/// A leg, from the SYN that opened it.
#[derive(Clone)]
pub(crate) struct Leg {
    pub(crate) us: SocketAddr,
    pub(crate) endpoint: SocketAddr,
    /// Our next byte.
    pub(crate) seq: u32,
    /// The endpoint's next byte.
    pub(crate) peer: u32,
    /// Our timestamp in the SYN.
    pub(crate) clock: u32,
    /// What the client had seen of our clock when the leg opened.
    base: u32,
    timestamps: bool,
    scaled: bool,
    sack: bool,
}

/// The endpoint's clock.
pub(crate) const PEER_CLOCK: u32 = 0x7000_0000;
const PEER_ISN: u32 = u32::MAX - 3;

impl Leg {
    /// Checks the SYN that a request became.
    pub(crate) fn of(what: &str, syn: &Seg, talk: &Talk, endpoint: &str, source: &str) -> Self {
        let clock = if talk.layout.timestamps {
            u32::from_be_bytes(syn.options[8..12].try_into().unwrap())
        } else {
            0
        };
        let us = SocketAddr::new(source.parse().unwrap(), syn.src.port());
        assert!((20_000..30_000).contains(&us.port()), "{what}: {us}");
        let endpoint: SocketAddr = endpoint.parse().unwrap();
        let no_scale = talk.layout.scale == TcpOptions::NO_SCALE;
        let shift = if no_scale { 0 } else { u32::from(talk.layout.scale) };
        let window = u16::try_from((502u32 << shift).min(65_535)).unwrap();
        let wanted = Seg::new(us, endpoint, SYN, syn.seq, 0).window(window).options(&talk.syn_options(clock));
        assert_eq!(*syn, wanted, "{what}");
        Self {
            us,
            endpoint,
            seq: syn.seq.wrapping_add(1),
            peer: PEER_ISN,
            clock,
            base: talk.echo,
            timestamps: talk.layout.timestamps,
            scaled: !no_scale,
            sack: talk.layout.sack,
        }
    }

    /// The same leg in the hands of another client, whose request went out as `sent`.
    pub(crate) fn taken_by(&self, talk: &Talk, sent: &Seg) -> Self {
        let mut leg = self.clone();
        if self.timestamps {
            leg.clock = u32::from_be_bytes(sent.options[4..8].try_into().unwrap());
            assert!(leg.clock.wrapping_sub(self.clock) < 1 << 31, "time runs forward on a leg");
        }
        // What the endpoint has said by its clock is what this client has seen of ours.
        leg.base = talk.echo.wrapping_sub(9);
        leg
    }

    /// The endpoint's SYN-ACK.
    pub(crate) fn accept(&self) -> Seg {
        let mut options = vec![2, 4, 5, 0xb4];
        options.extend(if self.sack { [1, 1, 4, 2] } else { [1; 4] });
        if self.timestamps {
            options.extend(timestamps(PEER_CLOCK, self.clock));
        }
        if self.scaled {
            options.extend([1, 3, 3, 9]);
        }
        Seg::new(self.endpoint, self.us, SYN | ACK, PEER_ISN, self.seq).window(65_160).options(&options)
    }

    /// What the endpoint sends next, with everything acknowledged.
    pub(crate) fn seg(&self, flags: u8, data: &[u8]) -> Seg {
        let options = if self.timestamps { timestamps(PEER_CLOCK + 9, self.clock) } else { vec![] };
        Seg::new(self.endpoint, self.us, flags, self.peer, self.seq).options(&options).data(data)
    }

    /// What a segment of the client must become on the leg.
    pub(crate) fn up(&self, talk: &Talk, flags: u8, data: &[u8]) -> Seg {
        let echo = PEER_CLOCK.wrapping_add(talk.echo.wrapping_sub(self.base));
        let options = if self.timestamps { timestamps(self.clock, echo) } else { vec![] };
        Seg::new(self.us, self.endpoint, flags, self.seq, self.peer).options(&options).data(data)
    }

    /// What a segment of the endpoint must become for the client, who sent all before it.
    pub(crate) fn down(&self, talk: &Talk, flags: u8, data: &[u8]) -> Seg {
        let options = if self.timestamps { timestamps(self.base + 9, CLIENT_CLOCK + 5) } else { vec![] };
        // The endpoint's shift is 9, ours 7.
        let window = if self.scaled { 502 << 2 } else { 502 };
        Seg::new(talk.vip, talk.client, flags, talk.ack, talk.seq).options(&options).window(window).data(data)
    }

    /// The reset of the leg, at the byte that the endpoint expects.
    pub(crate) fn reset(&self) -> Seg {
        Seg::new(self.us, self.endpoint, RST, self.seq, 0).window(0)
    }
}

/// A request that opens a leg: its SYN, the endpoint's answer, the request on the leg. `route`: endpoint and our address.
pub(crate) fn bind(both: &mut Both, talk: &mut Talk, head: &str, route: (&str, &str), reason: Reason) -> Leg {
    let request = talk.request(head);
    let syn = both.sends(head, &request, &[reason]);
    let mut leg = Leg::of(head, &syn, talk, route.0, route.1);
    let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    let data = forwarded(head.as_bytes(), talk.client);
    assert_eq!(sent, leg.up(talk, ACK | PSH, &data), "{head} on the leg");
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(data.len() as u32);
    leg
}

/// A response in one segment, and its acknowledgement.
pub(crate) fn respond(both: &mut Both, talk: &mut Talk, leg: &mut Leg, response: &str) {
    let sent = both.sends(response, &leg.seg(ACK | PSH, response.as_bytes()), &[]);
    assert_eq!(sent, leg.down(talk, ACK | PSH, response.as_bytes()), "{response}");
    leg.peer = leg.peer.wrapping_add(response.len() as u32);
    talk.ack = talk.ack.wrapping_add(response.len() as u32);
    if talk.layout.timestamps {
        talk.echo = u32::from_be_bytes(sent.options[4..8].try_into().unwrap());
    }
    let sent = both.sends("acknowledgement", &talk.seg(ACK, b""), &[]);
    assert_eq!(sent, leg.up(talk, ACK, b""), "acknowledgement");
}

/// The request with what the gateway inserts behind its first line, for a client at that address.
pub(crate) fn forwarded(request: &[u8], client: SocketAddr) -> Vec<u8> {
    let end = request.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    let text = format!("X-Forwarded-For: {}\r\nX-Forwarded-Proto: http\r\n", client.ip());
    // Of even length: with one more space where it would be odd.
    let text = if text.len() % 2 == 0 { text } else { text.replace("Proto: ", "Proto:  ") };
    [&request[..end], text.as_bytes(), &request[end..]].concat()
}
