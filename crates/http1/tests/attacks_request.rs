//! The attacks on request heads that a gateway must survive, each beside neighbours that must pass.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod support;

use http1::{Framing, RequestHead};
use support::{parse, refused};

/// A complete head of `POST / HTTP/1.1` with these lines.
fn post(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n").into_bytes()
}

fn framing(head: &[u8]) -> Framing {
    parse(head).framing()
}

#[test]
fn lengths_that_two_recipients_could_read_differently_are_refused() {
    let cases: &[(&str, u16)] = &[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length:\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: 5,\r\n", 400),
        ("Content-Length: +1\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: 1_0\r\n", 400),
        ("Content-Length: 0x10\r\n", 400),
        ("Content-Length: 1e1\r\n", 400),
        ("Content-Length: 1 0\r\n", 400),
        ("Content-Length: 1.0\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: \t \r\n", 400),
        ("Content-Length: \"5\"\r\n", 400),
        ("Content-Length: \u{664}\r\n", 400),
        ("Content-Length: 9223372036854775808\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("Content-Length: 00000000000000000005\r\n", 400),
    ];
    for (lines, status) in cases {
        assert_eq!(refused(&post(lines)), *status, "{lines:?}");
    }
}

#[test]
fn plain_lengths_pass() {
    assert_eq!(framing(&post("")), Framing::None);
    assert_eq!(framing(&post("Content-Length: 0\r\n")), Framing::Length(0));
    assert_eq!(framing(&post("CONTENT-LENGTH:5\r\n")), Framing::Length(5));
    assert_eq!(framing(&post("Content-Length: \t 0010 \t\r\n")), Framing::Length(10));
    assert_eq!(framing(&post("Content-Length: 9223372036854775807\r\n")), Framing::Length(u64::MAX / 2));
}

#[test]
fn transfer_encoding_is_exactly_chunked_or_refused() {
    let cases: &[(&[u8], u16)] = &[
        (b"Transfer-Encoding: , chunked\r\n", 400),
        (b"Transfer-Encoding: chunked,\r\n", 400),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (b"Transfer-Encoding: cow, chunked\r\n", 501),
        (b"Transfer-Encoding: chunked, cow\r\n", 501),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: deflate\r\n", 501),
        (b"Transfer-Encoding: identity\r\n", 501),
        (b"Transfer-Encoding: xchunked\r\n", 501),
        (b"Transfer-Encoding: chunke\r\n", 501),
        (b"Transfer-Encoding: \x0bchunked\r\n", 400),
        (b"Transfer-Encoding: chunked\x0b\r\n", 400),
        (b"Transfer-Encoding: \x0cchunked\r\n", 400),
        (b"Transfer-Encoding: chunked\x0c\r\n", 400),
        (b"Transfer-Encoding: chunked\x00\r\n", 400),
        (b"Transfer-Encoding: chun\tked\r\n", 400),
        (b"Transfer-Encoding: chunked;q=1\r\n", 400),
        (b"Transfer-Encoding: \"chunked\"\r\n", 400),
        (b"Transfer-Encoding: chunked\xa0\r\n", 400),
        (b"Transfer-Encoding: \r\n", 400),
        (b"Transfer-Encoding:\r\n chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"Transfer-Encoding\t: chunked\r\n", 400),
        (b"Transfer-Encoding\n: chunked\r\n", 400),
        (b" Transfer-Encoding: chunked\r\n", 400),
        (b"X: x\nTransfer-Encoding: chunked\r\n", 400),
        (b"X: x\rTransfer-Encoding: chunked\r\n", 400),
    ];
    for (lines, status) in cases {
        let head = [&b"POST / HTTP/1.1\r\nHost: a\r\n"[..], lines, b"\r\n"].concat();
        assert_eq!(refused(&head), *status, "{:?}", String::from_utf8_lossy(lines));
    }
    // Whitespace around a value is no part of it (RFC 9110 section 5.5), and what goes on is written anew.
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:CHUNKED\r\n",
        "Transfer-Encoding: \tchunked \r\n",
    ] {
        let head = parse(&post(lines));
        assert_eq!(head.framing(), Framing::Chunked, "{lines:?}");
        assert!(support::upstream(&head).ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n"), "{lines:?}");
    }
}

#[test]
fn names_with_underscores_cannot_pass_for_what_steers() {
    let head = parse(&post(
        "Content_Length: 9\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 1\r\nmy_header: 2\r\n",
    ));
    assert_eq!(head.framing(), Framing::None);
    let upstream = support::upstream(&head);
    assert_eq!(upstream, "POST / HTTP/1.1\r\nHost: a.example\r\nmy_header: 2\r\n\r\n");
}

#[test]
fn old_and_foreign_versions() {
    let cases: &[(&str, u16)] = &[
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\n\r\n", 400),
        ("PUT / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / \r\n\r\n", 400),
        ("GET  HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\n\r\n", 505),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/11.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP /1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / ICAP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (head, status) in cases {
        assert_eq!(refused(head.as_bytes()), *status, "{head:?}");
    }
    let head = parse(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((head.host(), head.keep_alive(), head.framing()), ("", false, Framing::None));
    assert!(parse(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive());
    assert_eq!(framing(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n"), Framing::Length(3));
}

#[test]
fn upgrades_are_told_only_where_they_are_asked_for() {
    let ask = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(parse(&post(ask)).upgrade(), Some("websocket"));
    let with_body = parse(&post(&format!("{ask}Content-Length: 4\r\n")));
    assert_eq!((with_body.upgrade(), with_body.framing()), (Some("websocket"), Framing::Length(4)));

    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: \r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
    ] {
        assert_eq!(parse(&post(lines)).upgrade(), None, "{lines:?}");
    }
    let old = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(parse(old).upgrade(), None);
}

#[test]
fn exactly_one_valid_host() {
    let wrong = [
        "",
        "a,b",
        "a, b",
        "user@a",
        "user:pw@a",
        "a/b",
        "a/",
        "/",
        "a b",
        "a\tb",
        "a:",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:+1",
        "a:65536",
        "a:80/",
        ":80",
        ".",
        "..",
        ".a",
        "a..b",
        "a?b",
        "a#b",
        "a%2eb",
        "[",
        "[]",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:",
        "[fe80::1%25eth0]",
        "[v1.x]",
        "[1.2.3.4]",
        "a\\b",
        "ä",
        "*",
        "a;b",
        "http://a",
    ];
    for host in wrong {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()), 400, "{host:?}");
        assert_eq!(
            refused(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()),
            400,
            "{host:?} in HTTP/1.0"
        );
    }
    assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(255)).as_bytes()), 400);
    for heads in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(refused(heads.as_bytes()), 400, "{heads:?}");
    }
    let right = [
        ("a", "a"),
        ("A.Example.COM", "a.example.com"),
        ("a.example.", "a.example"),
        ("a.example.:8080", "a.example"),
        ("a.example:0080", "a.example"),
        ("my_svc.ns", "my_svc.ns"),
        ("10.0.0.1:65535", "10.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:80", "[2001:db8::1]"),
        ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]"),
    ];
    for (sent, host) in right {
        let head = parse(format!("GET / HTTP/1.1\r\nHost: {sent}\r\n\r\n").as_bytes());
        assert_eq!((head.host(), head.authority()), (host, sent));
    }
}

