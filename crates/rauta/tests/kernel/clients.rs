//! Clients of every build and habit.

use std::time::Duration;

use testkit::{
    Nginx, ONE_MEGABYTE_SHA256, RawHost, Recorder, Response, Segment, flag, one_megabyte, sha256_hex,
};

use crate::options::get;
use crate::told;
use crate::world::{Network, World};

on_every_network!(
    clients_without_timestamps_sack_and_scaling,
    clients_with_small_segments,
    clients_with_a_small_window,
    windows_without_scale_on_both_sides,
    a_client_that_stops_reading,
    a_port_may_be_used_again_at_once,
    a_port_may_be_used_again_after_userspace_closed,
    a_reset_in_any_state_ends_both_sides,
);

#[track_caller]
fn assert_megabyte(answer: &Response, endpoint: &str) {
    assert_eq!((answer.status, answer.endpoint()), (200, Some(endpoint)));
    assert_eq!(sha256_hex(&answer.body), ONE_MEGABYTE_SHA256);
}

fn clients_without_timestamps_sack_and_scaling(network: Network) {
    let world = World::new(network);
    let knobs = ["net/ipv4/tcp_timestamps", "net/ipv4/tcp_sack", "net/ipv4/tcp_window_scaling"];
    // Each alone, then all.
    for off in [&knobs[..1], &knobs[1..2], &knobs[2..], &knobs] {
        for knob in knobs {
            world.lab.client().sysctl(knob, if off.contains(&knob) { "0" } else { "1" }).unwrap();
        }
        world.decides(4, || {
            let mut connection = world.connect();
            assert_megabyte(&connection.get("a.test", "/1m").unwrap(), "b0");
            assert_megabyte(&connection.get("b.test", "/1m").unwrap(), "b1");
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
            assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        });
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        assert_eq!(connection.get("a.test", "/user").unwrap().endpoint(), Some("b1"), "{off:?}");
        assert_megabyte(&connection.get("b.test", "/1m").unwrap(), "b1");
    }
}

fn clients_with_small_segments(network: Network) {
    let world = World::new(network);
    for mss in [536, 1220] {
        world.decides(2, || {
            let mut connection = world.dial().mss(mss).open(world.lab.client()).unwrap();
            assert_megabyte(&connection.get("a.test", "/1m").unwrap(), "b0");
            assert_megabyte(&connection.get("b.test", "/1m").unwrap(), "b1");
        });
        let mut connection = world.dial().mss(mss).open(world.lab.client()).unwrap();
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        // Larger than one of its segments, so handed off.
        let filler = "y".repeat(1000 + usize::try_from(mss).unwrap());
        let request = format!("GET /b HTTP/1.1\r\nHost: a.test\r\nX-Big: {filler}\r\n\r\n");
        assert_eq!(connection.request(&request).unwrap().endpoint(), Some("b1"));
        assert_megabyte(&connection.get("a.test", "/1m").unwrap(), "b0");
    }
}

fn clients_with_a_small_window(network: Network) {
    let world = World::new(network);
    world.decides(2, || {
        let mut connection = world.dial().receive_buffer(4096).open(world.lab.client()).unwrap();
        assert_megabyte(&connection.get("a.test", "/1m").unwrap(), "b0");
        assert_megabyte(&connection.get("b.test", "/1m").unwrap(), "b1");
    });
}

/// Neither end scales its windows, though both offer to (shift 0), and a megabyte goes either way.
fn windows_without_scale_on_both_sides(network: Network) {
    const SMALL: usize = 16 * 1024;
    let lab = network.lab();
    let endpoint = Recorder::start(lab.backend(0), network.endpoint(0), |peer| {
        loop {
            let request = peer.request()?;
            let body = request.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            let digest = sha256_hex(&request[body..]);
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nX-Endpoint: narrow\r\nX-Digest: {digest}\r\nContent-Length: 1000000\r\n\r\n"
            ))?;
            peer.send(one_megabyte())?;
        }
    })
    .unwrap();
    endpoint.receive_buffer(SMALL).unwrap();
    let nginx = vec![Nginx::start(&lab, 1).unwrap()];
    // Without headers to insert, the kernel lets a body pass that follows its head.
    let world = World::around(network, lab, nginx, Some(endpoint), &[("RAUTA_FORWARDED_HEADERS", "false")]);
    world.decides(5, || {
        let mut connection = world.dial().receive_buffer(SMALL).open(world.lab.client()).unwrap();
        assert_megabyte(&connection.get("a.test", "/x").unwrap(), "narrow");
        told::wait_for(&world, told::end_of(&world, &connection), "agreed with the client: ", "scale 0");
        told::wait_for(&world, told::end_of(&world, &connection), "agreed with the endpoint: ", "scale 0");
        let head = "PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n";
        connection.send([head.as_bytes(), &one_megabyte()].concat()).unwrap();
        let answer = connection.response("PUT").unwrap();
        assert_eq!(answer.header("x-digest"), Some(ONE_MEGABYTE_SHA256));
        assert_megabyte(&answer, "narrow");
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        assert_megabyte(&connection.get("a.test", "/x").unwrap(), "narrow");
    });

    if world.hook == "off" {
        return;
    }
    // As the windows stand in the headers: the client's is not to be exceeded, the endpoint's is told in the gateway's scale.
    const WINDOW: u16 = 4000;
    let host = RawHost::new(&world.lab).unwrap();
    let mut connection = host.connect(world.address(), 2600, &[2, 4, 5, 180, 3, 3, 0, 1], 7).unwrap();
    assert_eq!(connection.answer.option(3), Some(&[7][..]));
    let request = Segment { window: WINDOW, ..connection.segment(flag::ACK | flag::PSH, &get("/x")) };
    connection.seq = request.end();
    world.decides(1, || {
        host.send(&request).unwrap();
        let mut sent = 0;
        while let Some(segment) = host.receive(connection.local, Duration::from_millis(500)).unwrap() {
            sent = sent.max(segment.end().wrapping_sub(connection.ack));
            assert!((1..=65_535 >> 7).contains(&segment.window), "{segment:?}");
            if sent > 2 * u32::from(WINDOW) {
                break;
            }
        }
        assert!((1..=u32::from(WINDOW)).contains(&sent), "{sent} bytes under way");
    });
    host.send(&connection.segment(flag::RST, b"")).unwrap();
}

