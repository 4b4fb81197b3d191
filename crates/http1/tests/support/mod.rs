//! What the tables of attacks share.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::BytesMut;
use http1::{Edits, Limits, RequestHead, ResponseEdits, ResponseHead};

/// Parses a head that must be right and complete.
pub(crate) fn parse(head: &[u8]) -> RequestHead {
    let mut buf = BytesMut::from(head);
    let mut request = RequestHead::default();
    match request.parse(&mut buf, &Limits::default()) {
        Ok(true) if buf.is_empty() => request,
        other => panic!("{other:?}, {} bytes left of {:?}", buf.len(), String::from_utf8_lossy(head)),
    }
}

/// The status that refuses a head.
pub(crate) fn refused(head: &[u8]) -> u16 {
    let mut buf = BytesMut::from(head);
    match RequestHead::default().parse(&mut buf, &Limits::default()) {
        Err(error) => error.status(),
        Ok(complete) => panic!("taken ({complete}): {:?}", String::from_utf8_lossy(head)),
    }
}

/// What goes to the endpoint without edits.
pub(crate) fn upstream(request: &RequestHead) -> String {
    let mut out = BytesMut::new();
    request.write_upstream(&mut out, &Edits::default());
    String::from_utf8(out.to_vec()).unwrap()
}

/// Parses a response head that must be right and complete.
pub(crate) fn response(head: &[u8]) -> ResponseHead {
    let mut buf = BytesMut::from(head);
    let mut response = ResponseHead::default();
    match response.parse(&mut buf, &Limits::default()) {
        Ok(true) if buf.is_empty() => response,
        other => panic!("{other:?}, {} bytes left of {:?}", buf.len(), String::from_utf8_lossy(head)),
    }
}

/// What goes to the client.
pub(crate) fn downstream(response: &ResponseHead, edits: &ResponseEdits<'_>) -> String {
    let mut out = BytesMut::new();
    response.write_downstream(&mut out, edits);
    String::from_utf8(out.to_vec()).unwrap()
}
