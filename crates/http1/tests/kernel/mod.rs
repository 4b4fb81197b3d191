//! What the kernel tiers read is what Tier 3 reads. The fuzz targets in `fuzz/` call the same functions.
#![allow(dead_code, reason = "each user calls its part")]

use bytes::BytesMut;
use dataplane::request::{self, Names};
use dataplane::response::{self, chunks};
use http1::{Body, Framing, Limits, RequestHead, ResponseHead};
use wire::{Method, PAYLOAD_MAX, Payload, PayloadSpan, RequestFacts, ResponseFacts};

/// The one name that routes match on.
struct XApiVersion;

impl Names for XApiVersion {
    fn number(&self, name: &[u8; 32]) -> Option<u8> {
        (name == b"x-api-version\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").then_some(7)
    }
}

fn payload(data: &[u8]) -> (Box<Payload>, u32) {
    let mut payload = Box::new(Payload { bytes: [b'\n'; size_of::<Payload>()] });
    let len = data.len().min(PAYLOAD_MAX);
    payload.bytes[..len].copy_from_slice(&data[..len]);
    (payload, data.len() as u32)
}

fn part(data: &[u8], span: PayloadSpan) -> &[u8] {
    &data[usize::from(span.start)..][..usize::from(span.len)]
}

/// A request that the kernel decides: Tier 3 would have given the matcher the same. Returns whether it was decided.
pub(crate) fn kernel_request(data: &[u8]) -> bool {
    let (payload, len) = payload(data);
    let mut facts = RequestFacts::default();
    if request::scan(&payload, len, true, &XApiVersion, &mut facts).is_err() {
        return false;
    }
    let mut head = RequestHead::default();
    let mut buf = BytesMut::from(data);
    assert_eq!(head.parse(&mut buf, &Limits::default()), Ok(true), "{:?}", String::from_utf8_lossy(data));
    assert_eq!(head.bytes().len(), usize::from(facts.head_len));
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    assert_eq!(methods.get(usize::from(facts.method)), Some(&head.method()));
    assert_eq!(part(data, facts.path), head.path().as_bytes());
    assert_eq!(part(data, facts.host).to_ascii_lowercase(), head.host().as_bytes());
    assert!(head.query().is_none_or(|query| {
        data[usize::from(facts.path.start + facts.path.len + 1)..].starts_with(query.as_bytes())
    }));
    let length = match head.framing() {
        Framing::None => 0,
        Framing::Length(length) => length,
        other => panic!("{other:?} was decided: {:?}", String::from_utf8_lossy(data)),
    };
    assert_eq!(u64::from(facts.content_length), length);
    assert!(buf.len() as u64 <= length, "bytes behind the request");
    let has_body =
        [Method::Post, Method::Put, Method::Patch].iter().any(|method| *method as u8 == facts.method);
    assert!(has_body || length == 0);
    assert_eq!(facts.flags & RequestFacts::CLOSE == 0, head.keep_alive());
    assert_eq!(facts.flags & RequestFacts::FORWARDING != 0, head.has_forwarding_headers());
    assert!(!head.expects_continue() && head.upgrade().is_none());
    let values: Vec<_> = head.values("x-api-version").collect();
    match values[..] {
        [] => assert_eq!(facts.captured, 0),
        [value] => assert_eq!((facts.captured, part(data, facts.captures[7])), (1 << 7, value)),
        _ => panic!("twice: {:?}", String::from_utf8_lossy(data)),
    }
    true
}

/// A response that the kernel understands: Tier 3 frames it the same. Returns whether it was understood.
pub(crate) fn kernel_response(data: &[u8]) -> bool {
    let (payload, len) = payload(data);
    let mut facts = ResponseFacts::default();
    if response::scan(&payload, len, &mut facts).is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(data);
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(&mut BytesMut::from(data), &Limits::default()), Ok(true), "{text}");
    assert_eq!((head.status(), head.bytes().len()), (facts.status, usize::from(facts.head_len)), "{text}");
    let has_none = facts.status < 200 || matches!(facts.status, 204 | 304);
    let framing = match facts.flags & (ResponseFacts::LENGTH | ResponseFacts::CHUNKED) {
        _ if has_none => Framing::None,
        ResponseFacts::LENGTH => Framing::Length(facts.content_length),
        ResponseFacts::CHUNKED => Framing::Chunked,
        _ => Framing::UntilClose,
    };
    assert_eq!(head.framing("GET"), Ok(framing), "{text}");
    assert_eq!(head.framing("HEAD"), Ok(Framing::None), "{text}");
    assert!(facts.flags & ResponseFacts::CLOSE != 0 || head.keep_alive(), "{text}");
    assert_eq!(
        head.values("upgrade").next().is_some() || facts.status == 101,
        facts.flags & ResponseFacts::UPGRADE != 0
    );
    true
}

/// A chunked body whose end the kernel finds: Tier 3 finds it at the same byte. Returns whether it was found. The first byte says
/// in how large pieces the kernel gets it.
pub(crate) fn kernel_chunks(data: &[u8]) -> bool {
    let Some((first, data)) = data.split_first() else { return false };
    let segment = usize::from(*first) + 1;
    let mut walk = chunks::Chunks::default();
    let mut position = 0u64;
    let end = loop {
        if position >= data.len() as u64 {
            break None;
        }
        let at = position as usize;
        let in_segment = segment - at % segment;
        let len = in_segment.min(data.len() - at).min(chunks::PIECE_MAX);
        let mut piece = [b'\n'; chunks::PIECE_MAX];
        piece[..len].copy_from_slice(&data[at..at + len]);
        let fed = walk.feed(&piece, len as u32);
        position += u64::from(fed.consumed);
        match fed.next {
            chunks::Next::Framing => assert_eq!(fed.consumed as usize, len),
            chunks::Next::Data => position = position.saturating_add(walk.remaining),
            chunks::Next::End => break Some(position as usize),
            chunks::Next::Unknown => return false,
        }
    };
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let advanced = body.advance(data);
    assert!(advanced.is_ok(), "{advanced:?} of {:?}", String::from_utf8_lossy(data));
    assert_eq!(body.is_done(), end.is_some(), "{:?}", String::from_utf8_lossy(data));
    if let Some(end) = end {
        assert_eq!(advanced, Ok(end));
    }
    end.is_some()
}
