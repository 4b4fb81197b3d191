//! Requests in pieces, out of order, doubled and contradicting each other (attacks ).

use std::time::Duration;

use testkit::{Options, RawConnection, RawHost, Segment, flag};

use crate::options::{LIMIT, assert_answers, get, is_whole};
use crate::world::{Network, World};

on_every_network!(
    a_request_in_single_bytes_is_answered,
    a_request_split_anywhere_is_answered,
    pieces_may_come_in_reverse,
    a_request_sent_again_is_answered_once,
    contradicting_copies_lead_to_one_answer,
    a_collapsed_retransmission_is_not_parsed_twice,
);

/// Data segments at these places of `bytes`, not yet sent; the connection steps past all of them.
fn pieces(connection: &mut RawConnection, bytes: &[u8], ends: &[usize]) -> Vec<Segment> {
    let mut start = 0;
    let segments = ends
        .iter()
        .map(|&end| {
            let segment = connection.segment(flag::ACK | flag::PSH, &bytes[start..end]);
            connection.seq = segment.end();
            start = end;
            segment
        })
        .collect();
    assert_eq!(start, bytes.len());
    segments
}

fn a_request_in_single_bytes_is_answered(network: Network) {
    let world = World::new(network);
    for begins_in_the_kernel in [false, true] {
        let mut connection = world.connect();
        if begins_in_the_kernel {
            world.decides(1, || assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0")));
        }
        // A request in pieces is userspace's, and the connection stays there.
        world.hands_off_for("undecidable", 1, || {
            for (path, endpoint) in [("/b", "b1"), ("/a", "b0")] {
                let request = get(path);
                let bytes: Vec<&[u8]> = request.chunks(1).collect();
                connection.send_pieces(&bytes, Duration::from_millis(1)).unwrap();
                assert_eq!(connection.response("GET").unwrap().endpoint(), Some(endpoint));
            }
        });
    }
}

fn a_request_split_anywhere_is_answered(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let request = get("/b");
    let asks = |port, ends: &[usize]| {
        let mut connection = host.connect(world.address(), port, Options::LINUX, 5).unwrap();
        for segment in pieces(&mut connection, &request, ends) {
            host.send(&segment).unwrap();
        }
        assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
    };
    let places = u32::try_from(request.len() - 1).unwrap();
    world.hands_off_for("undecidable", places, || {
        for (port, at) in (3000..).zip(1..request.len()) {
            asks(port, &[at, request.len()]);
        }
    });
    // The same in one piece.
    world.decides(1, || asks(3090, &[request.len()]));
}

fn pieces_may_come_in_reverse(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let request = get("/b");
    let ends: [usize; 4] = [5, 9, 20, request.len()];
    for (port, before) in [(3100, None), (3101, Some("/a"))] {
        let mut connection = host.connect(world.address(), port, Options::LINUX, 5).unwrap();
        if let Some(path) = before {
            world.decides(1, || {
                host.write(&mut connection, &get(path)).unwrap();
                assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b0", path);
            });
        }
        world.hands_off_for("undecidable", 1, || {
            let segments = pieces(&mut connection, &request, &ends);
            // What comes before its time may be dropped: a client sends it again.
            for _ in 0..3 {
                for segment in segments.iter().rev() {
                    host.send(segment).unwrap();
                }
            }
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
        });
    }
}

fn a_request_sent_again_is_answered_once(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(20, || {
        for port in 3200..3210 {
            let mut connection = host.connect(world.address(), port, Options::LINUX, 5).unwrap();
            for (path, endpoint) in [("/a", "b0"), ("/b", "b1")] {
                let request = get(path);
                for segment in pieces(&mut connection, &request, &[request.len()]) {
                    // Before the answer, at once and a little later.
                    host.send(&segment).unwrap();
                    host.send(&segment).unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                    host.send(&segment).unwrap();
                }
                assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), endpoint, path);
                // And after it.
                let again = Segment {
                    payload: request.clone(),
                    seq: connection.seq.wrapping_sub(u32::try_from(request.len()).unwrap()),
                    ..connection.segment(flag::ACK | flag::PSH, b"")
                };
                host.send(&again).unwrap();
                while let Some(segment) = host.receive(connection.local, Duration::from_millis(30)).unwrap() {
                    let is_new = segment.end().wrapping_sub(connection.ack).cast_signed() > 0;
                    assert!(!is_new && segment.flags & flag::RST == 0, "a second answer: {segment:?}");
                }
            }
        }
    });
}

/// The same sequence numbers with other bytes: whichever counts, it counts everywhere.
fn contradicting_copies_lead_to_one_answer(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(40, || {
        for port in 3300..3320 {
            let mut connection = host.connect(world.address(), port, Options::LINUX, 5).unwrap();
            let first = connection.segment(flag::ACK | flag::PSH, &get("/a"));
            let second = connection.segment(flag::ACK | flag::PSH, &get("/b"));
            connection.seq = first.end();
            host.send(&first).unwrap();
            host.send(&second).unwrap();
            let answer = host.read(&mut connection, LIMIT, is_whole).unwrap();
            let (endpoint, path) = if String::from_utf8_lossy(&answer).contains("uri=/b\n") {
                ("b1", "/b")
            } else {
                ("b0", "/a")
            };
            assert_answers(&answer, endpoint, path);
            // Nothing is out of step: the next request is answered as if nothing had been.
            host.write(&mut connection, &get("/b/next")).unwrap();
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b/next");
        }
    });
}

/// A client that lost sight of its first request sends both in one segment.
fn a_collapsed_retransmission_is_not_parsed_twice(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(10, || {
        for port in 3400..3405 {
            let mut connection = host.connect(world.address(), port, Options::LINUX, 5).unwrap();
            let both = [get("/a"), get("/b")].concat();
            let collapsed = connection.segment(flag::ACK | flag::PSH, &both);
            host.write(&mut connection, &get("/a")).unwrap();
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b0", "/a");
            let mut second = Vec::new();
            // Whatever is cut off is sent again.
            for _ in 0..10 {
                host.send(&Segment { ack: connection.ack, ..collapsed.clone() }).unwrap();
                if let Ok(answer) = host.read(&mut connection, Duration::from_millis(400), is_whole) {
                    second = answer;
                    break;
                }
                let rest = connection.segment(flag::ACK | flag::PSH, &get("/b"));
                host.send(&rest).unwrap();
            }
            assert_answers(&second, "b1", "/b");
        }
    });
}
