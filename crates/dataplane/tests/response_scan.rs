//! What the scan of responses accepts and refuses, and that it means what the scanner of Tier 3 means.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "messages of tests are short")]

mod scans;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use dataplane::head::{self, Field, Known, Version};
use dataplane::response::Unknown::{self, *};
use scans::{RESPONSE_PARTS, scan_response, spoil, together};
use wire::ResponseFacts;

const LENGTH: u16 = ResponseFacts::LENGTH;
const CHUNKED: u16 = ResponseFacts::CHUNKED;
const CLOSE: u16 = ResponseFacts::CLOSE;
const UPGRADE: u16 = ResponseFacts::UPGRADE;

#[test]
fn ordinary_responses_are_understood() {
    let nginx = "HTTP/1.1 200 OK\r\nServer: nginx/1.24.0\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\n\
        Content-Type: text/html\r\nContent-Length: 615\r\nLast-Modified: Tue, 11 Apr 2023 01:45:34 GMT\r\n\
        Connection: keep-alive\r\nETag: \"6434bbbe-267\"\r\nAccept-Ranges: bytes\r\n\r\n";
    let framework = "HTTP/1.1 404 Not Found\r\nX-Powered-By: Some Framework/7.0\r\nvary: accept-encoding\r\n\
        content-security-policy-report-only: default-src 'none'\r\nx_request_id: 1\r\nSet-Cookie: a=J\u{fc}; path=/\r\n\
        Transfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n";
    let apache = "HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 5\r\n\r\nhello";
    for (response, status, flags, length) in [
        (nginx, 200, LENGTH, 615),
        (framework, 404, CHUNKED, 0),
        (apache, 200, LENGTH | UPGRADE, 5),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, 0, 0),
        ("HTTP/1.1 100 Continue\r\n\r\n", 100, 0, 0),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n", 103, 0, 0),
        ("HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", 200, LENGTH, 0),
        ("HTTP/1.1 200 \r\nContent-Length: 5000000000\r\n\r\n", 200, LENGTH, 5_000_000_000),
        (
            "HTTP/1.1 413 x\r\nConnection: Close\r\nContent-Length: 9223372036854775807\r\n\r\n",
            413,
            LENGTH | CLOSE,
            1 << 63,
        ),
        ("HTTP/1.0 200 OK\r\n\r\n", 200, CLOSE, 0),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, UPGRADE, 0),
        ("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 101, UPGRADE, 0),
    ] {
        let facts = scan_response(response.as_bytes()).unwrap();
        let length = if length == 1 << 63 { length - 1 } else { length };
        assert_eq!((facts.status, facts.flags, facts.content_length), (status, flags, length), "{response}");
        assert_eq!(usize::from(facts.head_len), response.find("\r\n\r\n").unwrap() + 4);
        assert!(check(response.as_bytes()));
    }
}

/// Puts `lines` behind a status line.
fn ok(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()
}

