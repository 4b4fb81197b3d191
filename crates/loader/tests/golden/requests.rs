//! Requests and responses on connections that the kernel splices, and requests that it leaves to userspace.

use wire::{Flow, Reason};

use crate::lockstep::Both;
use crate::support::program::Said;
use crate::support::segment::{ACK, FIN, PSH, RST, Seg, timestamps, with_wrong_checksum};
use crate::support::tables::{SOURCE, SOURCE6, VIP, VIP6};
use crate::talk::{CLIENT_CLOCK, Leg, PEER_CLOCK, Talk, bind, forwarded, layouts, respond};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

/// An endpoint, and our address on legs to it.
type Way = (&'static str, &'static str);

/// By family: client, VIP, and for `/` and `/api` the endpoint and our address on the leg.
const FAMILIES: [(&str, &str, [Way; 2]); 2] = [
    ("198.51.100.7", VIP, [("10.1.0.1:80", SOURCE), ("10.1.0.2:80", SOURCE)]),
    ("[2001:db8:9::7]", VIP6, [("[2001:db8:1::1]:80", SOURCE6), ("[2001:db8:1::2]:80", SOURCE6)]),
];

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: golden\r\n\r\n")
}

#[test]
fn a_connection_from_its_first_request_to_another_routes_endpoint() {
    let both = &mut *Both::shared();
    for (client, vip, [root, api]) in FAMILIES {
        for (number, layout) in layouts().into_iter().enumerate() {
            let client = format!("{client}:{}", 41_000 + number);
            let mut talk = Talk::open(both, &client, vip, layout);
            let mut leg = bind(both, &mut talk, &get("/"), root, Reason::Bound);
            respond(both, &mut talk, &mut leg, OK);
            for path in ["/again", "/apiary?x=/api"] {
                reuse(both, &mut talk, &mut leg, &get(path));
                respond(both, &mut talk, &mut leg, CHUNKED);
            }
            let mut second = bind(both, &mut talk, &get("/api"), api, Reason::Rebound);
            respond(both, &mut talk, &mut second, OK);
            // The endpoint that was left learns of it with its next segment.
            let reset = both.sends("the old leg", &leg.seg(ACK, b"late"), &[Reason::DropOrphan]);
            assert_eq!(reset, leg.reset());
            reuse(both, &mut talk, &mut second, &get("/api/v3"));
        }
    }
}

/// A request over the leg that is there.
fn reuse(both: &mut Both, talk: &mut Talk, leg: &mut Leg, head: &str) {
    let request = talk.request(head);
    let data = forwarded(head.as_bytes(), talk.client);
    let sent = both.sends(head, &request, &[Reason::Reused]);
    assert_eq!(sent, leg.up(talk, ACK | PSH, &data), "{head}");
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(data.len() as u32);
}

#[test]
fn nested_prefixes_are_decided_by_the_longest() {
    let both = &mut *Both::shared();
    let endpoints = [
        ("/", 1),
        ("/apiary", 1),
        ("/api", 2),
        ("/api/", 2),
        ("/api/v", 2),
        ("/api/v2", 3),
        ("/api/v2/users?id=7", 3),
        ("/api/v22", 2),
    ];
    for (number, (path, endpoint)) in endpoints.into_iter().enumerate() {
        let [.., layout] = layouts();
        let client = format!("198.51.100.7:{}", 42_000 + number);
        let mut talk = Talk::open(both, &client, VIP, layout);
        let endpoint = format!("10.1.0.{endpoint}:80");
        let mut leg = bind(both, &mut talk, &get(path), (&endpoint, SOURCE), Reason::Bound);
        respond(both, &mut talk, &mut leg, OK);
    }
}

