//! Requests made to deceive, over real sockets: what is refused never reaches an endpoint, not by one byte.

use std::time::{Duration, Instant};

use testkit::{ClientError, Connection};

use crate::world::{Watched, World};

/// Sends each request on a connection of its own and holds the answer's status against the allowed ones. The
/// connection must be closed and the endpoint must have seen nothing.
fn refuse(cases: &[(&str, &[u8], &[u16])]) {
    let world = Watched::answering(&[]);
    for (case, request, statuses) in cases {
        let mut connection = world.connect();
        connection.send(request).unwrap();
        let response = match connection.response("GET") {
            Ok(response) => response,
            Err(error) => panic!("{case}: {error}\n{}", world.gateway.log()),
        };
        assert!(statuses.contains(&response.status), "{case}: {} {}", response.status, response.text());
        match connection.rest() {
            Ok(rest) => assert_eq!(String::from_utf8_lossy(&rest), "", "{case}: a second answer"),
            Err(ClientError::Reset) => {}
            Err(error) => panic!("{case}: the connection stays open: {error}"),
        }
        assert_eq!(world.endpoint.received_text(), "", "{case}: reached the endpoint");
    }
    // And honest requests still pass.
    assert_eq!(world.connect().get("a", "/").unwrap().status, 200);
    let refusals = world.gateway.metric("rauta_refusals_total", "").unwrap();
    assert!(refusals >= 1.0, "{refusals}");
}

const BAD: &[u16] = &[400];
const BAD_OR_UNKNOWN: &[u16] = &[400, 501];

