//! Connections: reuse on both sides, pipelining, HTTP/1.0, many at once.

use testkit::{Connection, Load};

use crate::world::{Watched, World};

#[test]
fn requests_of_many_clients_share_upstream_connections() {
    let world = World::tuned(1, &crate::manifests::all_to(&[0]), &[("RAUTA_THREADS", "1")]);
    for _ in 0..5 {
        let mut connection = world.connect();
        for _ in 0..10 {
            connection.get("a", "/128").unwrap();
        }
    }
    let last = world.get("a", "/128");
    // nginx counts: the 51st request on the only connection.
    let (_, requests) = last.header("x-connection").unwrap().split_once('/').unwrap();
    assert_eq!(requests, "51", "{last:?}");
    let reuses = world.gateway.metric("rauta_upstream_reuses_total", "").unwrap();
    assert!((reuses - 50.0).abs() < 0.5, "{reuses}");
}

#[test]
fn an_idle_connection_that_the_endpoint_closed_is_never_seen_by_the_client() {
    let world = Watched::answering(&[("RAUTA_THREADS", "1")]);
    let mut connection = world.connect();
    for round in 1..=20 {
        let response = connection.get("a", "/").unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "fine"), "round {round}");
        world.endpoint.close_connections();
    }
}

#[test]
fn an_endpoint_that_closes_after_each_answer_costs_no_request() {
    let world = Watched::playing(&[("RAUTA_THREADS", "1")], |peer| {
        peer.request()?;
        // No `Connection: close`: the gateway learns it from the FIN, perhaps after it has sent the next request.
        peer.send("HTTP/1.1 200 OK\r\nX-Endpoint: recorder\r\nContent-Length: 2\r\n\r\nok")
    });
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let load =
        Load::start(world.lab.client(), world.gateway.address(), 4, request, |answer| answer.text() == "ok");
    load.wait_for_more(2000, std::time::Duration::from_secs(30)).unwrap();
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::simple();
    let mut connection = world.connect();
    let requests: String =
        (0..20).map(|index| format!("GET /item/{index} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    connection.send(&requests).unwrap();
    for index in 0..20 {
        let response = connection.response("GET").unwrap();
        assert!(response.text().contains(&format!("uri=/item/{index}\n")), "{index}: {}", response.text());
    }
}

#[test]
fn a_body_and_the_next_request_in_one_segment_are_told_apart() {
    let world = World::simple();
    let mut connection = world.connect();
    connection
        .send(
            "PUT /upload/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             PUT /upload/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
             GET /last HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .unwrap();
    assert_eq!(connection.response("PUT").unwrap().status, 201);
    assert_eq!(connection.response("PUT").unwrap().status, 201);
    assert!(connection.response("GET").unwrap().text().contains("uri=/last\n"));
    assert_eq!(world.endpoints[0].uploaded("a").unwrap(), b"abc");
    assert_eq!(world.endpoints[0].uploaded("b").unwrap(), b"de");
}

#[test]
fn clients_of_http_1_0_get_answers_they_can_read() {
    let world = World::simple();
    // Without Host: the catch-all route. The connection ends with the answer.
    let mut connection = world.connect();
    let response = connection.request("GET /128 HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((response.status, response.body.len()), (200, 128));
    assert_eq!(connection.rest().unwrap(), b"");
    // A chunked answer must not reach it chunked.
    let mut connection = world.connect();
    let response = connection.request("GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(response.header("transfer-encoding"), None, "{response:?}");
    assert_eq!(response.text(), "0123456789abcdef".repeat(1024));
    // Asked to, the connection stays.
    let mut connection = world.connect();
    for _ in 0..2 {
        let response =
            connection.request("GET /128 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!(response.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
        assert_eq!(response.body.len(), 128);
    }
}

#[test]
fn connection_close_is_honoured_and_not_passed_on() {
    let world = World::simple();
    let mut connection = world.connect();
    let response = connection.request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert!(response.closes(), "{response:?}");
    assert!(!response.text().contains("connection=close"), "{}", response.text());
    assert_eq!(connection.rest().unwrap(), b"");
    // The upstream connection outlived the client's.
    let next = world.get("a", "/128");
    assert!(next.status == 200);
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let world = World::simple();
    let mut connection = world.connect();
    connection.send("GET /128 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    connection.finish().unwrap();
    assert_eq!(connection.response("GET").unwrap().body.len(), 128);
    assert_eq!(connection.rest().unwrap(), b"");
}

#[test]
fn connections_above_the_cap_are_told_so() {
    let world = World::tuned(1, &crate::manifests::all_to(&[0]), &[("RAUTA_CONNECTIONS_MAX", "10")]);
    let mut held: Vec<Connection> = (0..10).map(|_| world.connect()).collect();
    for connection in &mut held {
        assert_eq!(connection.get("a", "/128").unwrap().status, 200);
    }
    let mut refused = world.connect();
    assert_eq!(refused.response("GET").unwrap().status, 503);
    assert_eq!(refused.rest().unwrap(), b"");
    // One goes, the next may come.
    drop(held.pop());
    world.gateway.wait_for_answer(world.lab.client(), "a", "/128", |answer| answer.status == 200).unwrap();
}
