//! Large bodies, both ways, over wires that lose, double and reorder.

use std::time::Duration;

use testkit::{
    Connection, Endpoints, FaultCounts, Faults, Lab, Nginx, ONE_MEGABYTE_SHA256, Response, one_megabyte,
    sha256_hex,
};

use crate::world::{Network, World};

/// One packet in a hundred is lost, one doubled, one late, on each of the four wires of an exchange.
const ONE_PERCENT: Faults = Faults { loss: 0.01, duplicate: 0.01, reorder: 0.01 };
const FIVE_PERCENT: Faults = Faults { loss: 0.05, duplicate: 0.01, reorder: 0.01 };

on_every_network!(
    bodies_come_whole,
    bodies_go_whole,
    uploads_over_a_bad_wire,
    ten_megabytes_over_a_bad_wire,
    ten_megabytes_over_a_very_bad_wire,
    uploads_over_a_very_bad_wire,
    changes_of_endpoint_and_tier_over_a_bad_wire,
);
mod bad {
    on_two_networks!(
        ten_megabytes_up_over_a_bad_wire,
        bodies_over_a_very_bad_wire,
        many_small_requests_over_a_very_bad_wire,
        a_small_window_over_a_bad_wire,
        jumbo_frames_pass,
    );
    use super::*;
}

fn download(connection: &mut Connection, host: &str, path: &str) -> Response {
    connection.get(host, path).unwrap_or_else(|error| panic!("{host}{path}: {error}"))
}

#[track_caller]
fn assert_megabytes(answer: &Response, endpoint: &str, count: usize) {
    assert_eq!((answer.status, answer.endpoint()), (200, Some(endpoint)));
    assert_eq!(answer.body.len(), count * 1_000_000);
    for megabyte in answer.body.chunks(1_000_000) {
        assert_eq!(sha256_hex(megabyte), ONE_MEGABYTE_SHA256);
    }
}

/// A faulty network that did nothing would prove nothing.
#[track_caller]
fn assert_struck(counts: FaultCounts) {
    assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
}

fn bodies_come_whole(network: Network) {
    let world = World::new(network);
    world.decides(6, || {
        let mut connection = world.connect();
        for _ in 0..2 {
            assert_megabytes(&download(&mut connection, "a.test", "/1m"), "b0", 1);
            assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
        }
        assert_megabytes(&download(&mut connection, "a.test", "/10m"), "b0", 10);
        let chunked = download(&mut connection, "b.test", "/chunked");
        assert_eq!(chunked.text(), "0123456789abcdef".repeat(1024));
    });
}

