//! Endpoints of every habit: those that close, hint, pause, refuse and break off.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testkit::{ClientError, Connection, Endpoints, Nginx, NginxOptions, Recorder, exec, until};

use crate::unread::Unread;
use crate::world::{Network, World};

on_every_network!(
    endpoints_that_close_idle_connections_are_never_seen_by_clients,
    an_end_that_crosses_a_request_is_never_seen_by_the_client,
    an_early_hint_is_not_the_answer,
    a_408_on_an_idle_connection_answers_no_request,
    chunks_with_pauses_come_whole,
    an_early_413_is_delivered,
    an_answer_broken_off_is_an_error,
    a_surplus_answer_answers_no_request,
    five_gigabytes_may_be_declared,
    answers_without_a_length_end_with_the_connection,
    a_leg_that_is_left_is_reset,
);

fn endpoints_that_close_idle_connections_are_never_seen_by_clients(network: Network) {
    // Around the moment at which nginx closes.
    const IDLE_MS: [u64; 16] =
        [900, 950, 980, 990, 995, 998, 999, 1000, 1001, 1002, 1003, 1006, 1010, 1020, 1100, 1500];
    const EACH: u32 = 6;
    const PATHS: [(&str, &str); 4] = [("/a", "b0"), ("/a", "b0"), ("/b", "b1"), ("/b", "b1")];
    let lab = network.lab();
    let options = NginxOptions { keepalive: Duration::from_secs(1), ..Default::default() };
    let nginx = (0..2).map(|index| Nginx::with(&lab, index, options).unwrap()).collect();
    let world = World::around(network, lab, nginx, None, &[]);
    let unread = Unread::begin(&world);
    world.decides(16 * 4 * EACH, || {
        std::thread::scope(|scope| {
            for idle_ms in IDLE_MS.repeat(usize::try_from(EACH).unwrap()) {
                let (world, unread) = (&world, &unread);
                scope.spawn(move || {
                    let mut connection = world.connect();
                    for (path, endpoint) in PATHS {
                        let answer = unread.get(&mut connection, path);
                        assert_eq!(
                            answer.unwrap_or_else(|e| panic!("{idle_ms} ms: {e}")).endpoint(),
                            Some(endpoint)
                        );
                        std::thread::sleep(Duration::from_millis(idle_ms));
                    }
                });
            }
        });
    });
    unread.end();
}

/// The endpoint closes as soon as it has answered, while the next request is on its way.
fn an_end_that_crosses_a_request_is_never_seen_by_the_client(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Endpoints::closing_idle(netns, address, "brief", Duration::from_millis(1))
    });
    let unread = Unread::begin(&world);
    world.decides(200, || {
        let mut connection = world.connect();
        for turn in 0..200_u64 {
            let answer = unread.get(&mut connection, "/x");
            let answer = answer.unwrap_or_else(|error| panic!("request {turn}: {error}"));
            assert_eq!(answer.endpoint(), Some("brief"));
            std::thread::sleep(Duration::from_micros(turn * 20));
        }
    });
    unread.end();
}

fn an_early_hint_is_not_the_answer(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Endpoints::hinting(netns, address, "hint", Duration::from_millis(50))
    });
    world.decides(4, || {
        let mut connection = world.connect();
        for turn in 0..3 {
            let answer = connection.get("a.test", &format!("/{turn}")).unwrap();
            assert_eq!(answer.informational.iter().map(|hint| hint.status).collect::<Vec<_>>(), [103]);
            assert_eq!(answer.text(), format!("/{turn}"));
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        }
    });
}

fn a_408_on_an_idle_connection_answers_no_request(network: Network) {
    let timeout = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (world, left) = speaking_unasked(network, timeout);
    world.decides(6, || {
        let mut connection = world.connect();
        for turn in 0..3 {
            assert_eq!(connection.get("a.test", "/again").unwrap().text(), "fine");
            // The endpoint speaks behind this one. A 408 that crosses a request would be that request's.
            assert_eq!(connection.get("a.test", "/last").unwrap().text(), "fine");
            wait_for_more(&left, turn);
        }
    });
}

fn chunks_with_pauses_come_whole(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Endpoints::chunking(netns, address, "chunks", 5, Duration::from_millis(20))
    });
    world.decides(6, || {
        let mut connection = world.connect();
        for turn in 0..3 {
            let answer = connection.get("a.test", &format!("/{turn}")).unwrap();
            assert_eq!(answer.text(), format!("/{turn}").repeat(5));
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        }
    });
}

