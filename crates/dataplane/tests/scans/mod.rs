//! Requests and responses put together from parts, and the scans under test.
#![allow(dead_code, reason = "each test file uses its part")]

use dataplane::request::{self, Names, Undecidable};
use dataplane::response::{self, Unknown};
use wire::{PAYLOAD_MAX, Payload, PayloadSpan, RequestFacts, ResponseFacts};

/// The names that routes match on in these tests.
pub(crate) const CAPTURED: [&str; 3] = ["x-api-version", "a", "a-name-of-exactly-32-bytes-in-al"];

/// Numbers the names of [`CAPTURED`].
pub(crate) struct Captured;

impl Names for Captured {
    fn number(&self, name: &[u8; 32]) -> Option<u8> {
        CAPTURED
            .iter()
            .position(|captured| {
                let mut padded = [0; 32];
                let bytes = captured.as_bytes();
                padded[..bytes.len().min(32)].copy_from_slice(&bytes[..bytes.len().min(32)]);
                &padded == name
            })?
            .try_into()
            .ok()
    }
}

/// The bytes, and behind them what an earlier packet may have left: a request of its own, from any of its bytes on.
fn payload(bytes: &[u8], shift: usize) -> Box<Payload> {
    const STALE: &[u8; 62] = b"\r\n\r\nGET /stale HTTP/1.1\r\nHost: stale\r\nContent-Length: 5\r\n\r\n: 0";
    let bytes = bytes.get(..PAYLOAD_MAX).unwrap_or(bytes);
    let mut payload = Box::new(Payload { bytes: [0; size_of::<Payload>()] });
    payload.bytes[..bytes.len()].copy_from_slice(bytes);
    let stale = [&STALE[shift..], STALE, STALE].concat();
    let behind = &mut payload.bytes[bytes.len()..];
    let len = behind.len().min(stale.len());
    behind[..len].copy_from_slice(&stale[..len]);
    payload
}

/// What the scan says of a segment. It must not depend on what lies behind the segment.
pub(crate) fn scan_request(bytes: &[u8], captures: bool) -> Result<RequestFacts, Undecidable> {
    let len = bytes.len() as u32;
    let scan = |shift: usize| {
        let mut facts = RequestFacts { captured: shift as u32, flags: shift as u8, ..Default::default() };
        request::scan(&payload(bytes, shift), len, captures, &Captured, &mut facts).map(|()| facts)
    };
    let first = scan(0);
    for shift in [2, 25, 57] {
        assert_eq!(scan(shift), first, "of {:?}", String::from_utf8_lossy(bytes));
    }
    first
}

/// The same for responses.
pub(crate) fn scan_response(bytes: &[u8]) -> Result<ResponseFacts, Unknown> {
    let len = bytes.len().min(PAYLOAD_MAX) as u32;
    let scan = |shift: usize| {
        let mut facts = ResponseFacts { flags: shift as u16, status: shift as u16, ..Default::default() };
        response::scan(&payload(bytes, shift), len, &mut facts).map(|()| facts)
    };
    let first = scan(0);
    for shift in [2, 25, 57] {
        assert_eq!(scan(shift), first, "of {:?}", String::from_utf8_lossy(bytes));
    }
    first
}

/// The bytes that a span means.
pub(crate) fn part(bytes: &[u8], span: PayloadSpan) -> &[u8] {
    &bytes[usize::from(span.start)..][..usize::from(span.len)]
}

/// FNV-1a over 64 bits.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Parts for one place of a message: right ones, and others.
pub(crate) type Parts = (&'static [&'static [u8]], &'static [&'static [u8]]);

