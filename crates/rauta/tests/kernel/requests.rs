//! Requests of every shape on one connection: who answers, and in which tier.

use std::time::Duration;

use testkit::{Connection, Offloads, Response, until};

use crate::world::{Network, World};

const PAUSE: Duration = Duration::from_millis(100);

with_clsact!(
    on_every_network:
    each_request_of_a_connection_reaches_its_own_route,
    a_split_request_is_answered,
    a_split_request_after_another_is_answered,
    a_long_head_is_answered,
    heads_of_700_to_1400_bytes_are_decided_while_they_fit_a_segment,
    pipelined_requests_in_one_segment_reach_their_routes,
    pipelined_requests_in_segments_of_their_own_reach_their_routes,
    a_body_comes_whole_first_and_later,
    the_tail_of_a_body_and_the_next_request_share_a_segment,
    a_client_that_half_closes_is_answered,
    a_request_may_follow_the_handshake_late,
    a_connection_without_a_request_harms_nobody,
    queries_and_methods_are_decided,
    endpoints_that_refuse_are_reported,
    a_hundred_changes_of_endpoint,
);
mod dead {
    on_two_networks!(an_endpoint_that_is_not_there_is_reported);
    use super::an_endpoint_that_is_not_there_is_reported;
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

#[track_caller]
fn assert_from(answer: &Response, endpoint: &str, uri: &str) {
    assert_eq!((answer.status, answer.endpoint()), (200, Some(endpoint)), "{answer:?}");
    assert!(answer.text().contains(&format!("uri={uri}\n")), "{uri} is not in {}", answer.text());
}

#[track_caller]
fn assert_asks(connection: &mut Connection, path: &str, endpoint: &str) {
    assert_from(&connection.get("a.test", path).unwrap(), endpoint, path);
}

fn each_request_of_a_connection_reaches_its_own_route(network: Network) {
    let world = World::new(network);
    let mut connection = world.decides(4, || {
        let mut connection = world.connect();
        for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/b/2", "b1"), ("/a/2", "b0")] {
            assert_asks(&mut connection, path, endpoint);
        }
        let by_host = connection.get("b.test", "/a").unwrap();
        assert_from(&by_host, "b1", "/a");
        connection
    });
    world.hands_off_for("route", 1, || assert_asks(&mut connection, "/user/1", "b1"));
    for (path, endpoint) in [("/b", "b1"), ("/a", "b0")] {
        assert_asks(&mut connection, path, endpoint);
    }
}

fn a_split_request_is_answered(network: Network) {
    let world = World::new(network);
    world.hands_off_for("undecidable", 1, || {
        let mut connection = world.connect();
        let request = get("/b");
        let (first, second) = request.as_bytes().split_at(10);
        connection.send_pieces(&[first, second], PAUSE).unwrap();
        assert_from(&connection.response("GET").unwrap(), "b1", "/b");
        assert_asks(&mut connection, "/a", "b0");
    });
}

fn a_split_request_after_another_is_answered(network: Network) {
    let world = World::new(network);
    let mut connection = world.connect();
    world.decides(1, || assert_asks(&mut connection, "/a", "b0"));
    world.hands_off_for("undecidable", 1, || {
        let request = get("/b");
        let (first, second) = request.as_bytes().split_at(10);
        connection.send_pieces(&[first, second], PAUSE).unwrap();
        assert_from(&connection.response("GET").unwrap(), "b1", "/b");
    });
}

fn a_long_head_is_answered(network: Network) {
    let world = World::new(network);
    let filler = "y".repeat(3000);
    let request = format!("GET /b HTTP/1.1\r\nHost: a.test\r\nX-Big: {filler}\r\n\r\n");
    // Whether it comes in one packet or in three, a head beyond what the kernel reads has no end there.
    world.hands_off_for("undecidable", 1, || {
        let mut connection = world.connect();
        assert_from(&connection.request(&request).unwrap(), "b1", "/b");
        assert_asks(&mut connection, "/a", "b0");
    });
}