#[test]
fn whatever_comes_again_becomes_the_same_again() {
    let both = &mut *Both::shared();
    for (client, vip, [root, _]) in FAMILIES {
        let [linux, ..] = layouts();
        let mut talk = Talk::open(both, &format!("{client}:43000"), vip, linux);
        let request = talk.request(&get("/"));
        let syn = both.sends("request", &request, &[Reason::Bound]);
        let mut leg = Leg::of("request", &syn, &talk, root.0, root.1);
        assert_eq!(both.sends("request again", &request, &[Reason::Reopened]), syn);
        let first = both.sends("SYN-ACK", &leg.accept(), &[]);
        assert_eq!(both.sends("SYN-ACK again", &leg.accept(), &[]), first);
        leg.peer = leg.peer.wrapping_add(1);
        let data = forwarded(&request.data, talk.client);
        assert_eq!(first, leg.up(&talk, ACK | PSH, &data));
        assert_eq!(both.sends("request on the open leg", &request, &[]), first, "with its text again");
        talk.sent(&request);
        leg.seq = leg.seq.wrapping_add(data.len() as u32);
        respond(both, &mut talk, &mut leg, OK);

        let request = talk.request(&get("/second"));
        let data = forwarded(&request.data, talk.client);
        let sent = both.sends("second request", &request, &[Reason::Reused]);
        assert_eq!(sent, leg.up(&talk, ACK | PSH, &data));
        assert_eq!(both.sends("second request again", &request, &[]), sent, "with its text again");
        // The endpoint has it: what comes again needs no text, for nobody reads it.
        talk.sent(&request);
        leg.seq = leg.seq.wrapping_add(data.len() as u32);
        respond(both, &mut talk, &mut leg, OK);
    }
}

#[test]
fn acknowledged_blocks_are_translated_or_become_padding() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, "198.51.100.7:43500", VIP, linux);
    let mut leg = bind(both, &mut talk, &get("/"), FAMILIES[0].2[0], Reason::Bound);
    let block = |from: u32, to: u32| [&[1, 1, 5, 10][..], &from.to_be_bytes(), &to.to_be_bytes()].concat();
    // The endpoint has not acknowledged the text: edges may lie on either side of it.
    let endpoint = leg.seg(ACK, b"");
    let edges = block(leg.seq.wrapping_sub(9), leg.seq);
    let padded = Seg {
        ack: endpoint.ack.wrapping_sub(20),
        options: [endpoint.options.clone(), edges].concat(),
        ..endpoint
    };
    let sent = both.sends("block of the endpoint", &padded, &[]);
    assert_eq!(sent.options[12..], [1; 12]);

    respond(both, &mut talk, &mut leg, OK);
    let edges = block(talk.ack.wrapping_add(100), talk.ack.wrapping_add(200));
    let ack = talk.seg(ACK, b"");
    let sent = both.sends(
        "block of the client",
        &Seg { options: [ack.options, edges].concat(), ..talk.seg(ACK, b"") },
        &[],
    );
    let moved = block(leg.peer.wrapping_add(100), leg.peer.wrapping_add(200));
    assert_eq!(sent.options, [timestamps(leg.clock, PEER_CLOCK + 9), moved].concat());
    let edges = block(leg.seq.wrapping_add(3), leg.seq.wrapping_add(4));
    let seg = leg.seg(ACK, b"");
    let sent = both.sends(
        "block of the endpoint",
        &Seg { options: [seg.options.clone(), edges].concat(), ..seg },
        &[],
    );
    let moved = block(talk.seq.wrapping_add(3), talk.seq.wrapping_add(4));
    assert_eq!(sent.options[12..], moved);
}

#[test]
fn a_request_for_another_endpoint_waits_for_the_response() {
    let both = &mut *Both::shared();
    let (client, vip, [root, api]) = FAMILIES[0];
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, &format!("{client}:44000"), vip, linux);
    let mut leg = bind(both, &mut talk, &get("/"), root, Reason::Bound);
    let early = talk.request(&get("/api"));
    both.drops("before the response", &early, Reason::HoldBusy);
    both.drops(
        "data ahead of it",
        &Seg { seq: early.seq.wrapping_add(1), ..early.clone() },
        Reason::DropEarly,
    );
    let (head, rest) = OK.split_at(OK.len() - 1);
    let sent = both.sends("most of it", &leg.seg(ACK, head.as_bytes()), &[]);
    assert_eq!(sent, leg.down(&talk, ACK, head.as_bytes()));
    leg.peer = leg.peer.wrapping_add(head.len() as u32);
    talk.ack = talk.ack.wrapping_add(head.len() as u32);
    both.drops("before its end", &talk.request(&get("/api")), Reason::HoldBusy);
    respond(both, &mut talk, &mut leg, rest);
    bind(both, &mut talk, &get("/api"), api, Reason::Rebound);
}

