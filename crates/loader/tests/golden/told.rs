//! Endpoints that are told who the client is: a header of the PROXY protocol, version 2, before the first request on a leg.

use std::net::{IpAddr, SocketAddr};

use wire::Reason;

use crate::lockstep::Both;
use crate::pool::Pooling;
use crate::support::segment::{ACK, FIN, PSH};
use crate::support::tables::{SOURCE, SOURCE6, VIP, VIP6};
use crate::talk::{Leg, Talk, forwarded, layouts, respond};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
const GET: &str = "GET /told HTTP/1.1\r\nHost: a.example\r\nUser-Agent: golden\r\n\r\n";

const LAST: &str = "GET /told HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// By family: client, VIP, endpoint, our address on the leg.
const FAMILIES: [(&str, &str, &str, &str); 2] = [
    ("198.51.100.9", VIP, "10.1.0.13:80", SOURCE),
    ("[2001:db8:9::9]", VIP6, "[2001:db8:1::13]:80", SOURCE6),
];

fn header(client: SocketAddr, vip: SocketAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let family: [u8; 3] = if client.is_ipv4() { [0x11, 0, 12] } else { [0x21, 0, 36] };
    [
        &b"\r\n\r\n\0\r\nQUIT\n\x21"[..],
        &family,
        &octets(client.ip()),
        &octets(vip.ip()),
        &client.port().to_be_bytes(),
        &vip.port().to_be_bytes(),
    ]
    .concat()
}

#[test]
fn a_leg_begins_with_the_header_and_so_does_the_request_until_it_is_acknowledged() {
    let both = &mut *Both::shared();
    for (client, vip, endpoint, source) in FAMILIES {
        for (number, layout) in layouts().into_iter().enumerate() {
            let mut talk = Talk::open(both, &format!("{client}:{}", 47_000 + number), vip, layout);
            let request = talk.request(GET);
            let syn = both.sends("request", &request, &[Reason::Bound]);
            let mut leg = Leg::of("request", &syn, &talk, endpoint, source);
            assert_eq!(both.sends("request again", &request, &[Reason::Reopened]), syn);
            let data = [header(talk.client, talk.vip), forwarded(GET.as_bytes(), talk.client)].concat();
            let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
            leg.peer = leg.peer.wrapping_add(1);
            assert_eq!(sent, leg.up(&talk, ACK | PSH, &data), "behind the header");
            assert_eq!(both.sends("SYN-ACK again", &leg.accept(), &[]), sent);
            assert_eq!(both.sends("request on the open leg", &request, &[]), sent, "behind the header again");
            talk.sent(&request);
            leg.seq = leg.seq.wrapping_add(data.len() as u32);
            respond(both, &mut talk, &mut leg, OK);
            let request = talk.request(GET);
            let data = forwarded(GET.as_bytes(), talk.client);
            let sent = both.sends("second request", &request, &[Reason::Reused]);
            assert_eq!(sent, leg.up(&talk, ACK | PSH, &data), "nothing is said twice");
            assert_eq!(both.sends("second request again", &request, &[]), sent);
        }
    }
}

#[test]
fn a_leg_that_was_told_of_its_client_waits_for_no_other() {
    let both = &mut *Pooling::new();
    for (client, vip, endpoint, source) in FAMILIES {
        for (port, asked) in [(47_100, GET), (47_101, LAST), (47_102, GET)] {
            let layout = layouts().into_iter().next().unwrap();
            let mut talk = Talk::open(both, &format!("{client}:{port}"), vip, layout);
            let request = talk.request(asked);
            let syn = both.sends(asked, &request, &[Reason::Bound]);
            let mut leg = Leg::of(asked, &syn, &talk, endpoint, source);
            let data = [header(talk.client, talk.vip), forwarded(asked.as_bytes(), talk.client)].concat();
            let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
            leg.peer = leg.peer.wrapping_add(1);
            assert_eq!(sent, leg.up(&talk, ACK | PSH, &data), "all that the client says");
            talk.sent(&request);
            leg.seq = leg.seq.wrapping_add(data.len() as u32);
            respond(both, &mut talk, &mut leg, OK);
            let fin = both.sends("FIN of the client", &talk.seg(FIN | ACK, b""), &[]);
            assert_eq!(fin, leg.up(&talk, FIN | ACK, b""), "{asked}");
        }
    }
}
