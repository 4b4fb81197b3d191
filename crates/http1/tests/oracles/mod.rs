//! What must hold for any bytes at all. The fuzz targets in `fuzz/` and the replay of their corpora call the same
//! functions; each panics where a rule is broken.
#![allow(dead_code, unused_imports, reason = "each user calls its part")]

mod edits;

use bytes::BytesMut;
use http1::{
    Body, BodyError, Edits, Framing, Known, Limits, Piece, RequestHead, ResponseEdits, ResponseHead, Version,
};

pub(crate) use edits::{chunks_written, header_edits};

/// One request as a recipient understood it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    method: String,
    path: String,
    query: Option<String>,
    host: String,
    body: Vec<u8>,
}

/// A request head: the same whether it comes whole or in pieces; what is written for the endpoint means the same and
/// is written the same again.
pub(crate) fn request_head(data: &[u8]) {
    let limits = Limits::default();
    let mut whole = RequestHead::default();
    let mut buf = BytesMut::from(data);
    let result = whole.parse(&mut buf, &limits);
    assert_eq!(buf.len() + whole.bytes().len() * usize::from(result == Ok(true)), data.len(), "no byte lost");

    let mut pieces = RequestHead::default();
    let mut grown = BytesMut::new();
    let mut later = Ok(false);
    for piece in split(data) {
        grown.extend_from_slice(piece);
        later = pieces.parse(&mut grown, &limits);
        if later != Ok(false) {
            break;
        }
    }
    if result == Ok(true) || later == Ok(true) {
        assert_eq!(later, result, "in pieces");
        assert_eq!(pieces.bytes(), whole.bytes());
    }
    if result == Ok(true) {
        assert_written_means_the_same(&whole);
    }
}

fn assert_written_means_the_same(head: &RequestHead) {
    let mut written = BytesMut::new();
    head.write_upstream(&mut written, &Edits::default());
    let first = written.clone();
    // HTTP/1.0 without Host is written with an empty one, which we would not take ourselves.
    if head.authority().is_empty() {
        return;
    }
    let mut again = RequestHead::default();
    let parsed = again.parse(&mut written, &Limits::default());
    assert_eq!((parsed, written.len()), (Ok(true), 0), "{:?}", String::from_utf8_lossy(&first));
    assert_eq!((again.method(), again.query(), again.host()), (head.method(), head.query(), head.host()));
    assert!(again.path() == head.path() || again.path() == "*", "{} became {}", head.path(), again.path());
    assert_eq!(again.framing(), head.framing());
    assert!(again.keep_alive());
    assert_eq!(again.upgrade(), None);
    let mut sent: Vec<_> = again.headers().collect();
    if head.values("host").next().is_none() {
        assert_eq!(sent.remove(0), ("Host", head.authority().as_bytes()));
    }
    assert_eq!(sent, end_to_end(head));
    let mut twice = BytesMut::new();
    again.write_upstream(&mut twice, &Edits::default());
    assert_eq!(twice, first, "written the same again");
}

/// The lines that an endpoint must see, in the plainest way (RFC 9110 section 7.6.1), with the two that are written anew.
fn end_to_end(head: &RequestHead) -> Vec<(&str, &[u8])> {
    let named: Vec<String> = head
        .values("connection")
        .flat_map(|value| value.split(|&b| b == b','))
        .map(|option| String::from_utf8_lossy(option).trim().to_ascii_lowercase())
        .collect();
    let mut lines = Vec::new();
    for (name, value) in head.headers() {
        let lower = name.to_ascii_lowercase();
        let dashed = lower.replace('_', "-");
        let steers = Known::of(dashed.as_bytes()) != Known::Other;
        let ends_here = match lower.as_str() {
            "te" => !value.eq_ignore_ascii_case(b"trailers"),
            "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "http2-settings" | "proxy" => {
                true
            }
            "expect" if head.version() == Version::Http10 => true,
            "host" | "content-length" => false,
            _ => lower.starts_with("proxy-") || (lower != dashed && steers) || named.contains(&lower),
        };
        if !ends_here {
            lines.push((name, value));
        }
    }
    let te = lines.iter().any(|(name, _)| name.eq_ignore_ascii_case("te"));
    if head.framing() == Framing::Chunked {
        lines.push(("Transfer-Encoding", &b"chunked"[..]));
    }
    if te {
        lines.push(("Connection", &b"te"[..]));
    }
    lines
}

/// A response head: the same whole or in pieces; what is written for the client is framed the same.
pub(crate) fn response_head(data: &[u8]) {
    let limits = Limits::default();
    let mut whole = ResponseHead::default();
    let result = whole.parse(&mut BytesMut::from(data), &limits);
    let mut pieces = ResponseHead::default();
    let mut grown = BytesMut::new();
    let mut later = Ok(false);
    for piece in split(data) {
        grown.extend_from_slice(piece);
        later = pieces.parse(&mut grown, &limits);
        if later != Ok(false) {
            break;
        }
    }
    if result == Ok(true) || later == Ok(true) {
        assert_eq!(later, result, "in pieces");
        assert_eq!(pieces.bytes(), whole.bytes());
    }
    if result != Ok(true) {
        return;
    }
    for method in ["GET", "HEAD"] {
        let Ok(framing) = whole.framing(method) else { continue };
        let mut written = BytesMut::new();
        whole.write_downstream(&mut written, &ResponseEdits::default());
        let first = written.clone();
        let mut again = ResponseHead::default();
        assert_eq!(again.parse(&mut written, &limits), Ok(true), "{:?}", String::from_utf8_lossy(&first));
        assert!(written.is_empty());
        assert_eq!((again.status(), again.framing(method)), (whole.status(), Ok(framing)));
        let mut twice = BytesMut::new();
        again.write_downstream(&mut twice, &ResponseEdits::default());
        assert_eq!(twice, first, "written the same again");
    }
}