#[test]
fn forms_of_the_request_target() {
    let cases: &[(&str, u16)] = &[
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ];
    for (head, status) in cases {
        assert_eq!(refused(head.as_bytes()), *status, "{head:?}");
    }
    let cases: &[(&str, &str, Option<&str>, &str)] = &[
        (
            "GET /a/../b;x//y%2f?q=1?2 HTTP/1.1",
            "/a/../b;x//y%2f",
            Some("q=1?2"),
            "GET /a/../b;x//y%2f?q=1?2 HTTP/1.1",
        ),
        ("GET //a HTTP/1.1", "//a", None, "GET //a HTTP/1.1"),
        ("GET /? HTTP/1.1", "/", Some(""), "GET /? HTTP/1.1"),
        ("GET http://H.example/x?y HTTP/1.1", "/x", Some("y"), "GET /x?y HTTP/1.1"),
        ("GET HTTP://h.example:80 HTTP/1.1", "/", None, "GET / HTTP/1.1"),
        ("GET http://h.example?y HTTP/1.1", "/", Some("y"), "GET /?y HTTP/1.1"),
        ("GET http://h.example/ HTTP/1.0", "/", None, "GET / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "*", None, "OPTIONS * HTTP/1.1"),
        ("OPTIONS http://h.example HTTP/1.1", "/", None, "OPTIONS * HTTP/1.1"),
        ("OPTIONS http://h.example/ HTTP/1.1", "/", None, "OPTIONS / HTTP/1.1"),
        ("connect / HTTP/1.1", "/", None, "connect / HTTP/1.1"),
    ];
    for (line, path, query, upstream) in cases {
        let head = parse(format!("{line}\r\nHost: h.example\r\n\r\n").as_bytes());
        assert_eq!((head.path(), head.query(), head.host()), (*path, *query, "h.example"), "{line:?}");
        assert_eq!(support::upstream(&head), format!("{upstream}\r\nHost: h.example\r\n\r\n"));
    }
}

#[test]
fn lines_that_are_none() {
    let cases: &[&[u8]] = &[
        b"X: a\r\n b\r\n",
        b"X: a\r\n\tb\r\n",
        b"X: a\n",
        b"X: a\rb\r\n",
        b"X: a\r\r\n",
        b"X : a\r\n",
        b"X\t: a\r\n",
        b"X\r\n",
        b"X y: a\r\n",
        b": a\r\n",
        b"X: a\0b\r\n",
        b"X: a\x01\r\n",
        b"X: a\x7f\r\n",
        b"X\0: a\r\n",
        b"X(: a\r\n",
        b"X\xe4: a\r\n",
        b"\"X\": a\r\n",
        b"\r\n\n",
    ];
    for lines in &cases[..cases.len() - 1] {
        let head = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], lines, b"\r\n"].concat();
        assert_eq!(refused(&head), 400, "{:?}", String::from_utf8_lossy(lines));
    }
    for head in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        assert_eq!(refused(head), 400, "{:?}", String::from_utf8_lossy(head));
    }
    let head =
        parse(b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t a\tb \xe4 \t\r\n!#$%&'*+-.^_`|~9: z\r\n\r\n");
    let lines: Vec<_> = head.headers().skip(1).collect();
    assert_eq!(lines, [("X", &b""[..]), ("Y", b"a\tb \xe4"), ("!#$%&'*+-.^_`|~9", b"z")]);
}

