//! Chunked bodies that two recipients could read differently, each beside neighbours that must pass.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use http1::{Body, BodyError, Framing, Limits, Piece};

fn limits() -> Limits {
    Limits::default()
}

/// Walks `bytes` as one chunked body: how many belong to it, and whether it ended.
fn walk(bytes: &[u8]) -> Result<(usize, bool), BodyError> {
    let mut body = Body::new(Framing::Chunked, &limits());
    body.advance(bytes).map(|n| (n, body.is_done()))
}

/// The payload of a chunked body.
fn payload(bytes: &[u8]) -> Vec<u8> {
    let mut body = Body::new(Framing::Chunked, &limits());
    let (mut at, mut data) = (0, Vec::new());
    loop {
        match body.next_piece(&bytes[at..]).unwrap() {
            Piece::Data(n) => {
                data.extend_from_slice(&bytes[at..at + n]);
                at += n;
            }
            Piece::Framing(n) | Piece::Trailer(n) => at += n,
            Piece::NeedMore => panic!("incomplete"),
            Piece::Done => return data,
        }
    }
}

#[test]
fn chunk_sizes_that_are_none() {
    let cases: &[&[u8]] = &[
        b"1_0\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1x\r\n",
        b" 1\r\n",
        b"\t1\r\n",
        b"\r\n",
        b"g\r\n",
        b"\x001\r\n",
        b"1\x00\r\n",
        b"1,\r\n",
        b"1\n",
        b"1\ra\r\n",
        b"1\r\r\n",
        b";a\r\n",
        b"8000000000000000\r\n",
        b"ffffffffffffffff\r\n",
        b"10000000000000000\r\n",
        b"00000000000000001\r\n",
        b"\xef\xbc\x91\r\n",
    ];
    for line in cases {
        assert_eq!(walk(line), Err(BodyError::ChunkSize), "{:?}", String::from_utf8_lossy(line));
        assert_eq!(
            walk(&[&b"1\r\na\r\n"[..], line].concat()),
            Err(BodyError::ChunkSize),
            "as second chunk: {line:?}"
        );
    }
    assert_eq!(walk(b"7fffffffffffffff\r\na"), Ok((19, false)));
    assert_eq!(
        payload(b"0000000000000001\r\na\r\nA\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n").len(),
        21
    );
}

#[test]
fn extensions_that_are_none() {
    let cases: &[&[u8]] = &[
        b"1;\r\n",
        b"1 \r\n",
        b"1;a;\r\n",
        b"1;;a\r\n",
        b"1;a=\r\n",
        b"1;=a\r\n",
        b"1;a b\r\n",
        b"1;a\n\r\n",
        b"1;a\r\r\n",
        b"1;a\rb\r\n",
        b"1;a\x00\r\n",
        b"1;a=\"b\r\n",
        b"1;a=\"b\n\"\r\n",
        b"1;a=\"b\rc\"\r\n",
        b"1;a=\"b\x00\"\r\n",
        b"1;a=\"b\\\"\r\n",
        b"1;a=\"b\\\x01\"\r\n",
        b"1;a=\"b\"c\r\n",
        b"1;a=\x7f\r\n",
        b"1;a=b\xe4\r\n",
        b"1 a\r\n",
        b"1;a\n",
    ];
    for line in cases {
        assert_eq!(walk(line), Err(BodyError::ChunkExtension), "{:?}", String::from_utf8_lossy(line));
    }
    for line in [
        &b"1;a\r\n"[..],
        b"1;a=b\r\n",
        b"1;a=b;c;d=\"e;f\\\"\xe4\t \"\r\n",
        b"1 ; a = b\r\n",
        b"1\t;a\r\n",
        b"1;a=\"\"\r\n",
        b"400;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
    ] {
        assert_eq!(walk(line), Ok((line.len(), false)), "{:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn data_ends_with_crlf_where_the_size_says() {
    for body in [
        &b"1\r\nab\r\n0\r\n\r\n"[..],
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na0\r\n\r\n",
        b"1\r\na\r0\r\n\r\n",
        b"1\r\na\r\r\n",
        b"5\r\nabcdefgh\r\n",
        b"2\r\na\r\n0\r\n\r\n",
    ] {
        assert_eq!(walk(body), Err(BodyError::ChunkDataEnd), "{:?}", String::from_utf8_lossy(body));
    }
    assert_eq!(walk(b"0\r\n\r\nGET / HTTP/1.1\r\n"), Ok((5, true)), "the next request is not of this body");
    assert_eq!(payload(b"3\r\n\r\n0\r\n0\r\n\r\n"), b"\r\n0");
}

#[test]
fn trailers_are_field_lines_that_steer_nothing() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
        "Expect",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Proxy",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Any",
        "X-Real-IP",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Cache-Control",
        "Range",
        "Max-Forwards",
        "Content_Length",
        "x_forwarded_for",
    ] {
        let body = format!("0\r\n{name}: 1\r\n\r\n");
        assert_eq!(walk(body.as_bytes()), Err(BodyError::ForbiddenTrailer), "{name}");
    }
    for line in [
        "X",
        "X : 1",
        " X: 1",
        "\tX: 1",
        ": 1",
        "X: 1\n",
        "X: 1\0",
        "X: 1\rY: 2",
        "X(: 1",
        "X: 1\r\n Y",
        "X\n",
    ] {
        let body = format!("0\r\n{line}\r\n\r\n");
        assert_eq!(walk(body.as_bytes()), Err(BodyError::Trailer), "{line:?}");
    }
    assert_eq!(walk(b"0\r\nX: 1\r\n\n"), Err(BodyError::Trailer));
    assert_eq!(walk(b"0\r\n\n"), Err(BodyError::Trailer));
    let body = b"1\r\na\r\n0;x\r\nDigest: x\r\ngrpc-status: 0\r\nmy_sum:\r\n\r\n";
    assert_eq!(walk(body), Ok((body.len(), true)));
    assert_eq!(payload(body), b"a");
}