/// Its window closes; probes and the update that opens it must pass (attack X-6).
fn a_client_that_stops_reading(network: Network) {
    let world = World::new(network);
    world.decides(2, || {
        let mut connection = world.dial().receive_buffer(16 * 1024).open(world.lab.client()).unwrap();
        connection.send("GET /1m HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        assert_megabyte(&connection.response("GET").unwrap(), "b0");
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
    });
}

fn a_port_may_be_used_again_at_once(network: Network) {
    let world = World::new(network);
    world.decides(20, || {
        for turn in 0..20 {
            let mut connection = world.dial().from_port(7000).open(world.lab.client()).unwrap();
            let (path, endpoint) = if turn % 2 == 0 { ("/a", "b0") } else { ("/b", "b1") };
            // Ended by a reset of ours or by the endpoint: to close first would block the port on our own side.
            let resets = turn % 3 == 0;
            let closing = if resets { "keep-alive" } else { "close" };
            let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: {closing}\r\n\r\n");
            assert_eq!(connection.request(&request).unwrap().endpoint(), Some(endpoint), "turn {turn}");
            if resets {
                connection.reset().unwrap();
            } else {
                assert_eq!(connection.rest().unwrap(), b"");
            }
        }
    });
}

/// The gateway's own TIME_WAIT stands in the way of a hand-off: such a connection begins in userspace.
fn a_port_may_be_used_again_after_userspace_closed(network: Network) {
    let world = World::new(network);
    let asks = |port: u16, path: &str| {
        let mut connection = world.dial().from_port(port).open(world.lab.client()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        assert_eq!(connection.request(&request).unwrap().endpoint(), Some("b1"), "{path}");
        assert_eq!(connection.rest().unwrap(), b"");
    };
    world.hands_off_for("route", 1, || asks(7001, "/user"));
    // Again at once, for userspace, then for either: none of them has a cookie.
    world.counts(&[("syn_cookie", 0), ("bound", 0), ("hand_off_route", 0)], || {
        for _ in 0..7 {
            asks(7001, "/user");
            asks(7001, "/b");
        }
    });
    // Where the client reset, nothing is left, and the kernel has the port again.
    world.hands_off_for("route", 1, || {
        let mut connection = world.dial().from_port(7002).open(world.lab.client()).unwrap();
        assert_eq!(connection.get("a.test", "/user").unwrap().endpoint(), Some("b1"));
        connection.reset().unwrap();
    });
    world.decides(1, || asks(7002, "/b"));
}

fn a_reset_in_any_state_ends_both_sides(network: Network) {
    let world = World::new(network);
    world.counts(&[("reset", 6)], || {
        world.decides(6, || {
            for path in ["/a", "/b"] {
                // Before a request, with one under way, in the middle of its answer, and after it.
                world.connect().reset().unwrap();
                let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
                let mut connection = world.connect();
                connection.send(&request).unwrap();
                connection.reset().unwrap();
                let mut connection = world.connect();
                connection.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
                connection.head().unwrap();
                connection.reset().unwrap();
                let mut connection = world.connect();
                connection.request(&request).unwrap();
                connection.reset().unwrap();
            }
        });
    });
    // Userspace keeps up to one connection for each of its two threads and endpoints.
    testkit::until(Duration::from_secs(30), "endpoints to lose their connections", || {
        (crate::requests::established(&world, 0) + crate::requests::established(&world, 1) <= 4).then_some(())
    })
    .unwrap();
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}
