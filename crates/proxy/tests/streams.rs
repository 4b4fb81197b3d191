//! Streams of HTTP/2 that end early, late or not at all.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use support::{Lab, Scripted, rule};
use tokio::net::TcpStream;

/// A client whose streams have a window of so many bytes.
async fn client(lab: &Lab, window: u32) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (send, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

fn stalling_after(stall: Duration, endpoint: &Scripted) -> Lab {
    let timeouts = proxy::TimeoutConfig { stall, ..Default::default() };
    let config = proxy::Config { threads: 1, timeouts, ..Default::default() };
    Lab::with(config, &[rule("/", &[endpoint.address])])
}

#[tokio::test]
async fn a_client_that_takes_little_at_a_time_gets_all_and_one_that_takes_nothing_is_reset() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n{}", "x".repeat(10_000)));
        }
    });
    let lab = stalling_after(Duration::from_secs(2), &endpoint);
    let mut client = client(&lab, 1000).await;
    let get = || Request::get("http://a.test/").body(()).unwrap();
    let (slow, _) = client.send_request(get(), true).unwrap();
    let (stuck, _) = client.send_request(get(), true).unwrap();
    let mut body = slow.await.unwrap().into_body();
    let mut received = 0;
    // Longer than the limit as a whole, never for one step.
    while let Some(data) = body.data().await {
        let size = data.unwrap().len();
        received += size;
        tokio::time::sleep(Duration::from_millis(300)).await;
        body.flow_control().release_capacity(size).unwrap();
    }
    assert_eq!(received, 10_000);
    let mut body = stuck.await.unwrap().into_body();
    let mut last = body.data().await;
    while let Some(Ok(_)) = last {
        last = body.data().await;
    }
    assert!(last.is_some_and(|end| end.is_err()), "a stream that takes nothing is reset");
}

#[tokio::test]
async fn answers_before_the_end_of_a_body_cost_the_connection_nothing() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST /early") {
                conn.send(
                    "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
                );
                // Taken, so that the answer is not lost to a reset.
                conn.body(usize::MAX);
                return;
            }
            let size = conn.body(support::content_length(&head)).len().to_string();
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{size}", size.len()));
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = client(&lab, 65_535).await;
    // Many times the connection's window of 1 MiB.
    for i in 0..40 {
        let request =
            Request::post("http://a.test/early").header("content-length", 1_000_000).body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data(vec![7; 100_000].into(), false).unwrap();
        let (parts, mut body) = response.await.unwrap().into_parts();
        assert_eq!(parts.status.as_u16(), 413, "{i}");
        assert!(!parts.headers.contains_key("connection"), "{i}");
        assert_eq!(body.data().await.unwrap().unwrap(), "big", "{i}");
        assert!(body.data().await.is_none(), "{i}");
        // RFC 9113 section 8.1: the rest is not wanted, and that is no error.
        let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, h2::Reason::NO_ERROR, "{i}");
    }
    let request = Request::post("http://a.test/whole").header("content-length", 3_000_000).body(()).unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data(vec![7; 3_000_000].into(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "3000000");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_408() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.body(usize::MAX);
    });
    let lab = stalling_after(Duration::from_millis(500), &endpoint);
    let mut client = client(&lab, 65_535).await;
    let request = Request::post("http://a.test/").header("content-length", 100).body(()).unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data("half".into(), false).unwrap();
    assert_eq!(response.await.unwrap().status().as_u16(), 408);
    let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
    assert_eq!(reason, h2::Reason::NO_ERROR);
}

#[tokio::test]
async fn a_request_that_no_endpoint_took_goes_to_another_with_its_body() {
    let closing = Scripted::new(|_| {});
    let echo = Scripted::echo("other");
    let endpoints = [closing.address, echo.address];
    let lab = Lab::new(&[rule("/", &endpoints)]);
    let mut client = client(&lab, 65_535).await;
    for i in 0..6 {
        let request = Request::put("http://a.test/").header("content-length", 5).body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data("12345".into(), true).unwrap();
        let (parts, mut body) = response.await.unwrap().into_parts();
        assert_eq!(parts.status.as_u16(), 200, "{i}");
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            text.extend_from_slice(&data.unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("other\nPUT") && text.ends_with("\r\n\r\n12345"), "{i}: {text}");
    }
    assert!(closing.connections() > 0, "it was tried");
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            let status = head.split(['/', ' ']).nth(2).unwrap();
            let lines = if status == "204" { "" } else { "Content-Length: 7\r\n" };
            conn.send(&format!("HTTP/1.1 {status} X\r\nETag: \"e\"\r\nDate: now\r\n{lines}\r\n"));
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = client(&lab, 65_535).await;
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404)] {
        let request = Request::builder().method(method).uri(format!("http://a.test/{status}"));
        let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let (parts, body) = response.await.unwrap().into_parts();
        assert_eq!(parts.status.as_u16(), status, "{method}");
        assert!(body.is_end_stream(), "{method} {status}");
        assert_eq!(
            (&parts.headers["etag"], &parts.headers["date"]),
            (&"\"e\"".parse().unwrap(), &"now".parse().unwrap())
        );
        assert_eq!(parts.headers.contains_key("content-length"), status != 204, "{method} {status}");
    }
    assert_eq!(endpoint.connections(), 1, "each connection is used again");
}

#[tokio::test]
async fn requests_end_at_the_endpoint_when_their_connection_dies() {
    let (endpoint, told) = Scripted::silent();
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let running = tokio::spawn(connection);
    let responses: Vec<_> = (0..20)
        .map(|_| send.send_request(Request::get("http://a.test/").body(()).unwrap(), true).unwrap())
        .collect();
    while endpoint.connections() < 20 {
        tokio::task::yield_now().await;
    }
    running.abort();
    drop(responses);
    let ended = tokio::task::spawn_blocking(move || {
        (0..20).map(|_| told.recv_timeout(support::PATIENCE)).collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(ended.await.unwrap(), Ok(vec![true; 20]));
    support::eventually("nothing is left", || {
        let metrics = lab.metrics.encode();
        ["down", "up"].iter().all(|s| metrics.contains(&format!("\nrauta_{s}stream_connections_active 0\n")))
    });
}

#[tokio::test]
async fn streams_count_against_the_limit_of_connections_and_one_too_many_may_be_asked_for_again() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.body(usize::MAX);
    });
    let config = proxy::Config { threads: 1, connections_max: 3, ..Default::default() };
    let lab = Lab::with(config, &[rule("/", &[endpoint.address])]);
    let mut client = client(&lab, 65_535).await;
    let get = || Request::get("http://a.test/").body(()).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(client.send_request(get(), true).unwrap().0);
        client = client.ready().await.unwrap();
    }
    let error = client.send_request(get(), true).unwrap().0.await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
    assert!(lab.metrics.encode().contains("rauta_refusals_total{reason=\"too many streams\"} 1"));
    // There is room where one has gone; the others were left alone.
    held.pop();
    let mut is_taken = false;
    for _ in 0..20 {
        client = client.ready().await.unwrap();
        let again = client.send_request(get(), true).unwrap().0;
        match tokio::time::timeout(Duration::from_millis(200), again).await {
            Ok(refused) => assert!(refused.is_err()),
            // It waits for the endpoint as the others do.
            Err(_) => is_taken = true,
        }
        if is_taken {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_taken);
    for other in &mut held {
        assert!(tokio::time::timeout(Duration::from_millis(10), other).await.is_err());
    }
}
