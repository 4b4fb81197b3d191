//! What the scan of requests accepts, what it refuses and why, and that it means what the scanner of Tier 3 means.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "messages of tests are short")]

mod scans;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use dataplane::head::{self, Field, Known, Version};
use dataplane::request::Undecidable::{self, *};
use scans::{CAPTURED, REQUEST_PARTS, fnv1a, part, scan_request, spoil, together};
use wire::{Method, RequestFacts};

/// Requests that ordinary clients send.
const ORDINARY: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: 10.1.2.3:65535\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nhost:a\r\n\r\n",
    "OPTIONS /api/v2/users HTTP/1.1\r\nHost: api.example.com\r\nOrigin: http://example.com\r\n\
     Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
    "DELETE /api/v2/users/1?force=%2F%20 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a.b.c\r\n\r\n",
    "POST /login?next=%2Fhome HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 9\r\n\
     Content-Type: application/x-www-form-urlencoded\r\n\r\nuser=alma",
    "PUT /f HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "PATCH /f;v=1 HTTP/1.1\r\nHost: A-B.Example\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n\0\n",
    "GET /a?b=c?d//e/./f HTTP/1.1\r\nHost: x\r\nConnection: CLOSE\r\nX-Empty:\r\nX-Blank: \r\n\r\n",
    "GET /~a/b.c/d..e/@f HTTP/1.1\r\nHost: x\r\nX-Name: J\u{fc}rgen  \r\nContent-Length: 0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nSec-CH-Prefers-Reduced-Transparency: no-preference\r\n\r\n",
    "GET /static/js/app.3f2a9c.js?v=12 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
     Pragma: no-cache\r\nCache-Control: no-cache\r\nsec-ch-ua-platform: \"Linux\"\r\n\
     User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n\
     sec-ch-ua: \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\"\r\nDNT: 1\r\nsec-ch-ua-mobile: ?0\r\n\
     Upgrade-Insecure-Requests: 1\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\n\
     Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\nReferer: http://www.example.com/a/b?c=d\r\n\
     Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.9,fi;q=0.8\r\n\
     If-None-Match: W/\"6434bbbe-267\"\r\nIf-Modified-Since: Tue, 11 Apr 2023 01:45:34 GMT\r\n\r\n",
];

#[test]
fn ordinary_requests_are_decided() {
    for request in ORDINARY {
        let facts = scan_request(request.as_bytes(), true);
        assert!(facts.is_ok(), "{facts:?} for {request}");
        check(request.as_bytes());
    }
    let browser = ORDINARY[ORDINARY.len() - 1];
    for cookie in [100, 700, 1000] {
        let cookie = "session=".to_owned() + &"0123456789abcdef; c=".repeat(cookie / 20);
        let request = browser.replace("Pragma: no-cache", &format!("Cookie: {cookie}"));
        assert!(scan_request(request.as_bytes(), true).is_ok(), "{} bytes", request.len());
        check(request.as_bytes());
    }
}

#[test]
fn facts_are_what_stands_there() {
    let request = b"POST /api/v2?x=/y HTTP/1.1\r\nX-API-Version: 2\r\nHost: Api.Example.com:8080\r\n\
        X-Forwarded-For: 10.0.0.1\r\na:\r\nContent-Length: 000012\r\nConnection: close\r\n\r\n{\"a\":";
    let facts = scan_request(request, true).unwrap();
    assert_eq!(facts.method, Method::Post as u8);
    assert_eq!(part(request, facts.path), b"/api/v2");
    assert_eq!(facts.path_hash, fnv1a(b"/api/v2"));
    assert_eq!(part(request, facts.host), b"Api.Example.com");
    assert_eq!(facts.content_length, 12);
    assert_eq!(facts.flags, RequestFacts::CLOSE | RequestFacts::FORWARDING);
    assert_eq!(facts.line_len, 28);
    assert_eq!(usize::from(facts.head_len), request.len() - 5);
    assert_eq!(facts.captured, 0b11);
    assert_eq!(part(request, facts.captures[0]), b"2");
    assert_eq!(part(request, facts.captures[1]), b"");
    assert_eq!(scan_request(request, false).unwrap().captured, 0);
    let long = b"GET / HTTP/1.1\r\nHost: h\r\nA-Name-Of-Exactly-32-Bytes-In-Al: 7\r\nA-Name-Of-Exactly-32-Bytes-In-Ally: 8\r\n\r\n";
    let facts = scan_request(long, true).unwrap();
    assert_eq!((facts.captured, part(long, facts.captures[2])), (0b100, &b"7"[..]));
}

