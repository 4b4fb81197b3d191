//! Faulty wires, hand-made segments and peculiar endpoints.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

use std::time::Duration;

use testkit::{
    Addresses, ClientError, Connection, Dial, Endpoints, Faults, Lab, Nginx, NginxOptions,
    ONE_MEGABYTE_SHA256, Offloads, Options, RawHost, Segment, flag, one_megabyte, sha256_hex,
};

const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

fn survives(faults: Faults, offloads: Offloads) -> testkit::FaultCounts {
    let lab = Lab::builder().offloads(offloads).build().unwrap();
    let nginx = Nginx::start(&lab, 0).unwrap();
    let network = lab.faults(faults).unwrap();
    for address in [nginx.address(), Addresses::backend_socket_v6(0)] {
        // A try to connect has a limit of its own, in which all SYNs may be lost.
        let mut connection = (0..3).find_map(|_| Connection::open(lab.client(), address).ok()).unwrap();
        // TCP that backs off may be silent for long on a busy machine; that it gives up is what must not be.
        connection.set_read_limit(Duration::from_secs(60)).unwrap();
        for _ in 0..3 {
            let answer = connection.get("a", "/1m");
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {:?}", network.counts()));
            assert_eq!(sha256_hex(&answer.body), ONE_MEGABYTE_SHA256);
        }
    }
    let counts = network.counts().unwrap();
    drop(network);
    // And nothing of it stays.
    let again = lab.faults(Faults::default()).unwrap();
    Connection::open(lab.client(), nginx.address()).unwrap().get("a", "/128").unwrap();
    assert_eq!(again.counts().unwrap(), testkit::FaultCounts::default());
    counts
}

#[test]
fn each_fault_strikes_and_tcp_survives_it() {
    let all = Faults { loss: 0.01, duplicate: 0.02, reorder: 0.05 };
    let counts = survives(all, Offloads::OFF);
    assert!(counts.lost > 5 && counts.duplicated > 10 && counts.reordered > 20, "{counts:?}");
    // Packets of 64 KiB are few.
    let counts = survives(Faults { loss: 0.05, duplicate: 0.2, reorder: 0.2 }, Offloads::ON);
    assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
}

