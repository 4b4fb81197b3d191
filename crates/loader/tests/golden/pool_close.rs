//! A request that says `Connection: close` while legs are pooled.

use wire::Reason;

use crate::lockstep::Both;
use crate::pool::{Pooling, ROOT, open};
use crate::support::segment::{ACK, FIN, PSH, Seg, timestamps};
use crate::talk::{CLIENT_CLOCK, Leg, Talk, forwarded};

/// What the client says, and what the endpoint hears. The word is at an odd place in one and at an even one in the other.
const ASKED: [(&str, &str); 2] = [
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection:      \r\n\r\n",
    ),
    (
        "GET / HTTP/1.1\r\nHost: ab\r\nconnection: Close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: ab\r\nconnection:      \r\n\r\n",
    ),
];

/// The same of the response.
const SAID: [(&str, &str); 2] = [
    (
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: close     \r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "HTTP/1.1 200 OK.\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK.\r\nConnection: close     \r\nContent-Length: 2\r\n\r\nok",
    ),
];

/// The request goes out over a leg; the leg.
fn ask(both: &mut Both, talk: &mut Talk, turn: usize, left: Option<&Leg>) -> Leg {
    let (asked, heard) = ASKED[turn % 2];
    let request = talk.request(asked);
    let data = forwarded(heard.as_bytes(), talk.client);
    let mut leg = if let Some(left) = left {
        let sent = both.sends(asked, &request, &[Reason::Pooled]);
        let leg = left.taken_by(talk, &sent);
        assert_eq!(sent, leg.up(talk, ACK | PSH, &data), "{turn}");
        leg
    } else {
        let syn = both.sends(asked, &request, &[Reason::Bound]);
        let mut leg = Leg::of(asked, &syn, talk, ROOT.0, ROOT.1);
        let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
        leg.peer = leg.peer.wrapping_add(1);
        assert_eq!(sent, leg.up(talk, ACK | PSH, &data), "{turn}");
        leg
    };
    let again = both.sends("the request again", &request, &[]);
    assert_eq!(again, leg.up(talk, ACK | PSH, &data), "{turn}: again");
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(data.len() as u32);
    leg
}

/// The response, twice, and the client's end, twice.
fn answer(both: &mut Both, talk: &mut Talk, turn: usize, leg: &mut Leg) {
    let (said, heard) = SAID[turn / 2 % 2];
    for time in 0..2 {
        let sent = both.sends(said, &leg.seg(ACK | PSH, said.as_bytes()), &[]);
        assert_eq!(sent, leg.down(talk, FIN | ACK | PSH, heard.as_bytes()), "{turn}: time {time}");
        if time == 1 && talk.layout.timestamps {
            talk.echo = u32::from_be_bytes(sent.options[4..8].try_into().unwrap());
        }
    }
    leg.peer = leg.peer.wrapping_add(said.len() as u32);
    talk.ack = talk.ack.wrapping_add(said.len() as u32 + 1);
    let end = talk.seq.wrapping_add(1);
    let options = if talk.layout.timestamps { timestamps(talk.echo, CLIENT_CLOCK + 5) } else { vec![] };
    let wanted = Seg::new(talk.vip, talk.client, ACK, talk.ack, end).options(&options);
    let fin = talk.seg(FIN | ACK, b"");
    let sent = both.sends("FIN of the client", &fin, &[Reason::Closed, Reason::LegPooled]);
    assert_eq!(sent, wanted.clone().window(65_535), "{turn}");
    assert_eq!(both.flow(talk.client, talk.vip), None);
    let sent = both.sends("FIN of the client again", &fin, &[Reason::Probe]);
    assert_eq!(sent, wanted.window(511), "{turn}");
}

#[test]
fn its_leg_waits_for_the_next() {
    let both = &mut *Pooling::new();
    for layout in [0, 1, 3, 5] {
        let mut left = None;
        for turn in 0..4 {
            let mut talk = open(both, 41_200 + 10 * layout as u16 + turn as u16, layout);
            let mut leg = ask(both, &mut talk, turn, left.as_ref());
            answer(both, &mut talk, turn, &mut leg);
            left = Some(leg);
        }
    }
}
