//! The kernel tiers and this codec read heads and chunks the same, wherever the kernel tiers decide.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "messages of tests are short")]

mod kernel;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use kernel::{kernel_chunks, kernel_request, kernel_response};

/// Parts for one place of a message, right ones first.
type Parts = &'static [&'static [u8]];

const REQUEST: &[Parts] = &[
    &[b"GET ", b"POST ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"HEAD ", b"PUT ", b"BREW "],
    &[b"/", b"/a/b?c=%2f", b"/api", b"/x.y?", b"//", b"*", b"http://a/"],
    &[b" HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"],
    &[b"Host: a\r\n", b"host:A.b:80\r\n", b"HOST: 10.0.0.1\r\n", b"Host: [::1]\r\n", b"Host: a.\r\n", b""],
    &[
        b"",
        b"X-Api-Version: 2\r\n",
        b"x-api-version:\r\n",
        b"X-Real-IP: 1\r\n",
        b"X-API-Version:  2 \r\n",
        b"a: b\r\n c\r\n",
    ],
    &[
        b"Content-Length: 3\r\n",
        b"",
        b"content-length:0\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 3,3\r\n",
    ],
    &[b"", b"", b"Connection: close\r\n", b"connection: Keep-Alive\r\n", b"Connection: x-api-version\r\n"],
    &[
        b"",
        b"",
        b"",
        b"X-Api-Version: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"X_Real_IP: 1\r\n",
    ],
    &[b"\r\n", b"\r\n", b"\r\n", b"\n", b""],
    &[b"abc", b"", b"", b"ab", b"abcd", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
];

const RESPONSE: &[Parts] = &[
    &[b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/1.2 "],
    &[
        b"200 OK\r\n",
        b"204\r\n",
        b"304 \r\n",
        b"100 Continue\r\n",
        b"101 S\r\n",
        b"502 B\xff\r\n",
        b"2000 OK\r\n",
    ],
    &[b"", b"Server: x\r\n", b"x_y: z\r\n", b"X : y\r\n"],
    &[
        b"Content-Length: 3\r\n",
        b"",
        b"Transfer-Encoding: chunked\r\n",
        b"content-length: 9223372036854775807\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ],
    &[b"", b"", b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"],
    &[
        b"",
        b"Connection: close\r\n",
        b"Connection: upgrade, Keep-Alive\r\nUpgrade: h2\r\n",
        b"Connection: x\r\n",
    ],
    &[b"\r\n", b"\r\n", b"\r\n", b"\n", b""],
    &[b"abc", b"", b"3\r\nabc\r\n0\r\n\r\n"],
];

const CHUNKS: Parts = &[
    b"0\r\n\r\n",
    b"1\r\nx\r\n",
    b"a\r\n0123456789\r\n",
    b"005\r\n0\r\n\r\n\r\n",
    b"0\r\n",
    b"1;a\r\nx\r\n",
    b"1",
    b"\r\n",
    b"X: y\r\n",
];

/// One part for each place; mostly one of the right ones.
fn together(places: &[Parts], choices: &[u8]) -> Vec<u8> {
    let choice = |index: usize| usize::from(choices.get(index).copied().unwrap_or(0));
    let pick = |choice: usize, parts: Parts| {
        parts[if !choice.is_multiple_of(4) { choice / 4 % 2 } else { choice / 4 % parts.len() }]
    };
    places.iter().enumerate().flat_map(|(index, parts)| pick(choice(index), parts).iter().copied()).collect()
}

/// Replaces one byte.
fn spoil(message: &[u8], fault: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    let at = usize::from(fault >> 3) % message.len().max(1);
    if let Some(byte) = message.get_mut(at) {
        *byte = b"\r\n \t:_,\x80"[usize::from(fault & 7)];
    }
    message
}

fn at_random(places: &'static [Parts], check: fn(&[u8]) -> bool, least: usize) {
    let decided = AtomicUsize::new(0);
    bolero::check!().with_type::<(Vec<u8>, u16)>().with_iterations(100_000).for_each(|(choices, fault)| {
        let message = together(places, choices);
        decided.fetch_add(usize::from(check(&message)), Relaxed);
        check(&spoil(&message, *fault));
        check(choices);
    });
    assert!(decided.load(Relaxed) > least, "only {} were decided", decided.load(Relaxed));
}

#[test]
fn requests() {
    at_random(REQUEST, kernel_request, 5_000);
}

#[test]
fn responses() {
    at_random(RESPONSE, kernel_response, 20_000);
}

#[test]
fn chunked_bodies() {
    let ended = AtomicUsize::new(0);
    bolero::check!().with_type::<(u8, Vec<u8>)>().with_iterations(100_000).for_each(|(segment, choices)| {
        let parts = choices.iter().flat_map(|n| CHUNKS[usize::from(*n) % CHUNKS.len()]).copied();
        let body: Vec<u8> = [*segment].into_iter().chain(parts).collect();
        ended.fetch_add(usize::from(kernel_chunks(&body)), Relaxed);
        kernel_chunks(choices);
    });
    assert!(ended.load(Relaxed) > 5_000, "only {} ended", ended.load(Relaxed));
}

#[test]
fn what_fuzzing_found_for_the_codec() {
    for (target, check) in [
        ("request_head", kernel_request as fn(&[u8]) -> bool),
        ("framing", kernel_request),
        ("response_head", kernel_response),
        ("chunked_body", kernel_chunks),
        ("kernel_request", kernel_request),
        ("kernel_response", kernel_response),
        ("kernel_chunks", kernel_chunks),
    ] {
        for bytes in corpus::inputs(target, 3) {
            check(&bytes);
        }
    }
}
