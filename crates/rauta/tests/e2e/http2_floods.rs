//! Clients that make the gateway work or remember without end, over HTTP/2 and TLS: they are stopped or bounded, and others
//! are served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Addresses, Connection, Ended, Gateway, Http2, Lab, encode, frame, section};

use crate::manifests::{GATEWAY, all_to, documents, route, service};
use crate::secure::{pair, secret};
use crate::world::{Watched, World};

const ENHANCE_YOUR_CALM: u32 = 11;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// What an attack of a few connections may cost.
const MEMORY_MAX: u64 = 64 << 20;

/// Resident memory of the gateway.
pub(crate) fn memory(gateway: &mut Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Runs `attack`, which may keep its connections, and looks at what it cost while they are there.
fn bounded<T>(world: &mut World, attack: impl FnOnce(&World) -> T) {
    assert_eq!(world.get("a", "/128").status, 200);
    let before = memory(&mut world.gateway);
    let kept = attack(world);
    for _ in 0..20 {
        assert_eq!(world.get("a", "/128").status, 200, "others are served");
    }
    let grown = memory(&mut world.gateway).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "grown by {} MiB", grown >> 20);
    drop(kept);
}

fn open(lab: &Lab, address: SocketAddr, settings: &[(u16, u32)]) -> Http2 {
    Http2::open(lab.client(), address, settings).unwrap()
}

fn get(path: &[u8]) -> [(&[u8], &[u8]); 4] {
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)]
}

fn head(stream: u32, path: &[u8]) -> Vec<u8> {
    encode(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &section(&get(path)))
}