/// A chunked body: the same whole or in pieces, and the payload that a plain decoder finds.
pub(crate) fn chunked_body(data: &[u8]) {
    let limits = Limits::default();
    let mut whole = Body::new(Framing::Chunked, &limits);
    let result = whole.advance(data);
    let in_pieces = feed(data, &limits);
    match (&result, &in_pieces) {
        (Ok(n), Ok((m, done))) => assert_eq!((*n, whole.is_done()), (*m, *done), "in pieces"),
        (Err(a), Err(b)) => assert_eq!(a, b),
        _ => panic!("whole {result:?}, in pieces {in_pieces:?}"),
    }
    let Ok(len) = result else { return };
    assert!(len <= data.len());
    if whole.is_done() {
        let (plain, plain_len) = plain_decode(data).expect("a body that we take is one");
        assert_eq!((payload(data), len), (plain, plain_len));
    }
}

/// Feeds a body in pieces, keeping what is not let through, as a proxy does.
fn feed(data: &[u8], limits: &Limits) -> Result<(usize, bool), BodyError> {
    let mut body = Body::new(Framing::Chunked, limits);
    let (mut held, mut total) = (Vec::new(), 0);
    for piece in split(data) {
        held.extend_from_slice(piece);
        let n = body.advance(&held)?;
        held.drain(..n);
        total += n;
    }
    Ok((total, body.is_done()))
}

fn payload(data: &[u8]) -> Vec<u8> {
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let (mut at, mut found) = (0, Vec::new());
    while let Ok(piece) = body.next_piece(&data[at..]) {
        match piece {
            Piece::Data(n) => {
                found.extend_from_slice(&data[at..at + n]);
                at += n;
            }
            Piece::Framing(n) | Piece::Trailer(n) => at += n,
            Piece::NeedMore | Piece::Done => break,
        }
    }
    found
}

/// Decodes a chunked body that is known to be well formed, in the plainest way: payload and length.
fn plain_decode(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |at: usize| data[at..].windows(2).position(|two| two == b"\r\n").map(|n| &data[at..at + n]);
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let head = line(at)?;
        let digits = std::str::from_utf8(head).map_or_else(
            |error| String::from_utf8_lossy(&head[..error.valid_up_to()]).into_owned(),
            str::to_owned,
        );
        let digits = digits.split([';', ' ', '\t']).next()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        at += head.len() + 2;
        if size == 0 {
            break;
        }
        found.extend_from_slice(data.get(at..at.checked_add(size)?)?);
        at += size + 2;
    }
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((found, at));
        }
    }
}

/// A whole connection: requests and their bodies one behind the other. The same requests are heard whole, in pieces,
/// and by an endpoint that reads what we would send it.
pub(crate) fn framing(data: &[u8]) {
    let (heard, sent) = listen(std::iter::once(data));
    let (in_pieces, sent_in_pieces) = listen(split(data));
    assert_eq!(heard, in_pieces, "in pieces");
    assert_eq!(sent, sent_in_pieces);
    if heard.iter().any(|request| request.host.is_empty()) {
        return;
    }
    let (by_endpoint, _) = listen(std::iter::once(&sent[..]));
    assert_eq!(heard.len(), by_endpoint.len(), "{:?}", String::from_utf8_lossy(&sent));
    for (ours, theirs) in heard.iter().zip(&by_endpoint) {
        assert_eq!(
            (&ours.method, &ours.query, &ours.host, &ours.body),
            (&theirs.method, &theirs.query, &theirs.host, &theirs.body)
        );
        assert!(ours.path == theirs.path || theirs.path == "*");
    }
}

/// Reads a connection until it ends, is refused or waits; returns the complete requests and what goes on for them.
fn listen<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Heard>, Vec<u8>) {
    let limits = Limits::default();
    let mut head = RequestHead::default();
    let mut buf = BytesMut::new();
    let mut current: Option<(Body, BytesMut, Vec<u8>)> = None;
    let (mut heard, mut sent) = (Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let Some((body, out, payload)) = &mut current else {
                match head.parse(&mut buf, &limits) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => return (heard, sent),
                }
                let mut out = BytesMut::new();
                head.write_upstream(&mut out, &Edits::default());
                current = Some((Body::new(head.framing(), &limits), out, Vec::new()));
                continue;
            };
            let taken = match body.next_piece(&buf) {
                Err(_) => return (heard, sent),
                Ok(Piece::NeedMore) => break,
                Ok(Piece::Framing(n) | Piece::Trailer(n)) => buf.split_to(n),
                Ok(Piece::Data(n)) => {
                    payload.extend_from_slice(&buf[..n]);
                    buf.split_to(n)
                }
                Ok(Piece::Done) => {
                    sent.extend_from_slice(out);
                    heard.push(Heard {
                        method: head.method().to_owned(),
                        path: head.path().to_owned(),
                        query: head.query().map(str::to_owned),
                        host: head.host().to_owned(),
                        body: std::mem::take(payload),
                    });
                    current = None;
                    if !head.keep_alive() {
                        return (heard, sent);
                    }
                    continue;
                }
            };
            out.extend_from_slice(&taken);
        }
    }
    (heard, sent)
}

/// Pieces of 1 to 16 bytes for short data, larger ones for long; where they end depends on the bytes, so that a fuzzer
/// moves the cuts.
fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let unit = 1 + data.len() / 1024;
    let mut rest = data;
    std::iter::from_fn(move || {
        let len = unit * (1 + usize::from(rest.first()? % 16));
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        Some(piece)
    })
}