#[test]
fn a_body_goes_on_where_nothing_is_inserted() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, "198.51.100.7:44500", VIP, linux);
    let post = |length: usize, body: &str| {
        format!("POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    both.hands_off("a first request without its end", &talk.request(&post(10, "12345")));
    let request = talk.request(&post(5, "12345"));
    let syn = both.sends("a whole one", &request, &[Reason::Bound]);
    let mut leg = Leg::of("a whole one", &syn, &talk, "10.1.0.4:80", SOURCE);
    let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    assert_eq!(sent, leg.up(&talk, ACK | PSH, &request.data), "as it came");
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(request.data.len() as u32);
    respond(both, &mut talk, &mut leg, OK);
    for (what, data, reasons) in
        [("head", post(10, "12345"), &[Reason::Reused][..]), ("body", "GET /".to_owned(), &[])]
    {
        let seg = talk.request(&data);
        assert_eq!(both.sends(what, &seg, reasons), leg.up(&talk, ACK | PSH, data.as_bytes()), "{what}");
        talk.sent(&seg);
        leg.seq = leg.seq.wrapping_add(data.len() as u32);
    }
    respond(both, &mut talk, &mut leg, OK);
}

/// The tail of a body and the next request in one segment: it is cut where that begins, and the client sends the rest again.
#[test]
fn a_segment_is_cut_where_the_next_request_begins() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, "198.51.100.7:44600", VIP, linux);
    let plain = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = talk.request(plain);
    let syn = both.sends("the first request", &request, &[Reason::Bound]);
    let mut leg = Leg::of("the first request", &syn, &talk, "10.1.0.4:80", SOURCE);
    both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(request.data.len() as u32);
    respond(both, &mut talk, &mut leg, OK);

    let head = talk.request("PUT /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    both.sends("head and half of the body", &head, &[Reason::Reused]);
    talk.sent(&head);
    leg.seq = leg.seq.wrapping_add(head.data.len() as u32);
    let both_in_one = talk.request(&["67890", plain].concat());
    // What is cut out of a damaged segment would look sound.
    let outcome = both.run("the rest and more, damaged", &with_wrong_checksum(both_in_one.frame()));
    assert_eq!(outcome.said, Said::Drop);
    for what in ["the rest and more", "the same again"] {
        let cut = both.sends(what, &both_in_one, &[]);
        assert_eq!(cut, leg.up(&talk, ACK | PSH, b"67890"), "{what}");
    }
    // A FIN behind it is not the end of what was cut.
    let ending = Seg { flags: ACK | PSH | FIN, ..both_in_one.clone() };
    assert_eq!(both.sends("with a FIN", &ending, &[]), leg.up(&talk, ACK | PSH, b"67890"));
    (talk.seq, leg.seq) = (talk.seq.wrapping_add(5), leg.seq.wrapping_add(5));
    let next = talk.request(plain);
    assert_eq!(
        both.sends("the next request", &next, &[Reason::Reused]),
        leg.up(&talk, ACK | PSH, plain.as_bytes())
    );
    talk.sent(&next);
    leg.seq = leg.seq.wrapping_add(plain.len() as u32);
    respond(both, &mut talk, &mut leg, &[OK, OK].concat());
}

