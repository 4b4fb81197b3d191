//! Heads with the changes that a route asks for.

use bytes::BytesMut;
use http1::{Edits, LineEdits, RequestHead, ResponseEdits, ResponseHead, is_token_byte};
use policy::{HeadKind, header_refusal, header_value_problem};

use super::{Body, Framing, Limits, Piece, split};

type Lines = Vec<(String, Vec<u8>)>;

/// One change of a head.
enum Change<'a> {
    Remove(&'a str),
    Set(&'a str, &'a str),
    Add(&'a str, &'a str),
}

/// `q` (a request) or anything else (a response); changes, as `-NAME`, `=NAME` US `VALUE` or `+NAME` US `VALUE`, each with RS behind it; GS;
/// the head. Those that a manifest may have make of the head's lines what they say, and nothing else; the head stays one.
pub(crate) fn header_edits(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let Some(at) = rest.iter().position(|byte| *byte == 0x1d) else { return };
    let (said, head) = (&rest[..at], &rest[at + 1..]);
    let kind = if kind == b'q' { HeadKind::Request } else { HeadKind::Response };
    let changes: Vec<Change<'_>> =
        said.split(|byte| *byte == 0x1e).filter_map(|one| change(kind, one)).collect();
    let mut lines = LineEdits::default();
    for change in &changes {
        match change {
            Change::Remove(name) => lines.remove(name),
            Change::Set(name, value) => lines.set(name, value.as_bytes()),
            Change::Add(name, value) => lines.add(name, value.as_bytes()),
        }
    }
    match kind {
        HeadKind::Request => request(head, &lines, &changes),
        HeadKind::Response => response(head, &lines, &changes),
    }
}

/// A change, if the objects of a user may ask for it.
fn change(kind: HeadKind, said: &[u8]) -> Option<Change<'_>> {
    let (operation, rest) = std::str::from_utf8(said).ok()?.split_at_checked(1)?;
    let (name, value) = rest.split_once('\x1f').unwrap_or((rest, ""));
    if name.is_empty() || !name.bytes().all(is_token_byte) || header_refusal(kind, name).is_some() {
        return None;
    }
    let has_value = header_value_problem(value).is_none();
    match operation {
        "-" => Some(Change::Remove(name)),
        "=" if has_value => Some(Change::Set(name, value)),
        "+" if has_value => Some(Change::Add(name, value)),
        _ => None,
    }
}

fn request(data: &[u8], lines: &LineEdits, changes: &[Change<'_>]) {
    let mut head = RequestHead::default();
    let parsed = head.parse(&mut BytesMut::from(data), &Limits::default());
    // HTTP/1.0 without Host is written with an empty one, which we would not take ourselves.
    if parsed != Ok(true) || head.authority().is_empty() {
        return;
    }
    let own: [(&str, &[u8]); 2] = [("X-Forwarded-For", b"192.0.2.1"), ("X-Forwarded-Proto", b"http")];
    let written = |lines: Option<&LineEdits>| {
        let mut out = BytesMut::new();
        let edits =
            Edits { insert: &own, remove: &["x-forwarded-for", "forwarded"], lines, ..Default::default() };
        head.write_upstream(&mut out, &edits);
        let text = out.clone();
        let mut again = RequestHead::default();
        assert_eq!((again.parse(&mut out, &wide()), out.len()), (Ok(true), 0), "{text:?}");
        assert_eq!((again.method(), again.host()), (head.method(), head.host()), "{text:?}");
        assert_eq!((again.framing(), again.upgrade()), (head.framing(), None), "{text:?}");
        assert!(again.keep_alive(), "{text:?}");
        owned(again.headers())
    };
    assert_eq!(written(Some(lines)), changed(written(None), changes));
}

fn response(data: &[u8], lines: &LineEdits, changes: &[Change<'_>]) {
    let mut head = ResponseHead::default();
    if head.parse(&mut BytesMut::from(data), &Limits::default()) != Ok(true) {
        return;
    }
    let Ok(framing) = head.framing("GET") else { return };
    let written = |lines: Option<&LineEdits>| {
        let mut out = BytesMut::new();
        head.write_downstream(&mut out, &ResponseEdits { lines, ..Default::default() });
        let text = out.clone();
        let mut again = ResponseHead::default();
        assert_eq!((again.parse(&mut out, &wide()), out.len()), (Ok(true), 0), "{text:?}");
        assert_eq!((again.status(), again.framing("GET")), (head.status(), Ok(framing)), "{text:?}");
        owned(again.headers())
    };
    assert_eq!(written(Some(lines)), changed(written(None), changes));
}

/// The lines with the changes, one after the other, in the plainest way; what frames and connects stays last.
fn changed(lines: Lines, changes: &[Change<'_>]) -> Lines {
    let steers =
        |name: &str| ["transfer-encoding", "connection"].contains(&name.to_ascii_lowercase().as_str());
    let (last, mut lines): (Lines, Lines) = lines.into_iter().partition(|(name, _)| steers(name));
    for change in changes {
        if let Change::Remove(name) | Change::Set(name, _) = change {
            lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        }
        if let Change::Set(name, value) | Change::Add(name, value) = change {
            let value = value.trim_matches([' ', '\t']).as_bytes();
            lines.push(((*name).to_owned(), value.to_vec()));
        }
    }
    lines.extend(last);
    lines
}

fn owned<'a>(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Lines {
    lines.map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

/// Room for what is added.
fn wide() -> Limits {
    Limits { headers_max: 1000, ..Default::default() }
}

/// A payload, written in chunks: it is read again, whole or in pieces, up to its end and not further.
pub(crate) fn chunks_written(data: &[u8]) {
    let mut text = BytesMut::new();
    for piece in split(data) {
        http1::write_chunk_header(&mut text, piece.len());
        text.extend_from_slice(piece);
        http1::write_chunk_end(&mut text);
    }
    http1::write_last_chunk(&mut text, b"");
    let len = text.len();
    text.extend_from_slice(data);
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    assert_eq!((body.advance(&text), body.is_done()), (Ok(len), true));
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let (mut held, mut payload, mut total) = (Vec::new(), Vec::new(), 0);
    for piece in split(&text) {
        held.extend_from_slice(piece);
        let mut at = 0;
        loop {
            match body.next_piece(&held[at..]) {
                Ok(Piece::Data(n)) => {
                    payload.extend_from_slice(&held[at..at + n]);
                    at += n;
                }
                Ok(Piece::Framing(n) | Piece::Trailer(n)) => at += n,
                Ok(Piece::NeedMore | Piece::Done) => break,
                Err(error) => panic!("{error}"),
            }
        }
        held.drain(..at);
        total += at;
    }
    assert_eq!((total, body.is_done()), (len, true));
    assert!(payload == data, "another payload");
}
