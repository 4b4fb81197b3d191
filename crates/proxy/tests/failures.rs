//! What goes wrong at endpoints and clients, and what the other side sees of it.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::Timeouts;
use proxy::{Config, TimeoutConfig};
use support::{Lab, Rule, Scripted, Target, eventually, free_port, rule};

fn quick(change: impl FnOnce(&mut TimeoutConfig)) -> Config {
    let mut timeouts = TimeoutConfig::default();
    change(&mut timeouts);
    Config { threads: 1, timeouts, ..Default::default() }
}

#[test]
fn each_failure_has_its_status_and_a_reason() {
    let garbage = Scripted::new(|conn| {
        conn.head();
        conn.send("ICY 200 OK\r\n\r\n");
    });
    let silent = Scripted::new(|conn| {
        conn.head();
        conn.until(b"never");
    });
    let closing = Scripted::new(|conn| drop(conn.head()));
    let double = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    });
    let switching = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    });
    let half = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Le");
    });
    let limit = Timeouts { request: Some(Duration::from_millis(100)), ..Timeouts::default() };
    let refused = free_port();
    let addresses = [
        garbage.address,
        closing.address,
        double.address,
        switching.address,
        half.address,
        refused,
        silent.address,
    ];
    let mut rules: Vec<_> = ["/garbage", "/closing", "/double", "/switching", "/half", "/refused", "/silent"]
        .into_iter()
        .zip(addresses.chunks(1))
        .map(|(prefix, address)| rule(prefix, address))
        .collect();
    rules[6].timeouts = limit;
    rules.push(rule("/empty", &[]));
    rules.push(Rule { target: Target::Invalid, ..rule("/invalid", &[]) });
    let lab = Lab::new(&rules);
    let mut client = lab.client();
    for (path, status, reason) in [
        ("/garbage", 502, "version"),
        ("/closing", 502, "without an answer"),
        ("/double", 502, ""),
        ("/switching", 502, "not asked"),
        ("/half", 502, "within its answer"),
        ("/refused", 503, "refused"),
        ("/silent", 504, "in time"),
        ("/empty", 503, "no endpoint"),
        ("/invalid", 500, "cannot be resolved"),
        ("/none", 404, "no route"),
    ] {
        let response = client.get(path);
        assert_eq!(response.status, status, "{path}: {}", response.text());
        assert!(
            response.text().contains(reason) && response.text().len() < 100,
            "{path}: {}",
            response.text()
        );
    }
}

#[test]
fn a_refused_connection_goes_to_another_endpoint_and_the_first_is_passed_over() {
    let good = Scripted::echo("good");
    let dead = free_port();
    let lab = Lab::with(
        quick(|t| t.endpoint_retry = Duration::from_secs(3600)),
        &[rule("/", &[dead, good.address])],
    );
    let mut client = lab.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    let state = lab.gateway.state();
    let (_, endpoints) = state.backends().next().unwrap();
    let dead = endpoints.iter().find(|e| e.address == dead).unwrap();
    assert!(dead.stats.is_passed_over);
    assert_eq!(dead.stats.connect_failures, 1);
}

#[test]
fn a_kept_connection_that_the_endpoint_closes_is_never_seen_by_the_client() {
    // Answers two requests a connection, and closes on the third after reading it.
    let endpoint = Scripted::new(|conn| {
        for _ in 0..2 {
            if conn.head().is_none() {
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        conn.head();
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for i in 0..20 {
        assert_eq!(client.get("/").status, 200, "request {i}");
    }
    assert!(endpoint.connections() >= 10);
}

#[test]
fn a_post_that_was_acknowledged_is_not_sent_twice() {
    let posts = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = posts.clone();
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                conn.body(support::content_length(&head));
                seen.fetch_add(1, Ordering::SeqCst);
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    assert_eq!(client.get("/").status, 200);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().status, 502);
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

#[test]
fn a_post_that_was_read_and_then_reset_is_not_sent_twice() {
    let posts = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = posts.clone();
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                conn.body(support::content_length(&head));
                seen.fetch_add(1, Ordering::SeqCst);
                support::reset(&conn.stream);
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    for round in 1..=20 {
        let mut client = lab.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200);
        }
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().status, 502);
        assert_eq!(posts.load(Ordering::SeqCst), round);
    }
}

#[test]
fn a_post_that_a_fresh_connection_took_is_not_sent_to_another_endpoint() {
    let posts = std::sync::Arc::new(AtomicUsize::new(0));
    let script = |seen: std::sync::Arc<AtomicUsize>| {
        move |conn: &mut support::Conn| {
            conn.head();
            conn.body(3);
            seen.fetch_add(1, Ordering::SeqCst);
            support::reset(&conn.stream);
        }
    };
    let (a, b) = (Scripted::new(script(posts.clone())), Scripted::new(script(posts.clone())));
    let lab = Lab::new(&[rule("/", &[a.address, b.address])]);
    for round in 1..=20 {
        let mut client = lab.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response().status, 502);
        assert_eq!(posts.load(Ordering::SeqCst), round);
    }
}

