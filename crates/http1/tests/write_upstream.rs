//! What an endpoint sees of a request.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod support;

use bytes::BytesMut;
use http1::Edits;
use support::{parse, upstream};

fn with(head: &[u8], edits: &Edits<'_>) -> String {
    let mut out = BytesMut::new();
    parse(head).write_upstream(&mut out, edits);
    String::from_utf8(out.to_vec()).unwrap()
}

const PLAIN: &[u8] = b"GET /a?b HTTP/1.1\r\nUser-Agent:  x  \r\nhOsT: a.example:80\r\nAccept: */*\r\n\r\n";

#[test]
fn what_needs_no_edit_goes_on_as_the_bytes_that_came() {
    assert_eq!(upstream(&parse(PLAIN)).as_bytes(), PLAIN);
    let after_empty_line = [b"\r\n", PLAIN].concat();
    assert_eq!(upstream(&parse(&after_empty_line)).as_bytes(), PLAIN);
}

#[test]
fn hop_by_hop_lines_end_here() {
    let head = b"GET / HTTP/1.1\r\nConnection: keep-alive, Authorization\r\nHost: a\r\nKeep-Alive: 5\r\nauthorization: x\r\n\
        TE: gzip\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\nProxy: http://evil\r\nProxy-Other: x\r\n\
        X: 1\r\nUpgrade: websocket\r\nHTTP2-Settings: AA\r\nExpect: 100-continue\r\nConnection: X2\r\nX2: 2\r\nTrailer: T\r\n\r\n";
    assert_eq!(
        upstream(&parse(head)),
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nExpect: 100-continue\r\nTrailer: T\r\n\r\n"
    );
    let edits = Edits { drop_expect: true, connection: Some("close"), ..Edits::default() };
    assert_eq!(
        with(head, &edits),
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nTrailer: T\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn te_keeps_trailers_only_and_is_named_again() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    assert_eq!(upstream(&parse(head)), "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    let edits = Edits { connection: Some("close"), ..Edits::default() };
    assert!(with(head, &edits).ends_with("\r\nConnection: close, te\r\n\r\n"));
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n";
    assert_eq!(upstream(&parse(head)), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn an_upgrade_goes_on_when_told() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";
    let kept = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nConnection: upgrade\r\n\r\n";
    let edits = Edits { keep_upgrade: true, ..Edits::default() };
    assert_eq!(with(head, &edits), kept);
    assert_eq!(with(head, &Edits { connection: Some("Upgrade"), ..edits }), kept);
    let smuggled = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n";
    assert_eq!(with(smuggled, &edits), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn edits_go_right_behind_the_request_line() {
    let edits = Edits {
        insert: &[("X-Forwarded-For", b"192.0.2.1"), ("X-Forwarded-Proto", b"http\r\nEvil: 1")],
        remove: &["user-AGENT", "absent"],
        ..Edits::default()
    };
    assert_eq!(
        with(PLAIN, &edits),
        "GET /a?b HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http  Evil: 1\r\n\
         hOsT: a.example:80\r\nAccept: */*\r\n\r\n"
    );
    let edits = Edits { host: Some("b.example"), target: Some("/new?x"), ..Edits::default() };
    assert_eq!(
        with(PLAIN, &edits),
        "GET /new?x HTTP/1.1\r\nHost: b.example\r\nUser-Agent:  x  \r\nAccept: */*\r\n\r\n"
    );
}

#[test]
fn http_1_0_becomes_1_1_with_a_host() {
    assert_eq!(
        upstream(&parse(b"GET /x HTTP/1.0\r\nA: b\r\n\r\n")),
        "GET /x HTTP/1.1\r\nHost: \r\nA: b\r\n\r\n"
    );
    assert_eq!(
        upstream(&parse(b"GET http://h:81/x HTTP/1.0\r\n\r\n")),
        "GET /x HTTP/1.1\r\nHost: h:81\r\n\r\n"
    );
    let edits = Edits { host: Some("10.0.0.1:80"), ..Edits::default() };
    assert_eq!(with(b"GET /x HTTP/1.0\r\n\r\n", &edits), "GET /x HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n");
}

#[test]
fn forwarding_headers_are_told_and_can_be_removed() {
    for name in [
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-By",
        "X-REAL-IP",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: x\r\n\r\n");
        assert!(parse(head.as_bytes()).has_forwarding_headers(), "{name}");
        let edits = Edits { remove: &[name], ..Edits::default() };
        assert_eq!(with(head.as_bytes(), &edits), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    assert!(!parse(PLAIN).has_forwarding_headers());
}