#[test]
fn h1_1_lengths_in_doubt() {
    refuse(&[
        (
            "CL and TE",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            BAD,
        ),
        (
            "TE and CL",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            BAD,
        ),
        ("two CL", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", BAD),
        (
            "two equal CL",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            BAD,
        ),
        ("CL +1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", BAD),
        ("CL 1_0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\na", BAD),
        ("CL 0x1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na", BAD),
        ("CL empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", BAD),
        ("CL list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", BAD),
        ("CL negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", BAD),
        (
            "CL beyond 64 bits",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\na",
            BAD,
        ),
    ]);
}

#[test]
fn h1_2_disguised_transfer_encodings() {
    let values: &[(&str, &[u8])] = &[
        ("empty element", b", chunked"),
        ("unknown before", b"cow, chunked"),
        ("gzip before", b"gzip, chunked"),
        ("vertical tab", b"\x0bchunked"),
        ("form feed", b"chunked\x0c"),
        ("NUL", b"chunked\0"),
        ("unknown", b"cow"),
        ("identity", b"identity"),
        ("twice", b"chunked, chunked"),
        ("parameter", b"chunked;x=1"),
        ("quoted", b"\"chunked\""),
        ("empty", b""),
    ];
    let heads: Vec<(&str, Vec<u8>)> = values
        .iter()
        .map(|(case, value)| {
            let head =
                [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " as &[u8], *value, b"\r\n\r\n0\r\n\r\n"]
                    .concat();
            (*case, head)
        })
        .collect();
    let mut cases: Vec<(&str, &[u8], &[u16])> =
        heads.iter().map(|(case, head)| (*case, head.as_slice(), BAD_OR_UNKNOWN)).collect();
    cases.push((
        "two fields",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        BAD_OR_UNKNOWN,
    ));
    cases.push((
        "space before colon",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        BAD,
    ));
    refuse(&cases);
}

#[test]
fn h1_3_broken_chunks_are_the_clients_fault_and_end_both_connections() {
    for (case, chunk) in [
        ("underscore", "1_0\r\n"),
        ("negative", "-1\r\n"),
        ("sign", "+1\r\n"),
        ("prefix", "0x1\r\na\r\n"),
        ("overflow", "fffffffffffffffff\r\n"),
        ("64 bits", "ffffffffffffffff\r\n"),
        ("empty size", "\r\n"),
        ("line feed alone", "1\na\r\n"),
        ("extension with line feed", "1;x=\n\r\na\r\n"),
        ("extension with NUL", "1;x=\0\r\na\r\n"),
        ("missing CRLF", "1\r\nab\r\n0\r\n\r\n"),
        ("spill", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("bad trailer", "0\r\nno colon\r\n\r\n"),
        ("framing trailer", "0\r\nContent-Length: 5\r\n\r\n"),
    ] {
        let world = Watched::answering(&[]);
        let mut connection = world.connect();
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        connection.send(chunk).unwrap();
        let response = connection.response("POST").unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(response.status, 400, "{case}: {}", response.text());
        assert!(matches!(connection.rest(), Ok(rest) if rest.is_empty()), "{case}");
        // What the endpoint has seen of it is an incomplete request, and its connection is not used again.
        assert!(
            !world.endpoint.received_text().ends_with("0\r\n\r\n"),
            "{case}: {}",
            world.endpoint.received_text()
        );
        assert_eq!(world.connect().get("a", "/").unwrap().status, 200, "{case}");
        for index in 0..world.endpoint.connections() {
            let received = String::from_utf8_lossy(&world.endpoint.received(index)).into_owned();
            let is_mixed = received.contains("POST /") && received.contains("GET /");
            assert!(!is_mixed, "{case}: the endpoint's connection was used again: {received}");
        }
    }
}

#[test]
fn h1_4_versions() {
    refuse(&[
        ("1.0 with TE", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
        ("1.0 without CL", b"POST / HTTP/1.0\r\nHost: a\r\n\r\nbody up to the end", &[400, 411]),
        ("0.9", b"GET /\r\n\r\n", &[400, 505]),
        ("2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[400, 505]),
        ("half a 2 preface", b"PRI * HTTP/2.0\r\n\r\nMS\r\n\r\n", &[400, 505]),
        ("1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", &[400, 505]),
        ("lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", &[400, 505]),
    ]);
}

#[test]
fn h1_6_hosts_and_targets() {
    refuse(&[
        ("no Host", b"GET / HTTP/1.1\r\n\r\n", BAD),
        ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD),
        ("two equal Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BAD),
        ("list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BAD),
        ("userinfo", b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", BAD),
        ("path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD),
        ("scheme", b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", BAD),
        ("bad port", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", BAD),
        ("percent", b"GET / HTTP/1.1\r\nHost: %61\r\n\r\n", BAD),
        ("absolute-form against Host", b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", BAD),
        ("no slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
        ("other scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
        ("GET *", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
        ("fragment", b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
        ("space in target", b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
        ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[405, 501]),
    ]);
}

#[test]
fn h1_7_malformed_lines() {
    refuse(&[
        ("obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", BAD),
        ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", BAD),
        ("bare CR in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n", BAD),
        ("LF in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\n2: 3\r\n\r\n", BAD),
        ("NUL in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", BAD),
        ("space before colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", BAD),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", BAD),
        ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", BAD),
        ("name no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(y): 1\r\n\r\n", BAD),
        ("leading space", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD),
        ("method no token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
        ("TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", BAD),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ]);
}

#[test]
fn h1_8_a_body_behind_head_204_or_304_is_not_the_next_answer() {
    for status in ["204 No Content", "304 Not Modified"] {
        let world = Watched::playing(&[("RAUTA_THREADS", "1")], move |peer| {
            peer.request()?;
            let answer = format!("HTTP/1.1 {status}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            peer.send(answer)?;
            peer.to_the_end().map(drop)
        });
        // The surplus came before anybody asked: nobody may get it.
        for _ in 0..2 {
            let response = world.connect().get("a", "/").unwrap();
            assert_ne!(response.text(), "evil", "{status}");
        }
        let mut connection = world.connect();
        for _ in 0..3 {
            match connection.get("a", "/") {
                Ok(response) => assert_ne!(response.text(), "evil", "{status}"),
                Err(error) => panic!("{status}: {error}"),
            }
        }
    }
}

#[test]
fn h1_9_connection_cannot_remove_what_others_rely_on() {
    let world = Watched::answering(&[]);
    // Routing, framing and the client's address stand above it: naming their fields is refused.
    for name in ["host", "content-length", "transfer-encoding", "x-forwarded-for", "forwarded"] {
        let mut connection = world.connect();
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: {name}\r\n\r\n");
        assert_eq!(connection.request(&request).unwrap().status, 400, "{name}");
    }
    assert_eq!(world.endpoint.received_text(), "");
    // Every other field goes with the connection (RFC 9110 section 7.6.1).
    let mut connection = world.connect();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\nAuthorization: secret\r\n\r\n";
    assert_eq!(connection.request(request).unwrap().status, 200);
    let text = world.endpoint.received_text();
    assert!(text.contains("X-Forwarded-For: 10.77.0.2\r\n") && !text.contains("secret"), "{text}");
}

#[test]
fn h1_10_the_path_that_is_matched_is_the_path_that_is_forwarded() {
    let manifest = crate::manifests::documents(&[
        crate::manifests::GATEWAY,
        &crate::manifests::service("open", &[0]),
        &crate::manifests::route(
            "open",
            &[],
            &[("[{path: {type: PathPrefix, value: /public}}]", "[{name: open, port: 80}]")],
        ),
    ]);
    let world = World::with(1, &manifest);
    for (path, status) in [
        ("/public/x", 200),
        ("/public%2fx", 404),
        ("//public/x", 404),
        ("/./public", 404),
        ("/publi%63/x", 404),
        ("/public/..;/admin", 200),
        ("/public//x", 200),
        ("/public/%2e%2e/admin", 200),
    ] {
        let response = world.get("a", path);
        assert_eq!(response.status, status, "{path}");
        if status == 200 {
            assert!(response.text().contains(&format!("uri={path}\n")), "{path}: {}", response.text());
        }
    }
}

#[test]
fn h1_11_slow_and_huge_heads_are_cut_off_and_bystanders_served() {
    let world = World::tuned(1, &crate::manifests::all_to(&[0]), &[("RAUTA_TIMEOUTS_HEADER_READ", "1s")]);
    // 200 heads that never end.
    let mut slow: Vec<Connection> = (0..200)
        .map(|_| {
            let mut connection = world.connect();
            connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
            connection
        })
        .collect();
    let start = Instant::now();
    let mut bystander = world.connect();
    for _ in 0..50 {
        assert_eq!(bystander.get("a", "/128").unwrap().status, 200);
    }
    for connection in &mut slow {
        assert_eq!(connection.response("GET").unwrap().status, 408);
    }
    assert!(start.elapsed() < Duration::from_secs(30));

    let line = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    let many: String = (0..10_000).map(|index| format!("X-{index}: 1\r\n")).collect();
    for (case, request, status) in [
        ("a line of 100 KB", line(100_000), 431),
        ("10,000 fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        ("a target of 100 KB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000)), 414),
    ] {
        let mut connection = world.connect();
        // The gateway may answer before all is sent.
        let _ = connection.send(&request);
        let response = connection.response("GET").unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(response.status, status, "{case}");
    }
}

#[test]
fn an_upgrade_that_nobody_granted_opens_no_tunnel() {
    let world = Watched::answering(&[]);
    let mut connection = world.connect();
    connection
        .send(
            "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
             GET /admin HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        )
        .unwrap();
    assert_eq!(connection.response("GET").unwrap().text(), "fine");
    // What came behind is a request like any other, or the connection has ended; never bytes passed on unread.
    match connection.response("GET") {
        Ok(response) => assert_eq!(response.text(), "fine"),
        Err(error) => assert!(matches!(error, ClientError::Closed), "{error}"),
    }
    assert!(!world.endpoint.received_text().contains("6.6.6.6"), "{}", world.endpoint.received_text());
}

#[test]
fn an_endpoints_upgrade_out_of_the_blue_is_502() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
        )?;
        peer.to_the_end().map(drop)
    });
    let response = world.connect().get("a", "/").unwrap();
    assert_eq!(response.status, 502);
}