#[test]
fn a_reordered_segment_arrives_after_one_sent_behind_it() {
    let lab = Lab::builder().offloads(Offloads::OFF).build().unwrap();
    let nginx = Nginx::start(&lab, 0).unwrap();
    let host = RawHost::new(&lab).unwrap();
    let mut connection = host.connect(nginx.address(), 5000, Options::LINUX, 7).unwrap();
    let _network = lab.faults(Faults { reorder: 0.3, ..Faults::default() }).unwrap();
    host.write(&mut connection, b"GET /16k HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut newest = connection.ack;
    let mut late = false;
    while let Some(segment) = host.receive(connection.local, Duration::from_millis(500)).unwrap() {
        late |= !segment.payload.is_empty() && segment.seq.wrapping_sub(newest).cast_signed() < 0;
        newest = if segment.end().wrapping_sub(newest).cast_signed() > 0 { segment.end() } else { newest };
        // The last is sent again for want of an acknowledgment: stop before.
        if newest.wrapping_sub(connection.ack) > 16 * 1024 && late {
            break;
        }
        host.send(&connection.segment(flag::ACK, b"")).unwrap();
    }
    assert!(late);
}

#[test]
fn all_is_lost_at_probability_one() {
    let lab = Lab::builder().build().unwrap();
    let nginx = Nginx::start(&lab, 0).unwrap();
    let mut connection = Connection::open(lab.client(), nginx.address()).unwrap();
    let network = lab.faults(Faults { loss: 1.0, ..Faults::default() }).unwrap();
    connection.set_read_limit(Duration::from_millis(300)).unwrap();
    assert!(matches!(connection.get("a", "/"), Err(ClientError::Timeout)));
    assert!(network.counts().unwrap().lost >= 1);
    drop(network);
    connection.set_read_limit(Duration::from_secs(5)).unwrap();
    assert_eq!(connection.response("GET").unwrap().status, 200);
}

#[test]
fn segments_made_by_hand_are_taken_and_wrong_ones_are_not() {
    let lab = Lab::builder().build().unwrap();
    let _nginx = Nginx::start(&lab, 0).unwrap();
    let host = RawHost::new(&lab).unwrap();
    for remote in [Addresses::backend_socket(0), Addresses::backend_socket_v6(0)] {
        for (port, options) in (4000..).zip([Options::LINUX, Options::WINDOWS, Options::MACOS, Options::NONE])
        {
            let mut connection = host.connect(remote, port, options, u32::MAX - 5).unwrap();
            assert!(connection.answer.option(2).is_some(), "{:?}", connection.answer);
            host.write(&mut connection, REQUEST).unwrap();
            let answer = host
                .read(&mut connection, Duration::from_secs(5), |bytes| {
                    bytes.windows(7).any(|window| window == b"client=")
                })
                .unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
        }
        let local = host.address(remote, 4999);
        let wrong = Segment { checksum_error: 1, ..Segment::new(local, remote, flag::SYN, 1, 0) };
        host.send(&wrong).unwrap();
        assert_eq!(host.receive(local, Duration::from_millis(200)).unwrap(), None);
    }
}

#[test]
fn dialled_connections_are_as_asked() {
    let lab = Lab::builder().build().unwrap();
    let nginx =
        Nginx::with(&lab, 0, NginxOptions { keepalive: Duration::from_secs(1), ..Default::default() })
            .unwrap();
    lab.client().sysctl("net/ipv4/tcp_timestamps", "0").unwrap();
    let mut connection =
        Dial::to(nginx.address()).from_port(6000).mss(536).receive_buffer(4096).open(lab.client()).unwrap();
    assert_eq!(connection.local_port().unwrap(), 6000);
    let pieces: [&[u8]; 3] = [b"GET /1m HT", b"TP/1.1\r\nHost: ", b"a\r\n\r\n"];
    connection.send_pieces(&pieces, Duration::from_millis(20)).unwrap();
    assert_eq!(connection.response("GET").unwrap().body, one_megabyte());
    // nginx closes idle connections after its second.
    assert_eq!(connection.rest().unwrap(), b"");
    drop(connection);
    let mut again = Dial::to(nginx.address()).from_port(6000).open(lab.client()).unwrap();
    assert_eq!(again.get("a", "/128").unwrap().status, 200);
    again.reset().unwrap();
}

#[test]
fn endpoints_have_the_habits_they_are_asked_for() {
    let lab = Lab::builder().build().unwrap();
    let address = |port| std::net::SocketAddr::new(Addresses::backend(0).into(), port);
    let (netns, pause) = (lab.backend(0), Duration::from_millis(20));
    let digesting = Endpoints::digesting(netns, address(1), "digest").unwrap();
    let hinting = Endpoints::hinting(netns, address(2), "hint", pause).unwrap();
    let chunking = Endpoints::chunking(netns, address(3), "chunk", 3, pause).unwrap();
    let refusing = Endpoints::refusing_bodies(netns, address(4), "refuse").unwrap();
    let timing_out = Endpoints::timing_out(netns, address(5), "timeout", Duration::from_millis(100)).unwrap();
    let closing = Endpoints::closing_idle(netns, address(6), "close", Duration::from_millis(100)).unwrap();
    let open = |endpoint: &testkit::Recorder| Connection::open(lab.client(), endpoint.address()).unwrap();

    let mut upload = open(&digesting);
    upload.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    upload.send(one_megabyte()).unwrap();
    assert_eq!(upload.response("POST").unwrap().text(), ONE_MEGABYTE_SHA256);
    let hinted = open(&hinting).get("a", "/h").unwrap();
    assert_eq!((hinted.informational[0].status, hinted.text().as_str()), (103, "/h"));
    let chunked = open(&chunking).get("a", "/c").unwrap();
    assert_eq!((chunked.text().as_str(), chunked.endpoint()), ("/c/c/c", Some("chunk")));
    let mut refused = open(&refusing);
    assert_eq!(refused.get("a", "/ok").unwrap().status, 200);
    refused.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nstart").unwrap();
    assert_eq!(refused.response("POST").unwrap().status, 413);
    let mut idle = open(&timing_out);
    assert_eq!(idle.get("a", "/t").unwrap().text(), "/t");
    assert_eq!(idle.response("GET").unwrap().status, 408);
    let mut closed = open(&closing);
    assert_eq!(closed.get("a", "/x").unwrap().text(), "/x");
    assert_eq!(closed.rest().unwrap(), b"");
}