/// Where a response may end in what is missing, what is behind waits; where its length is known, it goes on.
#[test]
fn what_is_behind_a_gap_waits_where_a_response_may_end_in_it() {
    let both = &mut *Both::shared();
    for (client, vip, [root, _]) in FAMILIES {
        let [linux, ..] = layouts();
        let mut talk = Talk::open(both, &format!("{client}:44700"), vip, linux);
        let mut leg = bind(both, &mut talk, &get("/"), root, Reason::Bound);
        let behind = |leg: &Leg, gap: u32, flags: u8, data: &[u8]| {
            let seg = leg.seg(flags, data);
            Seg { seq: seg.seq.wrapping_add(gap), ..seg }
        };
        both.drops("in a head", &behind(&leg, 9, ACK, b"200 OK\r\n"), Reason::DropGap);
        both.drops("the end of the leg", &behind(&leg, 9, ACK | FIN, b""), Reason::DropGap);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n";
        let sent = both.sends("head", &leg.seg(ACK, head.as_bytes()), &[]);
        assert_eq!(sent, leg.down(&talk, ACK, head.as_bytes()));
        leg.peer = leg.peer.wrapping_add(head.len() as u32);
        talk.ack = talk.ack.wrapping_add(head.len() as u32);
        let sent = both.sends("inside a known length", &behind(&leg, 9, ACK, b"0123456789"), &[]);
        let wanted = leg.down(&talk, ACK, b"0123456789");
        assert_eq!((sent.seq, sent.data), (wanted.seq.wrapping_add(9), wanted.data));
        respond(both, &mut talk, &mut leg, &"y".repeat(30));
    }
}

#[test]
fn what_the_kernel_cannot_decide_is_offered_to_the_host() {
    let both = &mut *Both::shared();
    let long = get(&format!("/{}", "a".repeat(247)));
    let long_line = get(&format!("/?{}", "a".repeat(900)));
    let post = |field: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{body}");
    let cases = [
        ("chunked", post("Transfer-Encoding: chunked", "0\r\n\r\n"), Reason::HandUndecidable),
        (
            "length and chunks",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            Reason::HandUndecidable,
        ),
        ("a part of a body", post("Content-Length: 5", "1234"), Reason::HandTooLong),
        ("two requests", [get("/"), get("/api")].concat(), Reason::HandUndecidable),
        ("the first part of a head", get("/").split_at(40).0.to_owned(), Reason::HandUndecidable),
        (
            "forwarding headers of a stranger",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n".to_owned(),
            Reason::HandForwarding,
        ),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(), Reason::HandUndecidable),
        ("a dot segment", get("/api/../"), Reason::HandUndecidable),
        ("a route of userspace", get("/user"), Reason::HandRoute),
        ("a backend without endpoints", get("/none"), Reason::HandNoEndpoint),
        ("an endpoint of the other family", get("/mixed4"), Reason::HandNoWay),
        ("a path at the limit", long, Reason::Bound),
        ("a line too long to insert behind", long_line, Reason::HandTooLong),
        (
            "the start of TLS",
            "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03".to_owned(),
            Reason::HandUndecidable,
        ),
    ];
    for (number, (what, request, reason)) in cases.iter().enumerate() {
        for (place, layout) in layouts().into_iter().enumerate() {
            let client = format!("198.51.100.7:{}", 45_000 + 10 * number + place);
            let talk = Talk::open(both, &client, VIP, layout);
            if *what == "a path at the limit" {
                // 248 bytes are decided: one more is not.
                both.sends(what, &talk.request(request), &[*reason]);
                continue;
            }
            let asked = both.hands_off_for(what, &talk.request(request), *reason);
            let layout = &talk.layout;
            let scaled = layout.scale != wire::TcpOptions::NO_SCALE;
            assert_eq!(
                (asked.wscale_ok, asked.sack_ok, asked.tstamp_ok),
                (u8::from(scaled), u8::from(layout.sack), u8::from(layout.timestamps)),
                "{what}, {}",
                layout.name
            );
            assert_eq!((asked.rcv_wscale, asked.snd_wscale), if scaled { (7, layout.scale) } else { (0, 0) });
            if layout.timestamps {
                assert_eq!((asked.rcv_tsval, asked.rcv_tsecr), (CLIENT_CLOCK + 5, talk.echo));
            }
            assert!(
                asked.mss >= 536 && asked.mss <= layout.mss.unwrap_or(536).max(536),
                "{what}: {}",
                asked.mss
            );
            assert_eq!(both.flow(talk.client, talk.vip), None, "{what}: nothing is kept");
        }
    }
}