#[test]
fn others_are_not_and_the_reason_is_told() {
    let lines = |count: usize| ok(&"X-Line: y\r\n".repeat(count));
    let cases: &[(Unknown, Vec<u8>)] = &[
        (Incomplete, b"".to_vec()),
        (Incomplete, b"HTTP/1.1 200 OK".to_vec()),
        (Incomplete, b"HTTP/1.1 200 OK\r\n".to_vec()),
        (Incomplete, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r".to_vec()),
        (StatusLine, b"HTTP/2.0 200 OK\r\n\r\n".to_vec()),
        (StatusLine, b"HTTP/1.1\r\n\r\n".to_vec()),
        (StatusLine, b"HTTP/1.1 20\r\n\r\n".to_vec()),
        (StatusLine, b"HTTP/1.1 2000\r\n\r\n".to_vec()),
        (StatusLine, b"HTTP/1.1 099 x\r\n\r\n".to_vec()),
        (StatusLine, b"HTTP/1.1 2x0 x\r\n\r\n".to_vec()),
        (StatusLine, b"HTTP/1.1  200 x\r\n\r\n".to_vec()),
        (StatusLine, b"\r\nHTTP/1.1 200 x\r\n\r\n".to_vec()),
        (StatusLine, b"late bytes of a body\r\n\r\n".to_vec()),
        (Head, b"HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n".to_vec()),
        (Head, b"HTTP/1.1 200 O\tK\r\n\r\n".to_vec()),
        (Head, ok("Content-Length : 1\r\n")),
        (Head, ok(" Content-Length: 1\r\n")),
        (Head, ok("X: y\r\n Content-Length: 1\r\n")),
        (Head, ok("X: y\nContent-Length: 1\r\n")),
        (Head, ok("X: y\rContent-Length: 1\r\n")),
        (Head, ok("X: \0\r\n")),
        (Head, ok("Content-Length:\t1\r\n")),
        (Head, ok("X~: y\r\n")),
        (Head, lines(65)),
        (Length, ok("Content-Length: 1\r\nContent-Length: 1\r\n")),
        (Length, ok("Content-Length: 1, 1\r\n")),
        (Length, ok("Content-Length: -1\r\n")),
        (Length, ok("Content-Length:\r\n")),
        (Length, ok("Content-Length: 9223372036854775808\r\n")),
        (Length, ok("Content-Length: 10000000000000000000\r\n")),
        (Length, ok("Content-Length: 00000000000000000001\r\n")),
        (Encoding, ok("Transfer-Encoding: gzip, chunked\r\n")),
        (Encoding, ok("Transfer-Encoding: identity\r\n")),
        (Encoding, ok("Transfer-Encoding:\r\n")),
        (Encoding, ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (Encoding, ok("Transfer-Encoding: xchunked\r\n")),
        (Encoding, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        (LengthAndEncoding, ok("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n")),
        (LengthAndEncoding, ok("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")),
        (Connection, ok("Connection: x\r\n")),
        (Connection, ok("Connection: close, x\r\n")),
        (Connection, ok("Connection: keep-alive\r\nConnection: close\r\n")),
        (Connection, ok("Connection: upgrade, keep-alivE, close\r\n")),
        (Connection, ok("Connection: upgrade, keep-along\r\n")),
    ];
    for (reason, response) in cases {
        let text = String::from_utf8_lossy(response);
        assert_eq!(scan_response(response).map(|_| ()), Err(*reason), "{text}");
        assert!(!reason.as_str().is_empty());
    }
    assert!(scan_response(&lines(64)).is_ok());
}

/// If the scan accepts, the scanner of Tier 3 does, and they mean the same. Returns whether it did.
fn check(bytes: &[u8]) -> bool {
    let Ok(facts) = scan_response(bytes) else { return false };
    let text = String::from_utf8_lossy(bytes);
    let mut fields: Vec<Field> = Vec::new();
    let mut take = |field| {
        fields.push(field);
        true
    };
    let scan = head::scan_response(bytes, &mut take).unwrap().unwrap();
    assert_eq!((scan.status, scan.head_len), (facts.status, facts.head_len), "{text}");
    let values = |known: Known| -> Vec<String> {
        let values = fields.iter().filter(|field| field.known == known).map(|field| field.value.of(bytes));
        values.map(|value| String::from_utf8_lossy(value).to_ascii_lowercase()).collect()
    };
    let lengths = values(Known::ContentLength);
    let codings = values(Known::TransferEncoding);
    assert!(lengths.len() + codings.len() <= 1, "{text}");
    assert!(
        codings.first().is_none_or(|coding| coding == "chunked" && scan.version == Version::Http11),
        "{text}"
    );
    let length = lengths.first().map(|length| length.parse::<i64>().unwrap() as u64);
    assert_eq!(facts.content_length, length.unwrap_or(0), "{text}");
    let options = values(Known::Connection);
    let options: Vec<_> = options.iter().flat_map(|value| value.split(',').map(str::trim)).collect();
    assert!(options.iter().all(|option| ["close", "keep-alive", "upgrade"].contains(option)), "{text}");
    let upgrade = !values(Known::Upgrade).is_empty() || facts.status == 101;
    let flag = |is: bool, flag: u16| if is { flag } else { 0 };
    let flags = flag(length.is_some(), LENGTH)
        | flag(!codings.is_empty(), CHUNKED)
        | flag(options.contains(&"close") || scan.version == Version::Http10, CLOSE)
        | flag(upgrade, UPGRADE);
    assert_eq!(facts.flags, flags, "{text}");
    true
}

#[test]
fn whatever_is_accepted_means_the_same_to_tier_3() {
    let accepted = AtomicU32::new(0);
    bolero::check!().with_type::<(Vec<u8>, [u16; 3])>().with_iterations(100_000).for_each(
        |(choices, faults)| {
            let response = together(RESPONSE_PARTS, choices);
            let count = |is: bool| accepted.fetch_add(u32::from(is), Relaxed);
            count(check(&response));
            count(check(&spoil(&response, &faults[..1])));
            count(check(&spoil(&response, faults)));
            check(choices);
        },
    );
    assert!(accepted.load(Relaxed) > 50_000, "only {} were accepted", accepted.load(Relaxed));
}
