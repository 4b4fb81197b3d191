//! Retries that a route asks for, and what they must not do; time limits of routes over HTTP/2.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use model::{Retry, Timeouts};
use support::{Lab, Rule, Scripted, rule};

fn on(codes: &[u16], attempts: u32, backoff_ms: u64) -> Option<Retry> {
    Some(Retry { codes: codes.to_vec(), attempts, backoff: Duration::from_millis(backoff_ms) })
}

/// Answers its first `failures` requests with `status`, then 200.
fn failing(failures: usize, status: &'static str) -> Scripted {
    let seen = AtomicUsize::new(0);
    Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            conn.body(support::content_length(&head));
            let status = if seen.fetch_add(1, Ordering::SeqCst) < failures { status } else { "200 OK" };
            conn.send(&format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nxy"));
        }
    })
}

#[test]
fn a_status_is_tried_again_with_the_body_and_waited_for() {
    let endpoint = failing(2, "503 Busy");
    let lab = Lab::new(&[Rule { retry: on(&[502, 503], 2, 40), ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    let begun = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
    assert_eq!(endpoint.received().matches("\r\n\r\nabc").count(), 3);
    assert_eq!(lab.metrics.upstream_retries.get(), 2);
}

#[test]
fn the_last_answer_is_the_clients_and_other_statuses_are_not_tried_again() {
    let (bad, other) = (failing(100, "503 Busy"), failing(100, "500 Oops"));
    let lab = Lab::new(&[
        Rule { retry: on(&[503], 2, 1), ..rule("/bad", &[bad.address]) },
        Rule { retry: on(&[503], 2, 1), ..rule("/other", &[other.address]) },
    ]);
    let mut client = lab.client();
    let response = client.get("/bad");
    assert_eq!((response.status, response.text().as_str()), (503, "xy"));
    assert_eq!(bad.received().matches("GET /bad").count(), 3);
    assert_eq!(client.get("/other").status, 500);
    assert_eq!(other.received().matches("GET /other").count(), 1);
}

#[test]
fn another_endpoint_is_tried_first() {
    let (bad, good) = (failing(100, "502 Bad"), Scripted::echo("good"));
    let lab = Lab::new(&[Rule { retry: on(&[502], 1, 1), ..rule("/", &[bad.address, good.address]) }]);
    let mut client = lab.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(bad.received().matches("GET / ").count(), 2);
}

#[test]
fn a_large_body_is_not_tried_again_and_its_answer_passes() {
    let endpoint = failing(1, "503 Busy");
    let lab = Lab::new(&[Rule { retry: on(&[503], 2, 1), ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    let body = "x".repeat(100 * 1024);
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.response().status, 503);
    assert_eq!(endpoint.received().matches("POST / ").count(), 1);
}

#[test]
fn retries_stay_a_fifth_of_the_requests() {
    let endpoint = failing(usize::MAX, "503 Busy");
    let lab = Lab::new(&[Rule { retry: on(&[503], 5, 0), ..rule("/", &[endpoint.address]) }]);
    let mut client = lab.client();
    let begun = Instant::now();
    for _ in 0..300 {
        assert_eq!(client.get("/").status, 503);
    }
    let retries = lab.metrics.upstream_retries.get();
    // A fifth, three to begin with, and three for each second.
    let most = 60 + 3 + 3 * (begun.elapsed().as_secs() + 1);
    assert!((60..=most).contains(&retries), "{retries} {most}");
}

#[test]
fn nothing_is_tried_again_once_the_client_has_seen_a_part_or_the_time_is_up() {
    let early = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 103 Early Hints\r\n\r\n");
            std::thread::sleep(Duration::from_millis(50));
            conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let busy = failing(100, "503 Busy");
    let timeouts = Timeouts { request: Some(Duration::from_millis(500)), ..Timeouts::default() };
    let lab = Lab::new(&[
        Rule { retry: on(&[503], 2, 1), ..rule("/early", &[early.address]) },
        Rule { retry: on(&[503], 2, 5000), timeouts, ..rule("/late", &[busy.address]) },
    ]);
    let mut client = lab.client();
    assert_eq!(client.get("/early").status, 103);
    assert_eq!(client.response().status, 503);
    assert_eq!(early.received().matches("GET /early").count(), 1);
    let begun = Instant::now();
    assert_eq!(client.get("/late").status, 503);
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(busy.received().matches("GET /late").count(), 1);
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another_if_that_is_safe() {
    let slow_once = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            conn.body(support::content_length(&head));
            if conn.number > 0 {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let timeouts = Timeouts { backend_request: Some(Duration::from_secs(2)), ..Timeouts::default() };
    let slow = |prefix| Rule {
        retry: on(&[], 1, 1),
        timeouts,
        ..rule(prefix, std::slice::from_ref(&slow_once.address))
    };
    let lab = Lab::new(&[slow("/")]);
    assert_eq!(lab.client().get("/").status, 200);
    assert_eq!(slow_once.connections(), 2);
    let (never, _told) = Scripted::silent();
    let lab = Lab::new(&[Rule { retry: on(&[504], 1, 1), timeouts, ..rule("/", &[never.address]) }]);
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().status, 504, "a POST may have been taken");
    assert_eq!(never.connections(), 1);
}

#[tokio::test]
async fn time_limits_and_retries_hold_over_http2() {
    let (never, _told) = Scripted::silent();
    let busy = failing(1, "503 Busy");
    let limited = |request, backend_request| Timeouts { request, backend_request, ..Timeouts::default() };
    let time = Some(Duration::from_millis(200));
    let lab = Lab::new(&[
        Rule { timeouts: limited(time, None), ..rule("/request", &[never.address]) },
        Rule { timeouts: limited(None, time), ..rule("/backend", &[never.address]) },
        Rule { retry: on(&[503], 1, 1), ..rule("/busy", &[busy.address]) },
    ]);
    let stream = tokio::net::TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut client = send.ready().await.unwrap();
    for (path, status) in [("request", 504), ("backend", 504), ("busy", 200)] {
        let request = Request::get(format!("http://a.test/{path}")).body(()).unwrap();
        let begun = Instant::now();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status().as_u16(), status, "{path}");
        assert!(status == 200 || begun.elapsed() >= Duration::from_millis(200), "{path}");
    }
}

#[test]
fn retries_do_not_use_up_the_tries_of_endpoints_that_refuse() {
    let busy = failing(3, "503 Busy");
    let lab = Lab::new(&[Rule { retry: on(&[503], 4, 1), ..rule("/", &[busy.address]) }]);
    assert_eq!(lab.client().get("/").status, 200);
    assert_eq!(busy.received().matches("GET / ").count(), 4);
}
