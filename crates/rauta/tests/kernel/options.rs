//! Handshakes as other systems make them, and sequence numbers that wrap.

use std::time::Duration;

use testkit::{Options, RawHost, one_megabyte};

use crate::world::{Network, World};

on_every_network!(
    option_layouts_of_all_systems_are_served,
    odd_options_are_served,
    sequence_numbers_may_wrap_at_any_request,
    one_fifth_of_a_megabyte_by_hand,
);

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes()
}

/// Whether `bytes` is a whole answer with a Content-Length.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| bytes.len() >= head.len() + 4 + length)
}

#[track_caller]
pub(crate) fn assert_answers(bytes: &[u8], endpoint: &str, uri: &str) {
    let text = String::from_utf8_lossy(bytes);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains(&format!("X-Endpoint: {endpoint}\r\n")), "{endpoint} did not answer: {text}");
    assert!(text.contains(&format!("uri={uri}\n")), "{uri}: {text}");
    assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
}

fn option_layouts_of_all_systems_are_served(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(12, || {
        for (port, options) in (2000..).zip([Options::LINUX, Options::WINDOWS, Options::MACOS, Options::NONE])
        {
            let mut connection = host.connect(world.address(), port, options, 1000).unwrap();
            // Nothing may be promised that was not offered (RFC 7323 sections 2.2, 3.2; RFC 2018 section 2).
            for kind in [3, 4, 8] {
                assert_eq!(
                    connection.answer.option(kind).is_some(),
                    offers(options, kind),
                    "option {kind}: {:?}",
                    connection.answer
                );
            }
            for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/a/2", "b0")] {
                host.write(&mut connection, &get(path)).unwrap();
                assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), endpoint, path);
            }
        }
    });
    // In the middle of a connection userspace takes it over with what was agreed.
    for (port, options) in (2100..).zip([Options::LINUX, Options::WINDOWS, Options::MACOS, Options::NONE]) {
        let mut connection = host.connect(world.address(), port, options, 1000).unwrap();
        for (path, endpoint) in [("/b", "b1"), ("/user", "b1"), ("/b/2", "b1")] {
            host.write(&mut connection, &get(path)).unwrap();
            assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), endpoint, path);
        }
    }
}

fn offers(options: &[u8], kind: u8) -> bool {
    let local = "10.0.0.1:1".parse().unwrap();
    let syn = testkit::Segment { options: options.to_vec(), ..testkit::Segment::new(local, local, 0, 0, 0) };
    syn.option(kind).is_some()
}

fn odd_options_are_served(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let odd: [&[u8]; 6] = [
        // A window scale beyond the largest counts as 14 (RFC 7323 section 2.3).
        &[3, 3, 14, 1],
        &[3, 3, 15, 1],
        // MSS of 0 and 64: not to be divided by, nor believed below the minimum.
        &[2, 4, 0, 0],
        &[2, 4, 0, 64],
        // An option nobody knows (experimental, RFC 4727), and nothing but padding.
        &[254, 6, 1, 2, 3, 4, 1, 1],
        &[1; 40],
    ];
    for (port, options) in (2200..).zip(odd) {
        let mut connection = host.connect(world.address(), port, options, 77).unwrap();
        host.write(&mut connection, &get("/b")).unwrap();
        assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b1", "/b");
    }
    // Lengths that lie: to be answered or not, but never to be fallen over (attack X-3).
    let broken: [&[u8]; 4] = [&[2, 0, 5, 180], &[2, 1, 5, 180], &[8, 40, 0, 0], &[3, 3, 3, 2]];
    for (port, options) in (2300..).zip(broken) {
        let local = host.address(world.address(), port);
        let syn = testkit::Segment {
            options: options.to_vec(),
            ..testkit::Segment::new(local, world.address(), testkit::flag::SYN, 5, 0)
        };
        host.send(&syn).unwrap();
        host.receive(local, Duration::from_millis(50)).unwrap();
    }
    assert_eq!(world.get("/b").endpoint(), Some("b1"));
}

fn sequence_numbers_may_wrap_at_any_request(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    let length = u32::try_from(get("/a/00").len()).unwrap();
    world.decides(80, || {
        for (port, before) in (2400..).zip([0, 1, length / 2, length * 7 + 3]) {
            let isn = 0_u32.wrapping_sub(before).wrapping_sub(1);
            let mut connection = host.connect(world.address(), port, Options::LINUX, isn).unwrap();
            for turn in 10..30 {
                let (path, endpoint) = if turn % 3 == 0 { ("b", "b1") } else { ("a", "b0") };
                let path = format!("/{path}/{turn}");
                host.write(&mut connection, &get(&path)).unwrap();
                assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), endpoint, &path);
            }
        }
    });
}

/// Every segment of a longer answer arrives in order and unchanged, also where nothing but our acknowledgments drives it.
fn one_fifth_of_a_megabyte_by_hand(network: Network) {
    let world = World::new(network);
    let host = RawHost::new(&world.lab).unwrap();
    world.decides(1, || {
        for (port, options) in (2500..).zip([Options::LINUX, Options::WINDOWS]) {
            let mut connection = host.connect(world.address(), port, options, 9).unwrap();
            host.write(&mut connection, &get("/1m")).unwrap();
            let bytes = host.read(&mut connection, LIMIT, |bytes| bytes.len() > 200_000).unwrap();
            let start = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(bytes[start..], one_megabyte()[..bytes.len() - start]);
        }
    });
}