fn an_early_413_is_delivered(network: Network) {
    for forwarded_headers in ["true", "false"] {
        let lab = network.lab();
        let endpoint = Endpoints::refusing_bodies(lab.backend(0), network.endpoint(0), "strict").unwrap();
        let nginx = vec![Nginx::start(&lab, 1).unwrap()];
        let settings = [("RAUTA_FORWARDED_HEADERS", forwarded_headers)];
        let world = World::around(network, lab, nginx, Some(endpoint), &settings);
        let refused = |connection: &mut Connection| {
            connection.send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9000000\r\n\r\n").unwrap();
            connection.send(vec![b'x'; 100_000]).unwrap();
            let answer = connection.response("POST").unwrap();
            assert_eq!((answer.status, answer.endpoint()), (413, Some("strict")));
        };
        // A first request is whole in its segment, or userspace's.
        world.hands_off_for("too_long", 1, || refused(&mut world.connect()));
        let mut connection = world.connect();
        world.decides(1, || assert_eq!(connection.get("a.test", "/x").unwrap().text(), "/x"));
        // A later one may be longer, if nothing is inserted.
        if forwarded_headers == "true" {
            world.hands_off_for("too_long", 1, || refused(&mut connection));
        } else {
            world.decides(1, || refused(&mut connection));
        }
        world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
    }
}

fn an_answer_broken_off_is_an_error(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Recorder::start(netns, address, |peer| {
            peer.request()?;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this")?;
            peer.pause(Duration::from_millis(100));
            if peer.index % 2 == 0 { peer.reset() } else { Ok(()) }
        })
    });
    world.decides(3, || {
        for _ in 0..2 {
            let mut connection = world.connect();
            let error = connection.get("a.test", "/x").unwrap_err();
            assert!(matches!(error, ClientError::Truncated(9) | ClientError::Reset), "{error:?}");
        }
        assert_eq!(world.get("/b").endpoint(), Some("b1"));
    });
}

/// An endpoint that answers twice must not answer the next request with the second one.
fn a_surplus_answer_answers_no_request(network: Network) {
    let (world, left) = speaking_unasked(network, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    world.decides(6, || {
        let mut connection = world.connect();
        for turn in 0..5 {
            assert_eq!(connection.get("a.test", "/last").unwrap().text(), "fine");
            wait_for_more(&left, turn);
        }
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
    });
}

/// An endpoint that answers `fine`, and says `unasked` a moment after its answer to `/last`; and how often the gateway has left it
/// since.
fn speaking_unasked(network: Network, unasked: &'static str) -> (World, Arc<AtomicU32>) {
    let left = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&left);
    let world = World::with_endpoint(network, |netns, address| {
        Recorder::start(netns, address, move |peer| {
            loop {
                let request = peer.request()?;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")?;
                if !request.starts_with(b"GET /last ") {
                    continue;
                }
                peer.pause(Duration::from_millis(20));
                peer.send(unasked)?;
                let end = peer.to_the_end();
                count.fetch_add(1, Ordering::Release);
                return end.map(drop);
            }
        })
    });
    (world, left)
}

fn wait_for_more(count: &AtomicU32, than: u32) {
    until(Duration::from_secs(10), "the gateway to leave an endpoint that spoke unasked", || {
        (count.load(Ordering::Acquire) > than).then_some(())
    })
    .unwrap();
}

fn five_gigabytes_may_be_declared(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Recorder::start(netns, address, |peer| {
            peer.request()?;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n")?;
            // As much as wraps nothing, so that the test stays short; then the end comes too early.
            peer.send(vec![b'x'; 1_000_000])
        })
    });
    world.decides(2, || {
        let mut connection = world.connect();
        connection.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let head = connection.head().unwrap();
        assert_eq!(head.header("content-length"), Some("5000000000"));
        match connection.rest() {
            Ok(body) => assert_eq!(body, vec![b'x'; 1_000_000]),
            Err(error) => assert!(matches!(error, ClientError::Reset), "{error:?}"),
        }
        assert_eq!(world.get("/b").endpoint(), Some("b1"));
    });
}

fn answers_without_a_length_end_with_the_connection(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Recorder::start(netns, address, |peer| {
            peer.request()?;
            peer.send("HTTP/1.1 200 OK\r\n\r\nto the ")?;
            peer.pause(Duration::from_millis(50));
            peer.send("end")
        })
    });
    world.decides(3, || {
        for _ in 0..3 {
            assert_eq!(world.get("/x").text(), "to the end");
        }
    });
}

/// Its endpoint would keep it open for a minute, and its port would stay taken.
fn a_leg_that_is_left_is_reset(network: Network) {
    let world = World::new(network);
    let mut connection = world.connect();
    world.decides(1, || assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0")));
    let open = || {
        let mut ss = Command::new("ss");
        ss.args(["-Htn", "state", "established"]);
        let output = exec(Some(world.lab.backend(0)), ss, Duration::from_secs(5)).unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    let before = open();
    assert!(before > 0);
    world.decides(1, || assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1")));
    until(Duration::from_secs(30), "the endpoint that was left to lose its connection", || {
        (open() < before).then_some(())
    })
    .unwrap();
    world.decides(1, || assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0")));
}
