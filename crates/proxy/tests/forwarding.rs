//! Requests and responses on their way through: heads, bodies, framing.

mod support;

use support::{Client, Lab, Scripted, rule};

#[test]
fn a_request_reaches_the_endpoint_with_its_bytes_and_the_forwarded_headers() {
    let endpoint = Scripted::echo("one");
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("GET /a%2Fb/../c?x=1 HTTP/1.1\r\nhOsT: A.test\r\nX-Odd:  two  spaces \r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200);
    assert_eq!(
        endpoint.received(),
        "GET /a%2Fb/../c?x=1 HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nhOsT: A.test\r\n\
         X-Odd:  two  spaces \r\n\r\n"
    );
}

#[test]
fn requests_of_one_client_share_one_endpoint_connection() {
    let endpoint = Scripted::echo("one");
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(lab.metrics.upstream_reuses.get(), 49);
}

#[test]
fn pipelined_requests_are_answered_in_order_each_by_its_own_route() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let lab = Lab::new(&[rule("/a", &[a.address]), rule("/b", &[b.address])]);
    let mut client = lab.client();
    let mut all = String::new();
    for path in ["/a/1", "/b/2", "/none", "/a/3"] {
        all += &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    all += "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhelloGET /a/4 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    client.send(all);
    let texts: Vec<_> = (0..6).map(|_| client.response().text()).collect();
    let first_lines: Vec<_> = texts.iter().map(|t| t.lines().take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        first_lines,
        [
            "a GET /a/1 HTTP/1.1",
            "b GET /b/2 HTTP/1.1",
            "no route",
            "a GET /a/3 HTTP/1.1",
            "b POST /b HTTP/1.1",
            "a GET /a/4 HTTP/1.1"
        ]
    );
    assert!(texts[4].ends_with("hello"));
}

#[test]
fn a_megabyte_passes_unchanged_in_both_directions_in_both_framings() {
    let bytes: Vec<u8> = (0..1_048_576u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = bytes.clone();
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            let chunked = head.contains("Transfer-Encoding: chunked");
            let body = if chunked { conn.chunks() } else { conn.body(support::content_length(&head)) };
            let same = body == expected;
            conn.send(&format!("HTTP/1.1 200 OK\r\nX-Same: {same}\r\nTransfer-Encoding: chunked\r\n\r\n"));
            for part in body.chunks(70_001) {
                conn.send(&format!("{:x}\r\n", part.len()));
                std::io::Write::write_all(&mut conn.stream, part).unwrap();
                conn.send("\r\n");
            }
            conn.send("0\r\n\r\n");
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for chunked in [false, true, false] {
        let mut request = b"POST /up HTTP/1.1\r\nHost: a.test\r\n".to_vec();
        if chunked {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for part in bytes.chunks(12_345) {
                request.extend_from_slice(format!("{:X};ext=\"1\"\r\n", part.len()).as_bytes());
                request.extend_from_slice(part);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\nX-Trailer: 1\r\n\r\n");
        } else {
            request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", bytes.len()).as_bytes());
            request.extend_from_slice(&bytes);
        }
        let mut writer = client.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &request).unwrap());
        let response = client.response();
        sending.join().unwrap();
        assert!(response.has("X-Same: true"), "chunked: {chunked}");
        assert!(response.body == bytes, "chunked: {chunked}");
    }
    assert_eq!(endpoint.connections(), 1, "the connection is kept over all three");
}

#[test]
fn an_old_client_gets_bodies_without_chunks_and_a_closed_connection() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
            );
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "abcdefg");
    assert!(response.has("Connection: close") && !response.head.to_lowercase().contains("transfer-encoding"));
    assert!(endpoint.received().starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn an_old_client_may_keep_its_connection_where_the_length_is_known() {
    let endpoint = Scripted::echo("one");
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert!(response.status == 200 && response.has("Connection: keep-alive"), "{}", response.head);
    }
}

#[test]
fn a_body_that_ends_by_closing_is_chunked_for_the_client_who_keeps_its_connection() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil ");
        std::thread::sleep(std::time::Duration::from_millis(20));
        conn.send("the end");
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.text(), "until the end");
        assert!(response.has("Transfer-Encoding: chunked") && response.head.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn heads_without_bodies_do_not_shift_the_next_response() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            conn.send(match head.split(' ').nth(1) {
                Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            });
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.response_head().has("Content-Length: 1000"));
    for (path, status) in [("/204", 204), ("/304", 304), ("/", 200)] {
        assert_eq!(client.get(path).status, status);
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn interim_responses_pass_and_expect_waits_for_the_endpoint() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            if head.contains("Expect: 100-continue") {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n");
                let body = conn.body(support::content_length(&head));
                assert_eq!(body, b"hello");
            }
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hello");
    let hints = client.response();
    assert!(hints.status == 103 && hints.has("Link: </a.css>"));
    assert_eq!(client.response().text(), "ok");
    // HTTP/1.0 knows no interim responses.
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_waits_for_continue_is_not_blamed_for_a_slow_endpoint() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            std::thread::sleep(std::time::Duration::from_millis(4000));
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            conn.body(support::content_length(&head));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let timeouts = proxy::TimeoutConfig { stall: std::time::Duration::from_secs(3), ..Default::default() };
    let config = proxy::Config { threads: 1, timeouts, ..Default::default() };
    let lab = Lab::with(config, &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().status, 200);
}

#[test]
fn early_hints_are_no_leave_to_send_the_body() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        conn.until(b"never");
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 103);
    let refusal = client.response();
    assert!(refusal.status == 403 && refusal.has("Connection: close"), "{}", refusal.head);
}

#[test]
fn an_old_client_is_told_no_transfer_encoding_of_a_body_that_it_does_not_get() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("HEAD / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response_head();
    assert!(response.status == 200 && !response.head.contains("Transfer-Encoding"), "{}", response.head);
    assert!(client.is_closed());
}

#[test]
fn a_body_behind_an_answer_that_has_none_is_nobody_elses_answer() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            if head.contains("/204") {
                conn.send("HTTP/1.1 204 No Content\r\nContent-Length: 38\r\n\r\n");
                // The gateway has taken the head for the whole by now.
                std::thread::sleep(std::time::Duration::from_millis(50));
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            } else {
                conn.send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/").status, 202);
}

#[test]
fn an_answer_before_the_body_leaves_the_connection_right_or_closed() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    });
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    // Refused before the body was sent, which the client then need not send.
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert!(response.status == 413 && response.has("Connection: close"));
    // Refused while a large body is on its way: the client gets to read the answer.
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8000000\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &vec![b'x'; 8_000_000]));
    assert_eq!(client.response().text(), "big");
    assert!(sending.join().unwrap().is_ok(), "it was reset while it sent");
}

#[test]
fn forged_forwarding_headers_are_replaced_and_trusted_ones_pass() {
    let endpoint = Scripted::echo("one");
    let forged =
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n";
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send(forged);
    let seen = client.response().text();
    assert!(!seen.contains("6.6.6.6") && seen.contains("X-Forwarded-For: 127.0.0.1"), "{seen}");

    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let lab = Lab::with(
        proxy::Config { threads: 1, trusted_proxies, ..Default::default() },
        &[rule("/", &[endpoint.address])],
    );
    let mut client: Client = lab.client();
    client.send(forged);
    let seen = client.response().text();
    assert!(seen.contains("X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6"), "{seen}");
    assert!(!seen.contains("127.0.0.1"), "{seen}");
}
