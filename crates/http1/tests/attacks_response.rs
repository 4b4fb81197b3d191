//! What endpoints may and may not answer, and what of it the client sees.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod support;

use http1::{Answer, Framing, Limits, ResponseEdits, ResponseError, ResponseFraming, ResponseHead, Version};
use support::{downstream, response};

fn ok(lines: &str) -> ResponseHead {
    response(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes())
}

#[test]
fn framing_in_doubt_is_an_error_even_without_a_body() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: x\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let head = ok(lines);
        for method in ["GET", "HEAD"] {
            let framing = head.framing(method);
            assert!(matches!(framing, Err(ResponseError::Framing(_))), "{method} {lines:?}: {framing:?}");
            assert_eq!(framing.unwrap_err().status(), 502);
        }
    }
    let old = response(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(old.framing("GET").is_err());
}

#[test]
fn bodies_end_as_status_method_and_fields_say() {
    let framing = |head: &str, method: &str| response(head.as_bytes()).framing(method).unwrap();
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET"), Framing::Length(5));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "GET"), Framing::Chunked);
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", "POST"), Framing::UntilClose);
    assert_eq!(framing("HTTP/1.0 200 OK\r\n\r\n", "GET"), Framing::UntilClose);
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"), Framing::None);
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", "HEAD"), Framing::None);
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "head"), Framing::Length(5));
    for status in ["100", "101", "103", "204", "304"] {
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(framing(&head, "GET"), Framing::None, "{status}");
    }
}

#[test]
fn heads_that_are_none() {
    for head in [
        "HTTP/1.1 99 x\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 1000 x\r\n\r\n",
        "HTTP/1.1 2x0 x\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200 OK\rX: y\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "<html>",
    ] {
        let mut buf = bytes::BytesMut::from(head.as_bytes());
        let parsed = ResponseHead::default().parse(&mut buf, &Limits::default());
        assert!(parsed.is_err(), "{head:?}: {parsed:?}");
    }
    let mut long = bytes::BytesMut::from(format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(70_000)).as_bytes());
    assert_eq!(
        ResponseHead::default().parse(&mut long, &Limits::default()),
        Err(ResponseError::HeadTooLarge)
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(129));
    let mut many = bytes::BytesMut::from(many.as_bytes());
    assert_eq!(
        ResponseHead::default().parse(&mut many, &Limits::default()),
        Err(ResponseError::TooManyHeaders)
    );
}

#[test]
fn status_lines_that_pass() {
    for (head, status, sent) in [
        ("HTTP/1.1 200\r\n\r\n", 200, "HTTP/1.1 200 \r\n\r\n"),
        ("HTTP/1.1 200 \r\n\r\n", 200, "HTTP/1.1 200 \r\n\r\n"),
        ("HTTP/1.0 404 Not  Found\t!\r\n\r\n", 404, "HTTP/1.1 404 Not  Found\t!\r\n\r\n"),
        ("HTTP/1.1 999 Request denied\r\n\r\n", 999, "HTTP/1.1 999 Request denied\r\n\r\n"),
    ] {
        let head = response(head.as_bytes());
        assert_eq!(head.status(), status);
        assert_eq!(downstream(&head, &ResponseEdits::default()), sent);
    }
    assert_eq!(response(b"HTTP/1.0 200 OK\r\n\r\n").version(), Version::Http10);
    assert!(!response(b"HTTP/1.0 200 OK\r\n\r\n").keep_alive());
    assert!(response(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").keep_alive());
    assert!(ok("").keep_alive() && !ok("Connection: close\r\n").keep_alive());
    let informational =
        |status| response(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes()).is_informational();
    assert!(informational(100) && informational(103) && !informational(101) && !informational(200));
}

#[test]
fn hop_by_hop_lines_end_here() {
    let head = ok(
        "Set-Cookie: a=1\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-hop: 1\r\n\
                   Proxy-Authenticate: Basic\r\nProxy-Status: x\r\nUpgrade: h2c\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\n",
    );
    let edits = ResponseEdits {
        insert: &[("X-New", b"1")],
        remove: &["proxy-STATUS"],
        connection: Some("close"),
        ..ResponseEdits::default()
    };
    assert_eq!(
        downstream(&head, &edits),
        "HTTP/1.1 200 OK\r\nX-New: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn framing_lines_are_written_as_told() {
    let send =
        |lines: &str, framing| downstream(&ok(lines), &ResponseEdits { framing, ..ResponseEdits::default() });
    let chunked = "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bare = "HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
    assert_eq!(send("transfer-encoding: CHUNKED \r\nX: y\r\n", ResponseFraming::Keep), chunked);
    assert_eq!(send("X: y\r\n", ResponseFraming::Chunked), chunked);
    assert_eq!(send("Content-Length: 3\r\nX: y\r\n", ResponseFraming::Chunked), chunked);
    assert_eq!(send("Transfer-Encoding: chunked\r\nX: y\r\n", ResponseFraming::CloseDelimited), bare);
    assert_eq!(send("Content-Length: 3\r\nX: y\r\n", ResponseFraming::CloseDelimited), bare);

    // RFC 9110 section 8.6 and RFC 9112 section 6.1: neither field in 1xx and 204.
    for status in ["103 Early Hints", "204 No Content"] {
        for lines in ["Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"] {
            let head = response(format!("HTTP/1.1 {status}\r\n{lines}\r\n").as_bytes());
            assert_eq!(downstream(&head, &ResponseEdits::default()), format!("HTTP/1.1 {status}\r\n\r\n"));
        }
    }
    let not_modified = response(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
    assert!(downstream(&not_modified, &ResponseEdits::default()).contains("Content-Length: 7"));
}

#[test]
fn a_switch_of_protocols_keeps_its_upgrade() {
    let head =
        response(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    let edits = ResponseEdits { keep_upgrade: true, ..ResponseEdits::default() };
    assert_eq!(
        downstream(&head, &edits),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    );
    assert_eq!(downstream(&head, &ResponseEdits::default()), "HTTP/1.1 101 Switching Protocols\r\n\r\n");
}

#[test]
fn answers_of_our_own() {
    let write = |answer: &Answer<'_>| {
        let mut out = bytes::BytesMut::new();
        http1::write_response(&mut out, answer);
        String::from_utf8(out.to_vec()).unwrap()
    };
    let answer = Answer {
        status: 404,
        body: b"no route",
        date: Some("Sat, 21 Nov 2026 02:21:53 GMT"),
        headers: &[("X-Evil", b"a\r\nSet-Cookie: b")],
        connection: Some("close"),
        lines: None,
        head_only: false,
        content_type: None,
    };
    let head = "HTTP/1.1 404 Not Found\r\nDate: Sat, 21 Nov 2026 02:21:53 GMT\r\nX-Evil: a  Set-Cookie: b\r\n\
                Content-Type: text/plain; charset=utf-8\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    assert_eq!(write(&answer), format!("{head}no route\n"));
    assert_eq!(write(&Answer { head_only: true, ..answer }), head);
    let page =
        Answer { status: 503, body: b"{}", content_type: Some("application/json"), ..Answer::default() };
    assert_eq!(
        write(&page),
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    );
    assert_eq!(
        write(&Answer { status: 204, body: b"x", ..Answer::default() }),
        "HTTP/1.1 204 No Content\r\n\r\n"
    );
    assert_eq!(
        write(&Answer { status: 503, ..Answer::default() }),
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        [http1::reason_phrase(431), http1::reason_phrase(599)],
        ["Request Header Fields Too Large", "Server Error"]
    );
}