#[test]
fn forwarding_headers_are_told() {
    for (name, forwarding) in [
        ("Forwarded", true),
        ("X-Forwarded-For", true),
        ("x-forwarded-anything", true),
        ("X-Forwarded-", true),
        ("X-Real-IP", true),
        ("X-Forwarded", false),
        ("X-Real-IPs", false),
        ("Forwarded-For", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{name}: x\r\n\r\n");
        let facts = scan_request(request.as_bytes(), false).unwrap();
        assert_eq!(facts.flags & RequestFacts::FORWARDING != 0, forwarding, "{name}");
    }
}

/// Puts `lines` behind a request line and Host.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

fn target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

fn host(value: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost:{value}\r\n\r\n").into_bytes()
}

fn put(lines: &str) -> Vec<u8> {
    format!("PUT / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

fn refused(cases: &[(Undecidable, Vec<u8>)]) {
    for (reason, request) in cases {
        let text = String::from_utf8_lossy(request);
        assert_eq!(scan_request(request, true).map(|_| ()), Err(*reason), "{text}");
    }
}

#[test]
fn a_segment_holds_one_whole_request_line() {
    refused(&[
        (Incomplete, b"".to_vec()),
        (Incomplete, b"GE".to_vec()),
        (Incomplete, b"GET / HTTP/1.1".to_vec()),
        (Incomplete, b"GET / HTTP/1.1\r".to_vec()),
        (Incomplete, b"GET / HTTP/1.1\r\n".to_vec()),
        (Method, b"get / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Method, b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Method, b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Method, b"CONNECT a:443 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Method, b"GETS / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Method, b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Method, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        (Method, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (Version, b"GET / HTTP/1.0\r\nHost: h\r\n\r\n".to_vec()),
        (Version, b"GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_vec()),
        (Version, b"GET / http/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Version, b"GET /\r\nHost: h\r\n\r\n".to_vec()),
        (Version, b"GET  HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Version, b"GET HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Version, b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n".to_vec()),
        (Head, b"GET / HTTP/1.1\nHost: h\r\n\r\n".to_vec()),
        (Head, b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Head, b"GET / HTTP/1.1\rHost: h\r\n\r\n".to_vec()),
    ]);
}

#[test]
fn paths_that_someone_may_take_for_another_are_refused() {
    refused(&[
        (Path, target("*")),
        (Path, target("http://h/")),
        (Path, target("a")),
        (Path, target("?")),
        (Path, target(" /")),
        (Path, target("/ /")),
        (Path, target("/a b")),
        (Path, target("/%61")),
        (Path, target("/123456%")),
        (Path, target("//")),
        (Path, target("/a//b")),
        (Path, target("/123456//")),
        (Path, target("/./a")),
        (Path, target("/a/..")),
        (Path, target("/123456/../")),
        (Path, target("/1234567/../")),
        (Path, target("/.well-known/x")),
        (Path, target("/a#b")),
        (Path, target("/a?b#c")),
        (Path, target("/a?b c")),
        (Path, target("/\u{e4}")),
        (Path, target("/?\u{e4}")),
        (Path, target(&format!("/{}", "a".repeat(248)))),
    ]);
    for len in 1..=248 {
        let path = format!("/{}", "a".repeat(len - 1));
        for query in ["", "?", "?%2f//./?"] {
            let request = target(&format!("{path}{query}"));
            let facts = scan_request(&request, false).unwrap();
            assert_eq!(
                (part(&request, facts.path), facts.path_hash),
                (path.as_bytes(), fnv1a(path.as_bytes()))
            );
        }
    }
}

#[test]
fn hosts_that_are_no_plain_names_are_refused() {
    refused(&[
        (Host, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (Host, b"GET / HTTP/1.1\r\nHosts: h\r\n\r\n".to_vec()),
        (Host, get("Host: h\r\n")),
        (Host, get("hOST: other\r\n")),
    ]);
    for value in [
        "",
        " ",
        "  h",
        " h ",
        " a b",
        " [::1]",
        " [::1]:80",
        " a_b",
        " h.",
        " .h",
        " a..b",
        " .",
        " h:",
        " h:x",
        " h:80x",
        " h:65536",
        " h:000080",
        " :80",
        " a:1:2",
        " u@h",
        " h/",
        " %61",
        " h\u{e4}",
        " a,b",
        " abcdefg..h",
        " h.:80",
    ] {
        refused(&[(Host, host(value))]);
    }
    for len in 1..=253 {
        let name = "a".repeat(len);
        for port in ["", ":1", ":65535"] {
            let request = host(&format!(" {name}{port}"));
            assert_eq!(part(&request, scan_request(&request, false).unwrap().host), name.as_bytes(), "{len}");
        }
    }
    for len in [254, 255, 256, 300] {
        refused(&[
            (Host, host(&format!(" {}", "a".repeat(len)))),
            (Host, host(&format!(" {}:80", "a".repeat(len)))),
        ]);
    }
}

#[test]
fn bodies_have_one_plain_length() {
    refused(&[
        (Body, get("Content-Length: 1\r\n\r\nx")),
        (Body, put("")),
        (Body, put("Content-Length: 1\r\nContent-Length: 1\r\n")),
        (Body, put("Content-Length: 1\r\ncontent-length: 1\r\n")),
        (Body, put("Content-Length: 1, 1\r\n")),
        (Body, put("Content-Length: +1\r\n")),
        (Body, put("Content-Length: -1\r\n")),
        (Body, put("Content-Length: 0x1\r\n")),
        (Body, put("Content-Length: 1 \r\n")),
        (Body, put("Content-Length:  1\r\n")),
        (Body, put("Content-Length: \r\n")),
        (Body, put("Content-Length:\r\n")),
        (Body, put("Content-Length: 1073741825\r\n")),
        (Body, put("Content-Length: 9999999999\r\n")),
        (Body, put("Content-Length: 00000000001\r\n")),
        (Body, put("Content-Length: 18446744073709551617\r\n")),
        (TransferEncoding, put("Transfer-Encoding: chunked\r\n")),
        (TransferEncoding, put("transfer-encoding: identity\r\n")),
        (TransferEncoding, put("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")),
        (MoreThanOne, get("\r\nx")),
        (MoreThanOne, get("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")),
        (MoreThanOne, put("Content-Length: 1\r\n\r\nxy")),
        (MoreThanOne, put("Content-Length: 0\r\n\r\n\r\n")),
    ]);
    // What does not fit the payload counts all the same.
    let long = put("Content-Length: 3000\r\n");
    assert!(scan_request(&[&long[..], &[b'x'; 3000]].concat(), false).is_ok());
    refused(&[(MoreThanOne, [&long[..], &[b'x'; 3001]].concat())]);
    for (length, tail) in [(1 << 30, ""), (2, ""), (2, "x"), (2, "xy")] {
        let request = [put(&format!("Content-Length: {length}\r\n")), tail.into()].concat();
        let facts = scan_request(&request, false).unwrap();
        assert_eq!((facts.content_length, usize::from(facts.head_len)), (length, request.len() - tail.len()));
    }
}

#[test]
fn what_is_for_the_gateway_itself_is_refused() {
    for name in [
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Keep-Alive",
        "HTTP2-Settings",
        "Proxy",
        "Proxy-Connection",
        "proxy-",
        "Proxy-X",
        "proxy-authorization",
        "PROXY-AUTHENTICATE",
    ] {
        refused(&[(HopByHop, get(&format!("{name}: x\r\n")))]);
    }
    refused(&[
        (Connection, get("Connection: upgrade\r\n")),
        (Connection, get("Connection: close, keep-alive\r\n")),
        (Connection, get("Connection: keep-alive, te\r\n")),
        (Connection, get("Connection: keep-alives\r\n")),
        (Connection, get("Connection: x-api-version\r\n")),
        (Connection, get("Connection:\r\n")),
        (Connection, get("Connection: close\r\nConnection: close\r\n")),
        (Connection, get("Connection: keep-alive\r\nconnection: close\r\n")),
        (HeaderTwice, get("A: 1\r\na: 2\r\n")),
        (HeaderTwice, get("X-API-Version: 1\r\nX-B: 1\r\nx-api-version: 1\r\n")),
    ]);
    assert!(scan_request(&get("A: 1\r\na: 2\r\n"), false).is_ok(), "only of names that routes match on");
    assert!(scan_request(&get("B: 1\r\nb: 2\r\n"), true).is_ok());
}

#[test]
fn lines_that_are_not_plain_are_refused() {
    let lines = |count: usize| get(&"X-Line: y\r\n".repeat(count - 1));
    refused(&[
        (Head, get("X : y\r\n")),
        (Head, get("X\t: y\r\n")),
        (Head, get(" X: y\r\n")),
        (Head, get("\tX: y\r\n")),
        (Head, get("X: y\r\n z\r\n")),
        (Head, get(": y\r\n")),
        (Head, get("X\r\n")),
        (Head, get("X y\r\n")),
        (Head, get("Content_Length: 1\r\n")),
        (Head, get("X_Forwarded_For: 1\r\n")),
        (Head, get("X!: y\r\n")),
        (Head, get("X\u{e4}: y\r\n")),
        (Head, get("X: y\n")),
        (Head, get("X: y\rZ: a\r\n")),
        (Head, get("X: \0\r\n")),
        (Head, get("X: a\tb\r\n")),
        (Head, get("X:\ty\r\n")),
        (Head, get("X: \x7f\r\n")),
        (Head, get("A:  two-spaces-before-what-a-route-matches-on\r\n")),
        (Head, get("A: space-behind \r\n")),
        (Head, get(&format!("{}: y\r\n", "X".repeat(64)))),
        (Head, get(&format!("{}_x: y\r\n", "X".repeat(40)))),
        (Head, lines(65)),
        (Incomplete, b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec()),
        (Incomplete, b"GET / HTTP/1.1\r\nHost: h\r\n\r".to_vec()),
        (Incomplete, b"GET / HTTP/1.1\r\nHost: h\r\nX-Y".to_vec()),
        (Incomplete, b"GET / HTTP/1.1\r\nHost: h\r\nX-Y: z".to_vec()),
        (Incomplete, b"GET / HTTP/1.1\r\nHost: h\r\nX-Y: z\r".to_vec()),
        (Incomplete, get(&format!("X: {}\r\n", "y".repeat(2048)))),
    ]);
    assert!(scan_request(&lines(64), false).is_ok());
    assert!(scan_request(&get(&format!("{}: y\r\n", "X".repeat(63))), true).is_ok());
}

/// If the scan accepts, the scanner of Tier 3 does, and they mean the same. Returns whether it did.
fn check(bytes: &[u8]) -> bool {
    let Ok(facts) = scan_request(bytes, true) else { return false };
    let text = String::from_utf8_lossy(bytes);
    let mut fields: Vec<Field> = Vec::new();
    let mut take = |field| {
        fields.push(field);
        true
    };
    let scan = head::scan_request(bytes, &mut take).unwrap().unwrap();
    assert_eq!(
        (scan.version, scan.head_len, scan.fields_start),
        (Version::Http11, facts.head_len, facts.line_len),
        "{text}"
    );
    let methods: [&[u8]; 7] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"];
    assert_eq!(scan.method.of(bytes), methods[usize::from(facts.method)], "{text}");
    let target = scan.target.of(bytes);
    let path = target.split(|b| *b == b'?').next().unwrap();
    assert_eq!((part(bytes, facts.path), facts.path_hash), (path, fnv1a(path)), "{text}");
    assert!(path.starts_with(b"/") && path.len() <= 248 && !path.contains(&b'%'), "{text}");
    assert!(!path.windows(2).any(|two| matches!(two, b"//" | b"/.")), "{text}");

    let values = |known: Known| -> Vec<&[u8]> {
        fields.iter().filter(|field| field.known == known).map(|field| field.value.of(bytes)).collect()
    };
    let [host] = values(Known::Host)[..] else { panic!("one Host: {text}") };
    let (name, port) = match host.iter().position(|b| *b == b':') {
        Some(at) => (&host[..at], Some(&host[at + 1..])),
        None => (host, None),
    };
    assert_eq!(part(bytes, facts.host), name, "{text}");
    assert!(name.split(|b| *b == b'.').all(|label| !label.is_empty()), "{text}");
    assert!(name.iter().all(|b| b.is_ascii_alphanumeric() || b".-".contains(b)), "{text}");
    assert!(port.is_none_or(|port| std::str::from_utf8(port).unwrap().parse::<u16>().is_ok()), "{text}");
    let lengths: Vec<u32> = values(Known::ContentLength)
        .iter()
        .map(|value| std::str::from_utf8(value).unwrap().parse().unwrap())
        .collect();
    assert!(lengths.len() <= 1, "{text}");
    assert_eq!(facts.content_length, lengths.first().copied().unwrap_or(0), "{text}");
    assert!(facts.content_length <= 1 << 30, "{text}");
    let has_body = matches!(methods[usize::from(facts.method)], b"POST" | b"PUT" | b"PATCH");
    assert!(if has_body { lengths.len() == 1 } else { facts.content_length == 0 }, "{text}");
    assert!(bytes.len() - usize::from(facts.head_len) <= facts.content_length as usize, "{text}");
    let options = values(Known::Connection);
    assert!(options.len() <= 1, "{text}");
    let close = options.first().is_some_and(|option| option.eq_ignore_ascii_case(b"close"));
    assert!(
        close || options.first().is_none_or(|option| option.eq_ignore_ascii_case(b"keep-alive")),
        "{text}"
    );
    let forwarding = fields.iter().any(|field| field.known.is_forwarding());
    let flags =
        if close { RequestFacts::CLOSE } else { 0 } | if forwarding { RequestFacts::FORWARDING } else { 0 };
    assert_eq!(facts.flags, flags, "{text}");
    for field in &fields {
        let passes = matches!(
            field.known,
            Known::Other
                | Known::Host
                | Known::ContentLength
                | Known::Connection
                | Known::Date
                | Known::Server
        );
        assert!(passes || field.known.is_forwarding(), "{:?} in {text}", field.known);
    }
    for (number, captured) in CAPTURED.iter().enumerate() {
        let is_it = |field: &&Field| field.name.of(bytes).eq_ignore_ascii_case(captured.as_bytes());
        let values: Vec<_> = fields.iter().filter(is_it).map(|field| field.value.of(bytes)).collect();
        assert_eq!(facts.captured & (1 << number) != 0, !values.is_empty(), "{text}");
        if let Some(value) = values.first() {
            assert_eq!((values.len(), part(bytes, facts.captures[number])), (1, *value), "{text}");
        }
    }
    true
}

#[test]
fn whatever_is_accepted_means_the_same_to_tier_3() {
    let accepted = AtomicU32::new(0);
    bolero::check!().with_type::<(Vec<u8>, [u16; 3])>().with_iterations(100_000).for_each(
        |(choices, faults)| {
            let request = together(REQUEST_PARTS, choices);
            let count = |is: bool| accepted.fetch_add(u32::from(is), Relaxed);
            count(check(&request));
            count(check(&spoil(&request, &faults[..1])));
            count(check(&spoil(&request, faults)));
            check(choices);
        },
    );
    assert!(
        accepted.load(Relaxed) > 20_000,
        "only {} were accepted: the parts do not make requests",
        accepted.load(Relaxed)
    );
}

#[test]
fn any_byte_in_any_place_of_ordinary_requests() {
    for request in ORDINARY.iter().take(11) {
        let request = request.as_bytes();
        for at in 0..request.len() {
            check(&request[..at]);
            for byte in (0..=255).step_by(if request.len() < 80 { 1 } else { 3 }) {
                let mut spoilt = request.to_vec();
                spoilt[at] = byte;
                check(&spoilt);
                spoilt.insert(at, request[at]);
                check(&spoilt);
            }
        }
    }
}
