//! Hostile and merely odd segments (attacks ): the connection they claim to belong to lives on.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Options, RawConnection, RawHost, Segment, flag, until};

use crate::options::{LIMIT, assert_answers, get, is_whole};
use crate::world::{Network, World};

on_every_network!(
    segments_with_errors_are_ignored,
    padding_is_not_payload,
    blind_segments_do_not_end_a_connection,
    a_fin_with_the_request_is_answered,
    keep_alive_probes_are_answered,
    a_stray_acknowledgment_is_reset,
    urgent_and_ecn_bits_do_no_harm,
    fragments_and_ip_options_are_userspaces,
    fragments_and_ip_options_reset_no_connection,
    ip_options_with_the_first_request_are_userspaces,
);

/// A connection of `host` that `b0` has served, and in which the next request goes to `b1`.
pub(crate) fn served(world: &World, host: &RawHost, port: u16) -> RawConnection {
    let mut connection = host.connect(world.address(), port, Options::LINUX, 70_000).unwrap();
    host.write(&mut connection, &get("/a")).unwrap();
    assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b0", "/a");
    connection
}

#[track_caller]
pub(crate) fn assert_lives(host: &RawHost, connection: &mut RawConnection) {
    host.write(connection, &get("/b")).unwrap();
    assert_answers(&host.read(connection, LIMIT, is_whole).unwrap(), "b1", "/b");
}

fn segments_with_errors_are_ignored(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let attacks = |port, path| {
        let mut connection = host.connect(world.address(), port, Options::LINUX, 1).unwrap();
        for round in 0..2 {
            let request = connection.segment(flag::ACK | flag::PSH, &get(path));
            for wrong in [
                Segment { checksum_error: 1, ..request.clone() },
                Segment { checksum_error: 0x8000, ..request.clone() },
                Segment { data_offset: Some(0), ..request.clone() },
                Segment { data_offset: Some(4), ..request.clone() },
                Segment { data_offset: Some(15), payload: b"x".to_vec(), ..request.clone() },
            ] {
                host.send(&wrong).unwrap();
            }
            let answer = host.receive(connection.local, Duration::from_millis(100)).unwrap();
            assert_eq!(answer.filter(|answer| !answer.payload.is_empty()), None, "round {round}");
            assert_lives(&host, &mut connection);
        }
    };
    // Two checksums and one length in each of four rounds; a header of less than 20 bytes is none.
    world.counts(&[("drop_checksum", 8), ("pass_shape", 4)], || {
        world
            .decides(4, || [(4000, "/user/evil"), (4001, "/a/evil")].map(|(port, path)| attacks(port, path)));
    });
}

/// Short Ethernet frames are padded to 60 bytes: what is behind the IP packet is no data.
fn padding_is_not_payload(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(3, || {
        let mut connection = served(&world, &host, 4100);
        for padding in [vec![0; 6], b"GET /user HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec()] {
            host.send(&Segment { padding: padding.clone(), ..connection.segment(flag::ACK, b"") }).unwrap();
            let next = connection.segment(flag::ACK | flag::PSH, &get("/b"));
            connection.seq = next.end();
            host.send(&Segment { padding, ..next }).unwrap();
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
        }
    });
}

/// RFC 5961: who does not know the numbers can neither end the connection nor put bytes into it.
fn blind_segments_do_not_end_a_connection(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let mut connection = world.decides(1, || served(&world, &host, 4200));
    for distance in [1_u32 << 31, 1 << 30, 200_000_000, 0_u32.wrapping_sub(100_000)] {
        let at = |flags: u8, payload: &[u8]| Segment {
            seq: connection.seq.wrapping_add(distance),
            ack: connection.ack.wrapping_add(distance),
            ..connection.segment(flags, payload)
        };
        host.send(&at(flag::RST, b"")).unwrap();
        host.send(&at(flag::RST | flag::ACK, b"")).unwrap();
        host.send(&at(flag::FIN | flag::ACK, b"")).unwrap();
        host.send(&at(flag::ACK | flag::PSH, &get("/user/evil"))).unwrap();
        host.send(&Segment { options: Vec::new(), ..at(flag::SYN, b"") }).unwrap();
    }
    // A reset inside the window but not at its edge is challenged, not obeyed (section 3.2).
    let reset = connection.segment(flag::RST, b"");
    host.send(&Segment { seq: connection.seq.wrapping_add(100), ..reset }).unwrap();
    while let Some(answer) = host.receive(connection.local, Duration::from_millis(100)).unwrap() {
        assert!(answer.flags & flag::RST == 0 && answer.payload.is_empty(), "{answer:?}");
    }
    world.decides(1, || assert_lives(&host, &mut connection));
}