fn reset(stream: u32) -> Vec<u8> {
    encode(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Sends until the gateway takes no more, or all is sent.
fn pour(client: &mut Http2, piece: &[u8], times: usize) {
    client.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for _ in 0..times {
        if client.send_bytes(piece).is_err() {
            return;
        }
    }
}

#[test]
fn h2_1_streams_reset_at_once_end_the_connection() {
    let mut world = World::simple();
    bounded(&mut world, |world| {
        let mut clients: Vec<_> = (0..4).map(|_| open(&world.lab, world.gateway.address(), &[])).collect();
        for client in &mut clients {
            let flood: Vec<u8> =
                (0..5000).flat_map(|i| [head(2 * i + 1, b"/128"), reset(2 * i + 1)].concat()).collect();
            pour(client, &flood, 1);
            let ended = client.ended(u32::MAX).unwrap();
            assert!(matches!(ended, Ended::GoneAway(ENHANCE_YOUR_CALM) | Ended::Closed), "{ended:?}");
        }
        clients
    });
}

#[test]
fn h2_1_streams_reset_once_an_endpoint_has_them_end_the_connection() {
    // Each such request takes a connection to the endpoint with it.
    let world = Watched::playing(&[("RAUTA_THREADS", "1")], |peer| {
        let request = peer.request()?;
        if !request.starts_with(b"GET /hold") {
            return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine");
        }
        peer.to_the_end().map(drop)
    });
    let mut client = open(&world.lab, world.gateway.address(), &[]);
    let mut sent = 0;
    while sent < 400 {
        let before = world.endpoint.connections();
        if client.send_bytes(&head(2 * sent + 1, b"/hold")).is_err() {
            break;
        }
        let taken = testkit::until(Duration::from_secs(10), "the endpoint to have it", || {
            (world.endpoint.connections() > before).then_some(())
        });
        if taken.is_err() || client.send_bytes(&reset(2 * sent + 1)).is_err() {
            break;
        }
        sent += 1;
    }
    assert!((100..200).contains(&sent), "{sent} streams were taken");
    let ended = client.ended(u32::MAX).unwrap();
    assert!(matches!(ended, Ended::GoneAway(ENHANCE_YOUR_CALM) | Ended::Closed), "{ended:?}");
    let mut other = open(&world.lab, world.gateway.address(), &[]);
    other.request(1, &get(b"/"), true).unwrap();
    assert!(matches!(other.ended(1).unwrap(), Ended::Answered { status: Some(200), .. }));
    let label = r#"reason="most streams cancelled""#;
    assert_eq!(world.gateway.metric("rauta_refusals_total", label).unwrap(), 1.0);
}

#[test]
fn h2_1_a_client_that_cancels_some_requests_goes_on() {
    let world = Watched::playing(&[("RAUTA_THREADS", "1")], |peer| {
        loop {
            let request = peer.request()?;
            if request.starts_with(b"GET /hold") {
                return peer.to_the_end().map(drop);
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")?;
        }
    });
    let mut client = open(&world.lab, world.gateway.address(), &[]);
    for i in 0..90 {
        let before = world.endpoint.connections();
        client.send_bytes(&head(2 * i + 1, b"/hold")).unwrap();
        world.endpoint.wait_for_connections(before + 1).unwrap();
        client.send_bytes(&reset(2 * i + 1)).unwrap();
    }
    client.request(1001, &get(b"/"), true).unwrap();
    assert!(matches!(client.ended(1001).unwrap(), Ended::Answered { status: Some(200), .. }));
}

#[test]
fn h2_2_frames_without_end_are_bounded() {
    let begin = encode(frame::HEADERS, 0, 1, &section(&get(b"/128")));
    let field = section(&[(b"x", &[b'y'; 1000])]);
    let body = encode(frame::HEADERS, frame::END_HEADERS, 1, &section(&get(b"/128")));
    let settings = encode(frame::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255].repeat(100));
    let floods: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("CONTINUATION", begin, encode(frame::CONTINUATION, 0, 1, &field)),
        ("SETTINGS", vec![], settings),
        ("PING", vec![], encode(frame::PING, 0, 0, b"12345678").repeat(50)),
        ("empty DATA", body, encode(frame::DATA, 0, 1, b"").repeat(50)),
        ("window", vec![], encode(frame::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(50)),
    ];
    let mut world = World::simple();
    for (name, first, piece) in floods {
        eprintln!("{name}");
        bounded(&mut world, |world| {
            let mut clients: Vec<_> =
                (0..4).map(|_| open(&world.lab, world.gateway.address(), &[])).collect();
            for client in &mut clients {
                pour(client, &first, 1);
                pour(client, &piece, 5000);
            }
            clients
        });
    }
}

#[test]
fn h2_3_small_sections_that_unpack_to_large_ones_are_refused() {
    // One entry of the dynamic table, then bytes that each name it (RFC 7541 section 6.1): 62 is the youngest.
    let mut bomb = section(&get(b"/128"));
    bomb.extend([0x40, 1, b'x', 127, 0x81, 0x1e]); // x with a value of 127 + 1 + 30 * 128 = 3,968 bytes
    bomb.extend([b'y'; 3968]);
    bomb.extend([0x80 | 62; 12_000]);
    let mut crumbs = section(&get(b"/128"));
    crumbs.extend([0x40, 6]);
    crumbs.extend(b"cookie\x03a=1");
    crumbs.extend([0x80 | 62; 16_000]);
    let mut world = World::simple();
    for section in [bomb, crumbs] {
        bounded(&mut world, |world| {
            let mut clients: Vec<_> = (0..4)
                .map(|_| open(&world.lab, world.gateway.address(), &[(INITIAL_WINDOW_SIZE, 0)]))
                .collect();
            for client in &mut clients {
                client.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
                for i in 0..100 {
                    let flags = frame::END_HEADERS | frame::END_STREAM;
                    if client.send_bytes(&encode(frame::HEADERS, flags, 2 * i + 1, &section)).is_err() {
                        break;
                    }
                }
            }
            let mut client = open(&world.lab, world.gateway.address(), &[]);
            client.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &section).unwrap();
            let ended = client.ended(1).unwrap();
            assert!(!matches!(ended, Ended::Answered { status: Some(200), .. }), "{ended:?}");
            clients
        });
    }
}

#[test]
fn h2_4_windows_that_stay_shut_hold_little_and_not_for_ever() {
    let mut world = World::tuned(1, &all_to(&[0]), &[("RAUTA_TIMEOUTS_STALL", "2s")]);
    let mut clients = Vec::new();
    bounded(&mut world, |world| {
        for _ in 0..4 {
            let mut client = open(&world.lab, world.gateway.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
            let flood: Vec<u8> = (0..100).flat_map(|i| head(2 * i + 1, b"/10m")).collect();
            client.send_bytes(&flood).unwrap();
            clients.push(client);
        }
        std::thread::sleep(Duration::from_millis(500));
    });
    for client in &mut clients {
        assert!(matches!(client.ended(1).unwrap(), Ended::Reset(_)), "a stream that takes nothing is reset");
    }
}

/// The gateway with a listener for HTTPS on 8443 beside the one for HTTP.
fn https(settings: &[(&str, &str)]) -> (World, SocketAddr) {
    let listener = ", {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: any}]}}]\n";
    let gateway = GATEWAY.trim_end().strip_suffix(']').unwrap().to_owned() + listener;
    let route = route("all", &[], &[("", "[{name: web, port: 80}]")]);
    let manifest = documents(&[&gateway, &secret("any", &pair("a.test")), &service("web", &[0]), &route]);
    (World::tuned(1, &manifest, settings), (Addresses::GATEWAY, 8443).into())
}

#[test]
fn t_2_handshakes_that_stop_half_way_are_bounded_and_ended() {
    let (mut world, address) = https(&[("RAUTA_TIMEOUTS_HEADER_READ", "1h")]);
    let mut half = Vec::new();
    bounded(&mut world, |world| {
        for i in 0..1000 {
            let mut connection = Connection::open(world.lab.client(), address).unwrap();
            // The record promises 512 bytes; some say nothing at all.
            if i % 2 == 0 {
                connection.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
            }
            half.push(connection);
        }
    });
    for mut connection in half {
        connection.set_read_limit(Duration::from_secs(30)).unwrap();
        connection.rest().unwrap();
    }
    let label = r#"reason="handshake timed out""#;
    let failures = || world.gateway.metric("rauta_tls_handshake_failures_total", label).unwrap();
    // A connection ends a moment before it is counted.
    let _ =
        testkit::until(Duration::from_secs(10), "all to be counted", || (failures() >= 1000.0).then_some(()));
    assert_eq!(failures(), 1000.0);
}

#[test]
fn t_2_a_hello_without_end_is_refused() {
    let (mut world, address) = https(&[]);
    bounded(&mut world, |world| {
        // A handshake message of 16 MiB less one byte, in records of 16 KiB.
        let mut connection = Connection::open(world.lab.client(), address).unwrap();
        let mut record = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff".to_vec();
        record.resize(5 + 16 * 1024, 0);
        let mut sent = 0;
        while sent < 1024 && connection.send(&record).is_ok() {
            record[5..9].fill(0);
            sent += 1;
        }
        assert!(sent < 1024, "the gateway took 16 MiB");
    });
}
