//! What answers a client before its first request, and what is not ours to answer.

use wire::{Reason, Settings};

use crate::lockstep::Both;
use crate::packets::{self, Packet};
use crate::support::segment::{ACK, FIN, RST, SYN, Seg, timestamps};
use crate::support::tables::{VIP, VIP6};
use crate::talk::{CLIENT_CLOCK, Talk, layouts};

const CLIENTS: [(&str, &str); 2] = [("198.51.100.7:40001", VIP), ("[2001:db8:9::7]:40001", VIP6)];

#[test]
fn every_layout_of_options_gets_its_cookie_over_both_families() {
    let both = &mut *Both::shared();
    for (client, vip) in CLIENTS {
        for layout in layouts() {
            let mut talk = Talk::open(both, client, vip, layout);
            let name = talk.layout.name;
            both.drops(&format!("{name}: bare acknowledgement"), &talk.seg(ACK, b""), Reason::BareAck);
            // A keep-alive probe says a byte again that the handshake left, or none.
            talk.seq = talk.seq.wrapping_sub(1);
            for data in [&b""[..], b"\0"] {
                let probe = both.sends(&format!("{name}: probe"), &talk.seg(ACK, data), &[Reason::Probe]);
                let options = if talk.layout.timestamps {
                    timestamps((loader::now() / 1_000_000) as u32, CLIENT_CLOCK + 5)
                } else {
                    vec![]
                };
                let clockless = |seg: Seg| Seg {
                    options: seg
                        .options
                        .iter()
                        .enumerate()
                        .map(|(at, byte)| byte * u8::from(!(4..8).contains(&at)))
                        .collect(),
                    ..seg
                };
                let wanted = Seg::new(talk.vip, talk.client, ACK, talk.ack, talk.seq.wrapping_add(1))
                    .window(511)
                    .options(&options);
                assert_eq!(clockless(probe), clockless(wanted), "{name}: probe");
            }
        }
    }
}

#[test]
fn a_segment_without_our_cookie_is_the_hosts() {
    let both = &mut *Both::shared();
    for (client, vip) in CLIENTS {
        let [linux, ..] = layouts();
        let talk = Talk::open(both, client, vip, linux);
        let right = talk.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let foreign = |seg: Seg| (seg.frame(), Some(Reason::PassForeign));
        for (what, (frame, reason)) in [
            ("another cookie", foreign(Seg { ack: right.ack ^ 0x8000_0000, ..right.clone() })),
            ("no acknowledgement", foreign(Seg { flags: 0, ..right.clone() })),
            ("RST", foreign(Seg { flags: RST, ..right.clone() })),
            ("SYN and ACK", foreign(Seg { flags: SYN | ACK, ..right.clone() })),
        ] {
            both.passes(what, &frame, reason);
        }
        let overtaking = Seg { seq: right.seq.wrapping_add(9), ..right.clone() };
        both.drops("ahead of the first segment", &overtaking, Reason::DropEarly);
        both.hands_off("FIN with the request", &Seg { flags: ACK | FIN, ..right });
    }
}

#[test]
fn data_in_a_syn_is_left_for_the_client_to_repeat() {
    let both = &mut *Both::shared();
    let [.., client] = CLIENTS.map(|(client, vip)| (client.parse().unwrap(), vip.parse().unwrap()));
    let syn = Seg::new(client.0, client.1, SYN, 7, 0).data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n!");
    let answer = both.sends("SYN with data", &syn, &[Reason::SynCookie]);
    assert_eq!((answer.flags, answer.ack, answer.data), (SYN | ACK, 8, vec![]));
}

#[test]
fn options_that_lie_are_dropped() {
    let both = &mut *Both::shared();
    for (client, vip) in CLIENTS {
        let syn = Seg::new(client.parse().unwrap(), vip.parse().unwrap(), SYN, 7, 0);
        for options in [[2, 0, 1, 1], [8, 1, 0, 0], [1, 1, 1, 2], [2, 40, 5, 0xb4]] {
            both.drops(&format!("options {options:?}"), &syn.clone().options(&options), Reason::DropOptions);
        }
    }
}

#[test]
fn while_the_agent_is_away_new_connections_are_the_hosts() {
    let both = &mut *Both::shared();
    let (client, vip) = (CLIENTS[0].0.parse().unwrap(), CLIENTS[0].1.parse().unwrap());
    let syn = Seg::new(client, vip, SYN, 7, 0).frame();
    let silent = Settings { heartbeat: 1, heartbeat_timeout: 1_000_000, ..both.settings };
    let passive = Settings { flags: Settings::PASSIVE, ..both.settings };
    let awake = both.settings;
    for settings in [silent, passive] {
        both.program.set(&settings);
        both.native.settings = settings;
        both.passes("SYN", &syn, Some(Reason::PassPassive));
    }
    both.program.set(&awake);
    both.native.settings = awake;
}

#[test]
fn other_shapes_and_other_peoples_packets_pass_untouched() {
    let both = &mut *Both::shared();
    let v4 = || Packet::to("192.0.2.1", 8080);
    let v6 = || Packet::to("2001:db8::1", 8080);
    let ours = Some(Reason::PassShape);
    for (what, packet, reason) in [
        ("one VLAN tag", v4().vlans(&[0x8100]).flags(packets::SYN), ours),
        ("two VLAN tags", v6().vlans(&[0x88a8, 0x8100]), ours),
        ("three VLAN tags", v4().vlans(&[0x88a8, 0x8100, 0x8100]), None),
        ("IPv4 options", v4().ip_options(12).flags(packets::SYN), ours),
        ("first fragment", v4().fragment(0x2000), ours),
        ("later fragment", v4().fragment(0x0010), None),
        ("IPv6 fragment header", v6().ipv6_next_header(44), None),
        ("IPv6 hop-by-hop options", v6().ipv6_next_header(0), None),
        ("UDP", v4().udp(), None),
        ("transit, SYN", Packet::to("203.0.113.7", 8080).flags(packets::SYN), None),
        ("transit, another port", Packet::to("192.0.2.1", 8081), None),
        ("transit, IPv6", Packet::to("2001:db8::2", 8080), None),
        ("transit, address that ends in ours", Packet::to("2001:db8::c000:201", 8080), None),
    ] {
        both.passes(what, &packet.build(), reason);
    }
}