fn a_fin_with_the_request_is_answered(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let asks = |port, first: Option<&str>| {
        let mut connection = host.connect(world.address(), port, Options::LINUX, 3).unwrap();
        if let Some(path) = first {
            host.write(&mut connection, &get(path)).unwrap();
            host.read(&mut connection, LIMIT, is_whole).unwrap();
        }
        let last = connection.segment(flag::ACK | flag::PSH | flag::FIN, &get("/b/last"));
        connection.seq = last.end();
        host.send(&last).unwrap();
        assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b/last");
        // And its end follows, at the latest when the client sends its own again.
        let fin = connection.segment(flag::ACK | flag::FIN, b"");
        host.send(&Segment { seq: connection.seq.wrapping_sub(1), ..fin }).unwrap();
        assert_eq!(host.read(&mut connection, LIMIT, |_| false).unwrap(), b"");
    };
    world.hands_off_for("flags", 1, || asks(4300, None));
    world.decides(4, || [(4301, "/a"), (4302, "/b")].map(|(port, path)| asks(port, Some(path))));
}

/// RFC 9293 section 3.8.4: one byte (or none) before the next sequence number is to be acknowledged.
fn keep_alive_probes_are_answered(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let unused = host.connect(world.address(), 4400, Options::LINUX, 3).unwrap();
    let used = world.decides(1, || served(&world, &host, 4401));
    // The first is answered by the kernel tier, the other by the endpoint.
    for (mut connection, ours) in [(unused, 1), (used, 0)] {
        while host.receive(connection.local, Duration::from_millis(50)).unwrap().is_some() {}
        let probe = Segment { seq: connection.seq.wrapping_sub(1), ..connection.segment(flag::ACK, b"") };
        world.counts(&[("keep_alive_probe", ours)], || host.send(&probe).unwrap());
        let answer = host.receive(connection.local, LIMIT).unwrap().unwrap();
        assert_eq!(
            (answer.flags & (flag::ACK | flag::RST), answer.ack, answer.seq),
            (flag::ACK, connection.seq, connection.ack)
        );
        world.decides(1, || assert_lives(&host, &mut connection));
    }
}

fn a_stray_acknowledgment_is_reset(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let local = host.address(world.address(), 4500);
    let ack = foreign(&world, &host, local);
    let stray = Segment { payload: get("/a"), ..Segment::new(local, world.address(), flag::ACK, 77, ack) };
    let before = world.counted("pass_foreign");
    host.send(&stray).unwrap();
    let answer = host.receive(local, LIMIT).unwrap().unwrap();
    assert_eq!((answer.flags & flag::RST, answer.seq), (flag::RST, ack), "{answer:?}");
    if world.hook != "off" {
        // At least: the end of the connection that was waited for may be repeated, and nobody knows it either.
        let is_passed = || (world.counted("pass_foreign") > before).then_some(());
        until(LIMIT, "the programs to have passed it", is_passed).unwrap();
    }
}

/// An acknowledgment of `local` that is no cookie, whatever the key: of the cookie for its SYN one of the eight bits is wrong that tell
/// connections of ours from others. (Any other number is taken for a later segment of one of ours by one key of 256.)
fn foreign(world: &World, host: &RawHost, local: SocketAddr) -> u32 {
    let syn = Segment::new(local, world.address(), flag::SYN, 76, 0);
    host.send(&Segment { options: Options::LINUX.to_vec(), ..syn }).unwrap();
    let answer = host.receive(local, LIMIT).unwrap().unwrap();
    assert_eq!(answer.flags & (flag::SYN | flag::ACK), flag::SYN | flag::ACK, "{answer:?}");
    if world.hook == "off" {
        // The stack has a connection, half open.
        host.send(&Segment::new(local, world.address(), flag::RST, 77, 0)).unwrap();
    }
    (answer.seq ^ 1 << 24).wrapping_add(1)
}

fn urgent_and_ecn_bits_do_no_harm(network: Network) {
    /// Echo, and reduced window (RFC 3168 section 6.1).
    const ECE: u8 = 64;
    const CWR: u8 = 128;
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(6, || {
        for (port, flags) in [(4600, CWR), (4601, ECE), (4602, flag::URG)] {
            let mut connection = served(&world, &host, port);
            let request = connection.segment(flag::ACK | flag::PSH | flags, &get("/b"));
            connection.seq = request.end();
            host.send(&request).unwrap();
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
        }
    });
    // A SYN that offers ECN is answered, with or without.
    let local = host.address(world.address(), 4610);
    host.send(&Segment::new(local, world.address(), flag::SYN | ECE | CWR, 9, 0)).unwrap();
    let answer = host.receive(local, LIMIT).unwrap().unwrap();
    assert_eq!(answer.flags & (flag::SYN | flag::ACK | flag::RST), flag::SYN | flag::ACK);
}