#[test]
fn a_later_request_that_is_not_decidable_leaves_the_leg() {
    let both = &mut *Both::shared();
    for (client, vip, [root, _]) in FAMILIES {
        let [linux, ..] = layouts();
        let mut talk = Talk::open(both, &format!("{client}:46000"), vip, linux);
        let mut leg = bind(both, &mut talk, &get("/"), root, Reason::Bound);
        respond(both, &mut talk, &mut leg, OK);
        let upgrade =
            talk.request("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        both.hands_off("upgrade", &upgrade);
        both.hands_off("upgrade again", &upgrade);
        let reset = both.sends("the old leg", &leg.seg(ACK, b""), &[Reason::DropOrphan]);
        assert_eq!(reset, leg.reset());
    }
}

#[test]
fn a_request_with_a_wrong_checksum_is_never_read() {
    let both = &mut *Both::shared();
    for (client, vip, [root, _]) in FAMILIES {
        let [linux, ..] = layouts();
        let mut talk = Talk::open(both, &format!("{client}:47000"), vip, linux);
        let first = with_wrong_checksum(talk.request(&get("/")).frame());
        let outcome = both.run("first", &first);
        assert_eq!(outcome.reasons, [Reason::DropChecksum]);
        assert_eq!(both.flow(talk.client, talk.vip), None);
        let mut leg = bind(both, &mut talk, &get("/"), root, Reason::Bound);
        respond(both, &mut talk, &mut leg, OK);
        let second = with_wrong_checksum(talk.request(&get("/")).frame());
        assert_eq!(both.run("second", &second).reasons, [Reason::DropChecksum]);
        // What is not read is translated with its fault, which the end notices.
        let ack = talk.seg(ACK, b"");
        let right = both.run("acknowledgement", &ack.frame()).frame;
        let wrong = both.run("acknowledgement, wrong", &with_wrong_checksum(ack.frame())).frame;
        let at = if right[12] == 8 { 50 } else { 70 };
        assert_ne!(right[at..at + 2], wrong[at..at + 2]);
        assert_eq!((&right[..at], &right[at + 2..]), (&wrong[..at], &wrong[at + 2..]), "else alike");
    }
}

/// A damaged length would hold the next request for bytes that never come, or take a part of a body for a response.
#[test]
fn a_segment_of_an_endpoint_with_a_wrong_checksum_changes_nothing() {
    let both = &mut *Both::shared();
    for (client, vip, [root, _]) in FAMILIES {
        let [linux, ..] = layouts();
        let mut talk = Talk::open(both, &format!("{client}:47010"), vip, linux);
        let mut leg = bind(both, &mut talk, &get("/"), root, Reason::Bound);
        let before = both.flow(talk.client, talk.vip).map(|flow| Flow { last_seen: 0, ..flow });
        let damaged = leg.seg(ACK | PSH, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n");
        let long = leg.seg(ACK, &[b'x'; 3000]);
        for seg in [damaged, long, leg.seg(ACK, b""), leg.seg(FIN | ACK, b""), leg.seg(RST | ACK, b"")] {
            let outcome = both.run("endpoint, wrong", &with_wrong_checksum(seg.frame()));
            assert_eq!((outcome.said, outcome.reasons), (Said::Drop, vec![Reason::DropChecksum]), "{seg:?}");
        }
        let after = both.flow(talk.client, talk.vip).map(|flow| Flow { last_seen: 0, ..flow });
        assert_eq!(before, after);
        respond(both, &mut talk, &mut leg, OK);
        // Jumbo frames are summed in pieces.
        let body = vec![b'x'; 3001];
        let request = talk.request(&get("/"));
        both.sends("next", &request, &[Reason::Reused]);
        talk.sent(&request);
        leg.seq = leg.seq.wrapping_add(forwarded(get("/").as_bytes(), talk.client).len() as u32);
        let response = [&b"HTTP/1.1 200 OK\r\nContent-Length: 3001\r\n\r\n"[..], &body].concat();
        let sent = both.sends("jumbo frame", &leg.seg(ACK | PSH, &response), &[]);
        assert_eq!(sent.data, response);
    }
}