fn upload(connection: &mut Connection, megabytes: usize) -> Response {
    let length = megabytes * 1_000_000;
    let head = format!("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
    connection.send([head.into_bytes(), one_megabyte().repeat(megabytes)].concat()).unwrap();
    connection.response("PUT").unwrap()
}

/// `b0` answers with digests. Where headers are inserted, userspace takes uploads; without, they pass through the kernel.
fn digesting(network: Network, inserts: bool) -> World {
    let lab = network.lab();
    let endpoint = Endpoints::digesting(lab.backend(0), network.endpoint(0), "digest").unwrap();
    let nginx = vec![Nginx::start(&lab, 1).unwrap()];
    let settings = [("RAUTA_FORWARDED_HEADERS", if inserts { "true" } else { "false" })];
    World::around(network, lab, nginx, Some(endpoint), &settings)
}

/// Three requests: one that opens the leg, the upload, and one that goes elsewhere.
#[track_caller]
fn exchange(connection: &mut Connection, megabytes: usize) {
    assert_eq!(connection.get("a.test", "/x").unwrap().endpoint(), Some("digest"));
    let expected = sha256_hex(&one_megabyte().repeat(megabytes));
    assert_eq!(upload(connection, megabytes).text(), expected);
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
}

fn bodies_go_whole(network: Network) {
    for inserts in [true, false] {
        let world = digesting(network, inserts);
        let mut connection = world.connect();
        let exchanges = || [1, 1, 10].map(|megabytes| exchange(&mut connection, megabytes));
        if inserts {
            world.hands_off_for("too_long", 1, exchanges);
        } else {
            world.decides(9, exchanges);
        }
    }
}

fn uploads_over_a_bad_wire(network: Network) {
    for inserts in [true, false] {
        let world = digesting(network, inserts);
        let faulty = world.lab.faults(ONE_PERCENT).unwrap();
        let exchanges = || (0..3).for_each(|_| exchange(&mut world.connect(), 1));
        if inserts {
            world.hands_off_for("too_long", 3, exchanges);
        } else {
            world.decides(9, exchanges);
        }
        assert!(faulty.counts().unwrap().lost > 0);
    }
}

fn ten_megabytes_over_a_bad_wire(network: Network) {
    let world = World::new(network);
    let faulty = world.lab.faults(ONE_PERCENT).unwrap();
    world.decides(2, || {
        let mut connection = world.connect();
        assert_megabytes(&download(&mut connection, "a.test", "/10m"), "b0", 10);
        assert_megabytes(&download(&mut connection, "b.test", "/10m"), "b1", 10);
    });
    assert_struck(faulty.counts().unwrap());
}

/// Through userspace, which inserts headers; and without them through the kernel, behind a request that opened the leg.
fn ten_megabytes_up_over_a_bad_wire(network: Network) {
    for inserts in [true, false] {
        let world = digesting(network, inserts);
        let faulty = world.lab.faults(ONE_PERCENT).unwrap();
        let sends = || {
            let mut connection = world.connect();
            connection.set_read_limit(Duration::from_secs(30)).unwrap();
            exchange(&mut connection, 10);
        };
        if inserts {
            world.hands_off(sends)
        } else {
            world.decides(3, sends)
        }
        assert_struck(faulty.counts().unwrap());
    }
}

/// The same at five in a hundred, in the kernel alone: what userspace gets, it gets for an endpoint that seems dead.
fn uploads_over_a_very_bad_wire(network: Network) {
    let world = digesting(network, false);
    let faulty = world.lab.faults(FIVE_PERCENT).unwrap();
    for megabytes in [1, 10] {
        world.counts(&[("hand_off_too_long", 0), ("hand_off_undecidable", 0), ("hand_off_route", 0)], || {
            world.decides_in_the_end(3, || {
                let mut connection = world.connect();
                connection.set_read_limit(Duration::from_secs(60)).unwrap();
                exchange(&mut connection, megabytes);
            });
        });
    }
    assert_struck(faulty.counts().unwrap());
}

/// Connections that change endpoint by request, and tier in the middle, at once.
fn changes_of_endpoint_and_tier_over_a_bad_wire(network: Network) {
    let world = World::new(network);
    let faulty = world.lab.faults(ONE_PERCENT).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let mut connection = world.connect();
                    assert_megabytes(&download(&mut connection, "a.test", "/1m"), "b0", 1);
                    assert_eq!(download(&mut connection, "a.test", "/b").endpoint(), Some("b1"));
                    assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
                    assert_eq!(download(&mut connection, "a.test", "/128").body.len(), 128);
                    assert_eq!(download(&mut connection, "a.test", "/user").endpoint(), Some("b1"));
                    assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
                }
            });
        }
    });
    assert_struck(faulty.counts().unwrap());
}

fn bodies_over_a_very_bad_wire(network: Network) {
    let world = World::new(network);
    let faulty = world.lab.faults(FIVE_PERCENT).unwrap();
    world.decides_in_the_end(2, || {
        let mut connection = world.connect();
        connection.set_read_limit(Duration::from_secs(15)).unwrap();
        assert_megabytes(&download(&mut connection, "a.test", "/1m"), "b0", 1);
        assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
    });
    assert!(faulty.counts().unwrap().lost > 0);
}