/// The kernel tiers leave them alone; the host's stack puts them together (or, for options, takes them as they are).
fn fragments_and_ip_options_are_userspaces(network: Network) {
    if network.is_v6 {
        return extension_headers_are_userspaces(network);
    }
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let local = host.address(world.address(), 4700);
    let ack = foreign(&world, &host, local);
    let request = Segment { payload: get("/b"), ..Segment::new(local, world.address(), flag::ACK, 77, ack) };
    // No connection has such numbers: what answers is the host's stack, with a reset, and so it has read them.
    for reversed in [false, true] {
        let mut parts = fragments(&host.frame(&request));
        if reversed {
            parts.reverse();
        }
        world.counts(&[("pass_shape", 1)], || parts.iter().for_each(|part| host.send_frame(part).unwrap()));
        let answer = host.receive(local, LIMIT).unwrap().unwrap();
        assert_eq!(answer.flags & flag::RST, flag::RST, "{answer:?}");
    }
    // A NOP and an end of list.
    let with_options = with_header_options(&host.frame(&request), &[1, 1, 1, 0]);
    world.counts(&[("pass_shape", 1)], || host.send_frame(&with_options).unwrap());
    let answer = host.receive(local, LIMIT).unwrap().unwrap();
    assert_eq!(answer.flags & flag::RST, flag::RST, "{answer:?}");
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}

/// A segment in other shapes, each as the frames to send.
fn shapes(network: Network, frame: &[u8]) -> Vec<Vec<Vec<u8>>> {
    if network.is_v6 {
        return vec![vec![with_hop_by_hop_options(frame)]];
    }
    let mut reversed = fragments(frame);
    reversed.reverse();
    vec![fragments(frame), reversed, vec![with_header_options(frame, &[1, 1, 1, 0])]]
}

/// The stack does not know of the kernel tier's connections: what it would answer is a reset.
fn fragments_and_ip_options_reset_no_connection(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let mut port = 4710;
    for is_first in [true, false] {
        for shape in 0..shapes(network, &[0; 100]).len() {
            port += 1;
            let mut connection = if is_first {
                host.connect(world.address(), port, Options::LINUX, 9).unwrap()
            } else {
                world.decides(1, || served(&world, &host, port))
            };
            let request = connection.segment(flag::ACK | flag::PSH, &get("/b"));
            let frames = &shapes(network, &host.frame(&request))[shape];
            let asks = || {
                frames.iter().for_each(|frame| host.send_frame(frame).unwrap());
                // Whatever came of it, the client repeats its request until it is answered, once.
                connection.seq = request.end();
                host.send(&request).unwrap();
                assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
                assert_lives(&host, &mut connection);
            };
            // The stack can begin with what is whole. All else is dropped, and the plain copy is the kernel's.
            if is_first && frames.len() == 1 {
                world.hands_off_for("shape", 1, asks);
            } else {
                world.counts(&[("drop_shape", 1)], || world.decides(2, asks));
            }
        }
    }
}

fn ip_options_with_the_first_request_are_userspaces(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.hands_off_for("shape", 1, || {
        let mut connection = host.connect(world.address(), 4720, Options::LINUX, 9).unwrap();
        let request = connection.segment(flag::ACK | flag::PSH, &get("/b"));
        connection.seq = request.end();
        let plain = host.frame(&request);
        let frame = if network.is_v6 {
            with_hop_by_hop_options(&plain)
        } else {
            with_header_options(&plain, &[1, 1, 1, 0])
        };
        host.send_frame(&frame).unwrap();
        assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
        assert_lives(&host, &mut connection);
    });
}

/// A hop-by-hop header of nothing but padding (RFC 8200 section 4.3).
fn with_hop_by_hop_options(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let length = u16::from_be_bytes([frame[18], frame[19]]) + 8;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame[20] = 0;
    frame.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    frame
}

fn extension_headers_are_userspaces(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let local = host.address(world.address(), 4700);
    let ack = foreign(&world, &host, local);
    let request = Segment { payload: get("/b"), ..Segment::new(local, world.address(), flag::ACK, 77, ack) };
    let with_options = with_hop_by_hop_options(&host.frame(&request));
    world.counts(&[("pass_shape", 1)], || host.send_frame(&with_options).unwrap());
    let answer = host.receive(local, LIMIT).unwrap().unwrap();
    assert_eq!(answer.flags & flag::RST, flag::RST, "{answer:?}");
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}

/// An IPv4 frame in two fragments, the first of 24 bytes.
fn fragments(frame: &[u8]) -> Vec<Vec<u8>> {
    let (head, payload) = frame.split_at(34);
    let (first, second) = payload.split_at(24);
    [(first, 0x2000_u16), (second, 3)]
        .into_iter()
        .map(|(part, field)| {
            let mut fragment = [head, part].concat();
            fragment[18..20].copy_from_slice(&0x77_u16.to_be_bytes());
            fragment[20..22].copy_from_slice(&field.to_be_bytes());
            finish_header(&mut fragment);
            fragment
        })
        .collect()
}

fn with_header_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.splice(34..34, options.iter().copied());
    frame[14] = 0x40 | u8::try_from(5 + options.len() / 4).unwrap();
    finish_header(&mut frame);
    frame
}

/// Length and checksum of the IPv4 header.
fn finish_header(frame: &mut [u8]) {
    let length = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[24..26].copy_from_slice(&[0, 0]);
    let header = 14..14 + usize::from(frame[14] & 15) * 4;
    let mut sum: u32 =
        frame[header].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}