/// As long as a head fits the segments that clients were promised (1,400 and 1,356 bytes here, with twelve of timestamps in
/// them), the kernel decides; a longer one comes in two segments, and is userspace's.
fn heads_of_700_to_1400_bytes_are_decided_while_they_fit_a_segment(network: Network) {
    let world = World::new(network);
    let largest = if network.is_v6 { 1356 - 12 } else { 1400 - 12 };
    let request = |size: usize| {
        let head = "GET /b HTTP/1.1\r\nHost: a.test\r\nX-Big: ";
        format!("{head}{}\r\n\r\n", "y".repeat(size - head.len() - 4))
    };
    let sizes = || (700..largest).step_by(50).chain([largest - 1, largest]);
    // Each first on a connection, and all of them on one.
    let count = u32::try_from(sizes().count()).unwrap();
    let mut kept = world.connect();
    world.decides(2 * count, || {
        for size in sizes() {
            assert_from(&world.connect().request(&request(size)).unwrap(), "b1", "/b");
            assert_from(&kept.request(&request(size)).unwrap(), "b1", "/b");
        }
    });
    // Without offloads the packets are the client's segments, and the first has no end of a head in it.
    let reason = if network.offloads == Offloads::ON { "too_long" } else { "undecidable" };
    for mut connection in [world.connect(), kept] {
        world.hands_off_for(reason, 1, || {
            assert_from(&connection.request(&request(largest + 1)).unwrap(), "b1", "/b");
        });
        assert_from(&connection.request(&request(1400)).unwrap(), "b1", "/b");
    }
}

/// A segment with more than one request in it is userspace's.
fn pipelined_requests_in_one_segment_reach_their_routes(network: Network) {
    let world = World::new(network);
    for begins_in_the_kernel in [false, true] {
        let mut connection = world.connect();
        if begins_in_the_kernel {
            world.decides(1, || assert_asks(&mut connection, "/a", "b0"));
        }
        world.hands_off_for("undecidable", 1, || {
            connection.send([get("/a/1"), get("/a/2"), get("/b/3")].concat()).unwrap();
            for (path, endpoint) in [("/a/1", "b0"), ("/a/2", "b0"), ("/b/3", "b1")] {
                assert_from(&connection.response("GET").unwrap(), endpoint, path);
            }
            assert_asks(&mut connection, "/a", "b0");
        });
    }
}

/// One that goes to another endpoint waits: it is dropped until those before it are answered, and the client sends it again.
/// What followed it may then come in the same segment, which is userspace's.
fn pipelined_requests_in_segments_of_their_own_reach_their_routes(network: Network) {
    const PATHS: [(&str, &str); 4] = [("/a/1", "b0"), ("/a/2", "b0"), ("/b/3", "b1"), ("/a/4", "b0")];
    let world = World::new(network);
    let pipelines = |paths: &[(&str, &str)], rest: Duration| {
        let mut connection = world.connect();
        let requests: Vec<String> = paths.iter().map(|(path, _)| get(path)).collect();
        let pieces: Vec<&[u8]> = requests.iter().map(String::as_bytes).collect();
        connection.send_pieces(&pieces, rest).unwrap();
        for &(path, endpoint) in paths {
            assert_from(&connection.response("GET").unwrap(), endpoint, path);
        }
    };
    for rest in [Duration::ZERO, Duration::from_millis(2)] {
        world.decides(3, || pipelines(&PATHS[..3], rest));
        world.decides(4, || pipelines(&[PATHS[0], PATHS[1], PATHS[3], PATHS[0]], rest));
        // The third waits; the fourth may come with it.
        world.decides_at_least(2, 1, || pipelines(&PATHS, rest));
    }
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn a_body_comes_whole_first_and_later(network: Network) {
    let world = World::new(network);
    world.decides(3, || {
        let mut connection = world.connect();
        for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/a", "b0")] {
            let answer = connection.request(&post(path, "hello")).unwrap();
            assert_from(&answer, endpoint, path);
            assert!(answer.text().contains("method=POST\n") && answer.text().contains("content-length=5\n"));
        }
    });
    let mut connection = world.connect();
    world.decides(1, || assert_asks(&mut connection, "/a", "b0"));
    world.hands_off_for("route", 1, || {
        assert_from(&connection.request(&post("/user", "hello")).unwrap(), "b1", "/user");
    });
}

fn the_tail_of_a_body_and_the_next_request_share_a_segment(network: Network) {
    for forwarded_headers in ["true", "false"] {
        let world = World::tuned(network, &[("RAUTA_FORWARDED_HEADERS", forwarded_headers)]);
        let mut connection = world.connect();
        world.decides(1, || assert_asks(&mut connection, "/a", "b0"));
        let put = "PUT /upload/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\n\r\nhello, world";
        let request = put.to_owned() + &get("/b/2");
        let asks = || {
            // Up to the middle of the body, then the rest of it with the next request.
            let (first, second) = request.as_bytes().split_at(put.len() - 5);
            connection.send_pieces(&[first, second], PAUSE).unwrap();
            assert_eq!(connection.response("PUT").unwrap().status, 201);
            assert_eq!(world.nginx[0].uploaded("x").unwrap(), b"hello, world");
            assert_from(&connection.response("GET").unwrap(), "b1", "/b/2");
            assert_asks(&mut connection, "/a", "b0");
        };
        // A request to insert headers into has to be whole. With nothing to insert, the segment is cut where the next
        // request begins, which the client sends again.
        if forwarded_headers == "true" {
            world.hands_off_for("too_long", 1, asks);
        } else {
            world.decides(3, asks);
        }
    }
}