/// Parts that requests are made of.
pub(crate) const REQUEST_PARTS: &[Parts] = &[
    (
        &[b"GET ", b"GET ", b"HEAD ", b"OPTIONS ", b"DELETE ", b"POST ", b"PUT ", b"PATCH "],
        &[b"TRACE ", b"get ", b"\r\nGET ", b"GET  ", b"CONNECT "],
    ),
    (
        &[b"/", b"/a", b"/api/v2/users", b"/a?b=%2F", b"/a/b/c-d_e.f~g?x", b"/1234567/8?"],
        &[b"//", b"/./a", b"/%2e", b"*", b"http://a/", b"/a?b c", b"/?#", b"/\xff", b"/1234567/.."],
    ),
    (&[b" HTTP/1.1\r\n"], &[b" HTTP/1.0\r\n", b" HTTP/1.1\n", b"\r\n", b" HTTP/1.1 \r\n"]),
    (
        &[
            b"",
            b"Accept: */*\r\n",
            b"X-API-Version: 2\r\n",
            b"x-api-version:2\r\n",
            b"Cookie: a=b; c=d\r\n",
            b"X-Empty:\r\n",
            b"X-Forwarded-For: 1\r\n",
            b"A-Name-Of-Exactly-32-Bytes-In-Al: v\r\n",
        ],
        &[b"X_Y: z\r\n", b" folded\r\n", b"\r\n"],
    ),
    (
        &[b"Host: a\r\n", b"Host: a.example:80\r\n", b"host:10.0.0.1:8080\r\n", b"HOST: A-B.c\r\n"],
        &[
            b"Host: a.\r\n",
            b"Host: [::1]\r\n",
            b"Host: a\r\nHost: a\r\n",
            b"Host:\r\n",
            b"Host: a_b\r\n",
            b"Host: h:99999\r\n",
            b"",
        ],
    ),
    (
        &[
            b"",
            b"",
            b"User-Agent: some client/1.0 (of a kind)\r\n",
            b"X: J\xfcrgen \r\n",
            b"A: \r\n",
            b"A: 1\r\n",
        ],
        &[b"a:  x\r\n", b"X : y\r\n", b"X: a\tb\r\n", b"X: y\n", b"X\r\n", b": y\r\n", b"A: 1\r\na: 1\r\n"],
    ),
    (
        &[b"", b"Content-Length: 0\r\n", b"Content-Length: 3\r\n", b"content-length:00003\r\n"],
        &[
            b"Content-Length: 1073741824\r\n",
            b"Content-Length: 3\r\nContent-Length: 3\r\n",
            b"Content-Length: 3, 3\r\n",
            b"Content-Length: +3\r\n",
            b"Content_Length: 3\r\n",
        ],
    ),
    (
        &[b"", b"Connection: keep-alive\r\n", b"connection: Close\r\n"],
        &[
            b"Connection: upgrade\r\n",
            b"Connection: close, te\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Upgrade: h2c\r\n",
            b"Expect: 100-continue\r\n",
            b"TE: trailers\r\n",
            b"Proxy-Connection: close\r\n",
        ],
    ),
    (&[b"\r\n"], &[b"\n", b"", b"\r"]),
    (&[b"", b"", b"abc", b"ab"], &[b"abcd", b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"]),
];

/// Parts that responses are made of.
pub(crate) const RESPONSE_PARTS: &[Parts] = &[
    (
        &[b"HTTP/1.1 ", b"HTTP/1.0 "],
        &[b"HTTP/2.0 ", b"http/1.1 ", b"\r\nHTTP/1.1 ", b"HTTP/1.1", b"HTTP/1.1  "],
    ),
    (
        &[
            b"200 OK\r\n",
            b"204 No Content\r\n",
            b"304 \r\n",
            b"404\r\n",
            b"101 Switching Protocols\r\n",
            b"103 Early\xff\r\n",
            b"999 x\r\n",
        ],
        &[b"099 x\r\n", b"20 OK\r\n", b"2000\r\n", b"200 a\tb\r\n", b"200 OK\n", b"-20 OK\r\n", b"\r\n"],
    ),
    (
        &[
            b"",
            b"Server: x/1.0\r\n",
            b"Date: Sat, 21 Nov 2026 05:00:00 GMT\r\n",
            b"x_request_id: 7\r\n",
            b"Content-Security-Policy-Report-Only: x\r\n",
        ],
        &[b"X : y\r\n", b" folded\r\n", b"X!: y\r\n", b"\r\n"],
    ),
    (
        &[
            b"",
            b"Content-Length: 3\r\n",
            b"content-length:0\r\n",
            b"Content-Length: 9223372036854775807\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"transfer-encoding:CHUNKED\r\n",
        ],
        &[
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Content-Length: 3, 3\r\n",
            b"Content-Length: 9223372036854775808\r\n",
            b"Content-Length: 99999999999999999999\r\n",
        ],
    ),
    (&[b""], &[b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"content_length: 3\r\n"]),
    (
        &[
            b"",
            b"Connection: keep-alive\r\n",
            b"connection: CLOSE\r\n",
            b"Connection: Upgrade, Keep-Alive\r\n",
            b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        ],
        &[
            b"Connection: x\r\n",
            b"Connection: close\r\nConnection: keep-alive\r\n",
            b"Connection: keep-alive, close\r\n",
            b"Connection: upgrade, keep-alivE\r\n",
        ],
    ),
    (&[b"", b"ETag: \"a\"\r\n", b"Upgrade: websocket\r\n"], &[b"X: a\tb\r\n", b"X: y\n"]),
    (&[b"\r\n"], &[b"\n", b"", b"\r"]),
    (&[b"", b"abc", b"\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"], &[b"\0"]),
];

/// One part for each place, as `choices` say: one in 16 is another than a right one. Without a choice, the first.
pub(crate) fn together(places: &[Parts], choices: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for (index, (right, others)) in places.iter().enumerate() {
        let choice = choices.get(index).map_or(1, |choice| usize::from(*choice));
        let parts = if choice % 16 == 0 { others } else { right };
        message.extend_from_slice(parts[(choice / 16 + choice % 16) % parts.len()]);
    }
    message
}

/// Changes, adds or takes away one byte for each of `faults`.
pub(crate) fn spoil(bytes: &[u8], faults: &[u16]) -> Vec<u8> {
    const LIKELY: &[u8] = b"\r\n \t:\0,;_-./%?#aZ09\x7f\x80\xff";
    let mut bytes = bytes.to_vec();
    for fault in faults {
        let fault = usize::from(*fault);
        if bytes.is_empty() {
            break;
        }
        let at = fault % bytes.len();
        let byte = LIKELY[fault / 3 % LIKELY.len()];
        match fault % 3 {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}