#[test]
fn nothing_of_a_body_grows_without_end() {
    let long = |n: usize| "a".repeat(n);
    assert_eq!(walk(format!("1;{}", long(1023)).as_bytes()), Err(BodyError::ChunkLineTooLong));
    assert_eq!(walk(format!("1;{}", long(5000)).as_bytes()), Err(BodyError::ChunkLineTooLong));
    assert_eq!(walk(format!("1;{}\r\n", long(1020)).as_bytes()), Ok((1024, false)));

    let padded = format!("1;{}\r\na\r\n", long(999));
    assert_eq!(walk(padded.repeat(16).as_bytes()), Ok((16 * padded.len(), false)));
    assert_eq!(walk(padded.repeat(17).as_bytes()), Err(BodyError::ChunkExtensionsTooLarge));

    assert_eq!(walk(format!("0\r\nX: {}", long(5000)).as_bytes()), Err(BodyError::TrailersTooLarge));
    let trailer = format!("X: {}\r\n", long(1000));
    assert_eq!(walk(format!("0\r\n{}", trailer.repeat(16)).as_bytes()), Ok((3 + 16 * trailer.len(), false)));
    assert_eq!(walk(format!("0\r\n{}", trailer.repeat(17)).as_bytes()), Err(BodyError::TrailersTooLarge));
    assert_eq!(walk(format!("0\r\n{}", "X: 1\r\n".repeat(129)).as_bytes()), Err(BodyError::TrailersTooLarge));
}

#[test]
fn lengths_and_ends_of_connections() {
    let new = |framing| Body::new(framing, &limits());
    assert!(new(Framing::None).is_done() && new(Framing::Length(0)).is_done());
    assert_eq!(new(Framing::None).advance(b"GET"), Ok(0));

    let mut body = new(Framing::Length(5));
    assert_eq!((body.advance(b"abc"), body.is_done()), (Ok(3), false));
    assert_eq!(body.end_of_input(), Err(BodyError::Truncated));
    assert_eq!((body.advance(b"deGET"), body.is_done()), (Ok(2), true));
    assert_eq!(body.end_of_input(), Ok(()));

    let mut body = new(Framing::UntilClose);
    assert_eq!((body.advance(b"abc"), body.is_done()), (Ok(3), false));
    assert_eq!((body.end_of_input(), body.is_done()), (Ok(()), true));

    let mut body = new(Framing::Chunked);
    assert_eq!(body.advance(b"1\r\na\r\n0\r\n"), Ok(9));
    assert_eq!(body.end_of_input(), Err(BodyError::Truncated));
}

#[test]
fn chunks_that_we_make_are_read_back() {
    let mut out = bytes::BytesMut::new();
    let mut want = Vec::new();
    for len in [1, 9, 10, 15, 16, 255, 256, 4096, 70_000] {
        http1::write_chunk_header(&mut out, len);
        out.extend_from_slice(&vec![b'x'; len]);
        http1::write_chunk_end(&mut out);
        want.resize(want.len() + len, b'x');
    }
    http1::write_last_chunk(&mut out, b"");
    assert!(out.starts_with(b"1\r\nx\r\n9\r\n"));
    assert_eq!(payload(&out), want);
}

#[test]
fn more_payload_than_is_allowed_is_refused_where_it_is_announced() {
    let chunked = || Body::new(Framing::Chunked, &limits()).with_payload_max(5);
    let whole = b"3\r\nabc\r\n2;x=yyyyyyyyy\r\nde\r\n0\r\nA: bcdefg\r\n\r\n";
    assert_eq!(chunked().advance(whole), Ok(whole.len()));
    assert_eq!(chunked().advance(b"6\r\n"), Err(BodyError::TooLarge));
    let mut body = chunked();
    assert_eq!(body.advance(b"3\r\nabc\r\n"), Ok(8));
    assert_eq!(body.advance(b"3\r\n"), Err(BodyError::TooLarge), "before a byte of the chunk is let through");
    let mut body = Body::new(Framing::Length(5), &limits()).with_payload_max(5);
    assert_eq!((body.advance(b"ab"), body.advance(b"cdeGET")), (Ok(2), Ok(3)));
    let mut body = Body::new(Framing::Length(6), &limits()).with_payload_max(5);
    assert_eq!(body.advance(b"a"), Err(BodyError::TooLarge));
    let mut body = Body::new(Framing::UntilClose, &limits()).with_payload_max(5);
    assert_eq!((body.advance(b"abcde"), body.advance(b"f")), (Ok(5), Err(BodyError::TooLarge)));
    assert_eq!(BodyError::TooLarge.status(), 413);
}