fn a_client_that_half_closes_is_answered(network: Network) {
    let world = World::new(network);
    let asks = |path: &str| {
        let mut connection = world.connect();
        connection.send(get(path)).unwrap();
        connection.finish().unwrap();
        assert_from(&connection.response("GET").unwrap(), "b1", path);
        assert_eq!(connection.rest().unwrap(), b"", "{path}");
    };
    world.decides(1, || asks("/b"));
    world.hands_off_for("route", 1, || asks("/user"));
    // A short answer: nginx itself gives up on a longer one when it sees the end of its client's direction.
    world.decides(2, || {
        let mut connection = world.connect();
        assert_asks(&mut connection, "/a", "b0");
        connection.send(get("/128")).unwrap();
        connection.finish().unwrap();
        assert_eq!(connection.response("GET").unwrap().body.len(), 128);
        assert_eq!(connection.rest().unwrap(), b"");
    });
}

fn a_request_may_follow_the_handshake_late(network: Network) {
    let world = World::new(network);
    world.decides(1, || {
        let mut connection = world.connect();
        std::thread::sleep(Duration::from_secs(3));
        assert_asks(&mut connection, "/b", "b1");
    });
}

fn a_connection_without_a_request_harms_nobody(network: Network) {
    let world = World::new(network);
    // The end of a connection that has no state is the stack's.
    world.hands_off_for("flags", 1, || drop(world.connect()));
    world.decides(0, || world.connect().reset().unwrap());
    world.decides(1, || {
        let mut connection = world.connect();
        assert_asks(&mut connection, "/b", "b1");
    });
}

fn queries_and_methods_are_decided(network: Network) {
    let world = World::new(network);
    world.decides(5, || {
        let mut connection = world.connect();
        assert_asks(&mut connection, "/b?x=1", "b1");
        for method in ["HEAD", "DELETE", "OPTIONS", "GET"] {
            let answer =
                connection.request(&format!("{method} /a HTTP/1.1\r\nHost: a.test\r\n\r\n")).unwrap();
            assert_eq!((answer.status, answer.endpoint()), (200, Some("b0")), "{method}");
        }
    });
}

fn endpoints_that_refuse_are_reported(network: Network) {
    let world = World::new(network);
    let asks = |connection: &mut Connection| {
        let answer = connection.get("a.test", "/refuse").unwrap();
        assert!(matches!(answer.status, 502..=504), "{answer:?}");
    };
    // The kernel has no answer of its own: when there is no other endpoint to try, userspace says so.
    world.hands_off_for("no_endpoint", 1, || asks(&mut world.connect()));
    // And on a connection that another endpoint has served.
    let mut connection = world.connect();
    world.decides(1, || assert_asks(&mut connection, "/a", "b0"));
    world.hands_off_for("no_endpoint", 1, || asks(&mut connection));
}

fn an_endpoint_that_is_not_there_is_reported(network: Network) {
    let world = World::new(network);
    let mut connection = world.connect();
    connection.set_read_limit(Duration::from_secs(15)).unwrap();
    world.hands_off_for("no_endpoint", 1, || {
        let answer = connection.get("a.test", "/dead").unwrap();
        assert!(matches!(answer.status, 502..=504), "{answer:?}");
    });
    world.decides(1, || assert_from(&world.get("/b"), "b1", "/b"));
}

fn a_hundred_changes_of_endpoint(network: Network) {
    let world = World::new(network);
    world.decides(200, || {
        let mut connection = world.connect();
        for turn in 0..100 {
            assert_asks(&mut connection, &format!("/a/{turn}"), "b0");
            assert_asks(&mut connection, &format!("/b/{turn}"), "b1");
        }
    });
    // The legs that were left are gone at their endpoints.
    until(Duration::from_secs(30), "old legs to close", || {
        let open: usize = (0..2).map(|index| established(&world, index)).sum();
        (open <= 2).then_some(())
    })
    .unwrap();
}

/// Connections at endpoint `index`.
pub(crate) fn established(world: &World, index: usize) -> usize {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let text = world
        .lab
        .backend(index)
        .run(|| tables.map(|table| std::fs::read_to_string(table).unwrap_or_default()).concat())
        .unwrap();
    // Local port 8080, state ESTABLISHED.
    text.lines()
        .filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1).is_some_and(|local| local.ends_with(":1F90")) && fields.get(3) == Some(&"01")
        })
        .count()
}