#[test]
fn a_request_that_is_sent_again_has_the_whole_body_once() {
    // The first connection serves one request and breaks off within the body of the next.
    let endpoint = Scripted::new(|conn| {
        if conn.number == 0 {
            conn.head();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            conn.head();
            conn.body(20_000);
            return;
        }
        while let Some(head) = conn.head() {
            let chunked = head.contains("chunked");
            let body = if chunked { conn.chunks() } else { conn.body(support::content_length(&head)) };
            let sum = body.iter().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(*b)));
            let text = format!("{} {sum}", body.len());
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let body: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
    let sum = body.iter().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(*b)));
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    assert_eq!(client.get("/").status, 200);
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n9c40\r\n");
    client.send(&body[..20_000]);
    eventually("the endpoint is tried again", || endpoint.connections() == 2);
    client.send(&body[20_000..]);
    client.send("\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), format!("40000 {sum}"));
    assert_eq!(lab.metrics.upstream_retries.get(), 1);
}

#[test]
fn bytes_behind_an_answer_are_nobody_elses_answer() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    for _ in 0..10 {
        assert_eq!(lab.client().get("/").text(), "ok");
    }
    assert_eq!(endpoint.connections(), 10);
}

#[test]
fn half_a_response_ends_in_a_reset_not_in_an_end() {
    // To the client of HTTP/1.0 only the reset tells half a chunked response from a whole one.
    for (framing, version) in [
        ("Content-Length: 10\r\n", "1.1"),
        ("Transfer-Encoding: chunked\r\n", "1.1"),
        ("Transfer-Encoding: chunked\r\n", "1.0"),
    ] {
        let endpoint = Scripted::new(move |conn| {
            conn.head();
            conn.send(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n4\r\nab"));
        });
        let lab = Lab::new(&[rule("/", &[endpoint.address])]);
        let mut client = lab.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a.test\r\n\r\n"));
        let mut all = Vec::new();
        let end = std::io::Read::read_to_end(&mut client.stream, &mut all);
        assert!(String::from_utf8(all).unwrap().ends_with("ab"));
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn bad_framing_of_a_request_is_refused_and_reaches_no_endpoint() {
    let endpoint = Scripted::echo("one");
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    for bad in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    ] {
        let mut client = lab.client();
        client.send(bad);
        let response = client.response();
        assert!(
            (400..=505).contains(&response.status) && response.has("Connection: close"),
            "{bad:?} {}",
            response.head
        );
        assert!(client.is_closed(), "{bad:?}");
    }
    assert_eq!(endpoint.received(), "");
    // A chunk that turns bad later: the endpoint's connection is not used again.
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            if head.contains("chunked") {
                conn.until(b"0\r\n\r\n");
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    eventually("the first chunk arrives", || endpoint.received().ends_with("1\r\na\r\n"));
    client.send("zz\r\n");
    assert_eq!(client.response().status, 400);
    assert_eq!(lab.client().get("/").status, 200);
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn slow_heads_and_slow_bodies_are_told_408_by_their_deadline() {
    let endpoint = Scripted::echo("one");
    let config = quick(|t| {
        t.header_read = Duration::from_millis(150);
        t.stall = Duration::from_millis(150);
    });
    let lab = Lab::with(config, &[rule("/", &[endpoint.address])]);
    let mut slow_head = lab.client();
    slow_head.send("GET / HTTP/1.1\r\nHost: a");
    let mut slow_body = lab.client();
    slow_body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab");
    assert_eq!(slow_head.response().status, 408);
    assert_eq!(slow_body.response().status, 408);
    assert!(slow_head.is_closed() && slow_body.is_closed());
    assert_eq!(lab.client().get("/").status, 200);
}

#[test]
fn a_trickling_head_does_not_move_its_deadline() {
    let lab = Lab::with(quick(|t| t.header_read = Duration::from_millis(300)), &[]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let mut writer = client.stream.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(50));
            if std::io::Write::write_all(&mut writer, b"x").is_err() {
                return;
            }
        }
    });
    assert_eq!(client.response().status, 408);
    drop(client);
    trickle.join().unwrap();
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let endpoint = Scripted::echo("one");
    let config = Config { threads: 1, connections_max: 2, ..Default::default() };
    let lab = Lab::with(config, &[rule("/", &[endpoint.address])]);
    let mut kept: Vec<_> = (0..2).map(|_| lab.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").status, 200);
    }
    let mut over = lab.client();
    assert_eq!(over.response().status, 503);
    drop(kept);
    eventually("room again", || lab.gateway.connections() == 0);
    assert_eq!(lab.client().get("/").status, 200);
}

#[test]
fn an_answer_that_breaks_off_leaves_nothing_for_the_next_one() {
    // The second answer is longer than the broken one, less than twice as long, and has no line end behind its length.
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            if head.contains("/broken") {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 40\r\nX: 345678");
                return;
            }
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{}", "x".repeat(40)));
        }
    });
    let lab = Lab::with(quick(|t| t.idle = Duration::from_secs(2)), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    assert_eq!(client.get("/broken").status, 502);
    assert_eq!(client.get("/whole").status, 200);
}

#[test]
fn a_get_that_an_endpoint_took_and_never_answered_goes_to_another_one_and_a_post_does_not() {
    let dying = Scripted::new(|conn| {
        if let Some(head) = conn.head() {
            conn.body(support::content_length(&head));
        }
    });
    let good = Scripted::echo("good");
    let lab = Lab::new(&[rule("/", &[dying.address, good.address])]);
    for _ in 0..4 {
        assert_eq!(lab.client().get("/").status, 200);
    }
    assert!(dying.received().contains("GET"));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut client = lab.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
        statuses.push(client.response().status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&502), "{statuses:?}");
    assert_eq!(dying.received().matches("POST").count(), statuses.iter().filter(|s| **s == 502).count());
}