fn many_small_requests_over_a_very_bad_wire(network: Network) {
    let world = World::new(network);
    let faulty = world.lab.faults(FIVE_PERCENT).unwrap();
    // What userspace has of a connection, it has to its end.
    world.decides_at_least(80, 8, || {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let world = &world;
                scope.spawn(move || {
                    let mut connection = world.connect();
                    connection.set_read_limit(Duration::from_secs(15)).unwrap();
                    for turn in 0..10 {
                        for (path, endpoint) in [("/a", "b0"), ("/b", "b1")] {
                            let path = format!("{path}/{client}/{turn}");
                            let answer = download(&mut connection, "a.test", &path);
                            assert_eq!(answer.endpoint(), Some(endpoint));
                            assert!(answer.text().contains(&format!("uri={path}\n")), "{answer:?}");
                        }
                    }
                });
            }
        });
    });
    assert_struck(faulty.counts().unwrap());
}

/// Ten megabytes down and up, with changes of endpoint and, for the upload, of tier.
fn ten_megabytes_over_a_very_bad_wire(network: Network) {
    let world =
        World::with_endpoint(network, |netns, address| Endpoints::digesting(netns, address, "digest"));
    let faulty = world.lab.faults(FIVE_PERCENT).unwrap();
    let mut connection = world.decides_in_the_end(3, || {
        let mut connection = world.connect();
        connection.set_read_limit(Duration::from_secs(60)).unwrap();
        assert_megabytes(&download(&mut connection, "b.test", "/10m"), "b1", 10);
        assert_eq!(connection.get("a.test", "/x").unwrap().endpoint(), Some("digest"));
        assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
        connection
    });
    assert_eq!(upload(&mut connection, 10).text(), sha256_hex(&one_megabyte().repeat(10)));
    assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
    assert_struck(faulty.counts().unwrap());
}

/// A window of two segments, and three in a hundred packets lost: 262,144 bytes in sixteen answers (attack X-6).
fn a_small_window_over_a_bad_wire(network: Network) {
    let world = World::new(network);
    let faulty = world.lab.faults(Faults { loss: 0.03, ..ONE_PERCENT }).unwrap();
    world.decides_in_the_end(16, || {
        let mut connection = world.dial().receive_buffer(4096).open(world.lab.client()).unwrap();
        connection.set_read_limit(Duration::from_secs(30)).unwrap();
        for turn in 0..16 {
            let (host, endpoint) = if turn % 4 == 3 { ("b.test", "b1") } else { ("a.test", "b0") };
            let answer = download(&mut connection, host, "/16k");
            assert_eq!(answer.endpoint(), Some(endpoint));
            assert_eq!(answer.body, vec![b'x'; 16 * 1024]);
        }
    });
    assert!(faulty.counts().unwrap().lost > 0);
}

/// Segments of nearly 9,000 bytes, as on a network of a data centre (attack X-14).
fn jumbo_frames_pass(network: Network) {
    let lab = Lab::builder().backends(2).mtu(9000).offloads(network.offloads).build().unwrap();
    let endpoint = Endpoints::digesting(lab.backend(0), network.endpoint(0), "digest").unwrap();
    let nginx = vec![Nginx::start(&lab, 1).unwrap()];
    let world = World::around(network, lab, nginx, Some(endpoint), &[]);
    world.decides(2, || {
        let mut connection = world.connect();
        assert_megabytes(&download(&mut connection, "b.test", "/1m"), "b1", 1);
        assert_eq!(connection.get("a.test", "/x").unwrap().endpoint(), Some("digest"));
    });
    let mut connection = world.connect();
    assert_megabytes(&download(&mut connection, "b.test", "/10m"), "b1", 10);
    assert_eq!(upload(&mut connection, 1).text(), ONE_MEGABYTE_SHA256);
}
