//! SIGTERM: what is in flight finishes, what is idle ends, the process exits with 0.

use std::time::Duration;

use testkit::{ClientError, Connection, Load, Signal};

use crate::world::{Watched, World};

#[test]
fn in_flight_finishes_idle_ends_and_the_exit_is_clean() {
    let mut world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
        peer.to_the_end().map(drop)
    });
    let mut busy = world.connect();
    busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n").unwrap();
    let mut idle = world.connect();
    world.endpoint.wait_for_text("POST /").unwrap();
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    assert_eq!(idle.rest().unwrap(), b"", "an idle connection ends in silence");
    // The rest of the request still goes up, and its answer comes down.
    busy.send("x".repeat(30)).unwrap();
    let response = busy.response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str(), response.closes()), (200, "done", true));
    assert_eq!(busy.rest().unwrap(), b"");
    let status = world.gateway.process().wait(Duration::from_secs(20)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.gateway.log());
}

#[test]
fn a_slow_download_completes_while_the_gateway_drains() {
    let mut world = World::simple();
    let mut slow = world.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = slow.head().unwrap();
    assert_eq!(head.status, 200);
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    world.gateway.wait_for_log("drain").unwrap();
    let body = slow.rest().unwrap();
    assert_eq!(body.len(), 16 * 1024);
    assert_eq!(world.gateway.process().wait(Duration::from_secs(10)).unwrap().code(), Some(0));
}

#[test]
fn new_requests_on_open_connections_are_answered_with_close() {
    let mut world = World::simple();
    let mut connections: Vec<Connection> = (0..8).map(|_| world.connect()).collect();
    for connection in &mut connections {
        assert_eq!(connection.get("a", "/128").unwrap().status, 200);
    }
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    for connection in &mut connections {
        // Each thread hears of it by itself.
        testkit::until(Duration::from_secs(20), "an answer with close", || {
            let response = connection.get("a", "/128").unwrap();
            assert_eq!(response.status, 200);
            response.closes().then_some(())
        })
        .unwrap();
        assert_eq!(connection.rest().unwrap(), b"");
    }
    assert_eq!(world.gateway.process().wait(Duration::from_secs(10)).unwrap().code(), Some(0));
}

#[test]
fn no_request_is_lost_by_a_drain_under_load() {
    let mut world = World::simple();
    let request = "GET /128 HTTP/1.1\r\nHost: a\r\n\r\n";
    let load = Load::start(world.lab.client(), world.gateway.address(), 8, request, |answer| {
        answer.body.len() == 128
    });
    load.wait_for_more(500, Duration::from_secs(20)).unwrap();
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    assert_eq!(world.gateway.process().wait(Duration::from_secs(40)).unwrap().code(), Some(0));
    let report = load.stop();
    // Connections after the end are refused, of course; no request that was sent may be lost.
    let lost: u64 = report
        .failures
        .iter()
        .filter(|(failure, _)| **failure != testkit::Failure::Refused)
        .map(|(_, count)| count)
        .sum();
    assert_eq!(lost, 0, "{report:?}");
}

#[test]
fn readiness_ends_with_sigterm_and_a_second_signal_ends_everything() {
    let mut world = World::simple();
    assert_eq!(world.gateway.admin("/healthz").unwrap().status, 200);
    let mut stuck = world.connect();
    stuck.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stuck.head().unwrap();
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    testkit::until(Duration::from_secs(20), "/readyz to say 503", || {
        (world.gateway.admin("/readyz").ok()?.status == 503).then_some(())
    })
    .unwrap();
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    world.gateway.process().wait(Duration::from_secs(20)).unwrap();
    assert!(matches!(stuck.rest(), Ok(_) | Err(ClientError::Reset)));
}