#[test]
fn expectations() {
    for lines in [
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect:\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: 100 continue\r\n",
    ] {
        assert_eq!(refused(&post(lines)), 417, "{lines:?}");
    }
    assert!(parse(&post("Content-Length: 1\r\nexpect: 100-Continue\r\n")).expects_continue());
    assert!(parse(&post("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n")).expects_continue());
    assert!(!parse(&post("Expect: 100-continue\r\n")).expects_continue(), "no body to wait for");
    let old = parse(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
    assert!(!old.expects_continue(), "HTTP/1.0 knows no 100");
    assert!(!support::upstream(&old).contains("Expect"), "nor may one be asked for on its behalf");
}

#[test]
fn connection_options() {
    for lines in [
        "Connection: host\r\n",
        "Connection: close, Content-Length\r\nContent-Length: 3\r\n",
        "Connection: transfer-encoding\r\n",
        "Connection: X-Forwarded-For\r\n",
        "Connection: close\r\nConnection: x-real-ip\r\n",
        "Connection: forwarded\r\n",
        "Connection: a b\r\n",
        "Connection: \"close\"\r\n",
        "Connection: close;\r\n",
    ] {
        assert_eq!(refused(&post(lines)), 400, "{lines:?}");
    }
    assert_eq!(refused(&post(&format!("Connection: {}\r\n", "a,".repeat(40)))), 400);

    let keep = |lines: &str| parse(&post(lines)).keep_alive();
    assert!(keep("") && keep("Connection: keep-alive\r\n") && keep("Connection: , ,x\r\n"));
    assert!(!keep("Connection: close\r\n") && !keep("Connection: keep-alive, CLOSE\r\n"));
    assert!(!keep("Connection: keep-alive\r\nX: y\r\nConnection: x, close\r\n"));
}

#[test]
fn what_is_too_large() {
    let long = |n: usize| "a".repeat(n);
    assert_eq!(refused(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(16 * 1024)).as_bytes()), 414);
    assert_eq!(refused(format!("GET /{}", long(100_000)).as_bytes()), 414);
    assert_eq!(refused(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", long(33)).as_bytes()), 501);
    assert_eq!(refused(&post(&format!("X: {}\r\n", long(70_000)))), 431);
    assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long(70_000)).as_bytes()), 431);
    assert_eq!(refused(&post(&"X: y\r\n".repeat(128))), 431);
    assert_eq!(refused(&post(&"X: y\r\n".repeat(10_000))), 431);

    assert_eq!(
        parse(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(16 * 1024 - 1)).as_bytes()).path().len(),
        16 * 1024
    );
    assert_eq!(parse(&post(&"X: y\r\n".repeat(127))).headers().count(), 128);
    let most = post(&format!("X: {}\r\n", long(65_535 - post("X: \r\n").len())));
    assert_eq!(parse(&most).bytes().len(), 65_535);
}

#[test]
fn an_error_leaves_no_trace_for_the_next_request() {
    let mut head = RequestHead::default();
    let limits = http1::Limits::default();
    let mut wrong =
        bytes::BytesMut::from(&b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: x\r\n\r\n"[..]);
    assert!(head.parse(&mut wrong, &limits).is_err());
    head.clear();
    let mut right = bytes::BytesMut::from(&b"GET / HTTP/1.1\r\nHost: b\r\n\r\nrest"[..]);
    assert_eq!(head.parse(&mut right, &limits), Ok(true));
    assert_eq!((head.host(), head.framing(), head.headers().count()), ("b", Framing::None, 1));
    assert_eq!(&right[..], b"rest");
}
