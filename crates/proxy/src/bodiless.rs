//! Requests without the body of the one that they are about.

use bytes::{BufMut, BytesMut};
use http1::{Limits, RequestHead, Version};

/// Headers of a body, and of what may follow it.
const OF_BODIES: [&str; 5] = ["content-length", "transfer-encoding", "trailer", "expect", "upgrade"];
/// Methods that say how long their body is, even if there is none (RFC 9110 section 8.6).
const WITH_LENGTH: [&str; 3] = ["POST", "PUT", "PATCH"];

/// The request with this method for `target`, and with the headers of `head`, which keep what they mean for the connection, unless that
/// `ends` with the answer; none: it would be larger than requests may be.
pub(crate) fn bodiless(
    head: &RequestHead,
    method: &str,
    target: &str,
    ends: bool,
    limits: &Limits,
) -> Option<RequestHead> {
    let mut text = BytesMut::with_capacity(head.bytes().len() + 32);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| text.put_slice(part));
    let version: &[u8] = if head.version() == Version::Http10 { b"0" } else { b"1" };
    put(&[method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.", version, b"\r\n"]);
    // The target had it.
    if head.values("host").next().is_none() && !head.authority().is_empty() {
        put(&[b"Host: ", head.authority().as_bytes(), b"\r\n"]);
    }
    for (name, value) in head.headers() {
        if !OF_BODIES.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            put(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
    }
    if WITH_LENGTH.contains(&method) {
        put(&[b"Content-Length: 0\r\n"]);
    }
    if ends {
        put(&[b"Connection: close\r\n"]);
    }
    put(&[b"\r\n"]);
    let mut made = RequestHead::default();
    made.parse(&mut text, limits).ok()?.then_some(made)
}

/// What is asked for by a path and a query.
pub(crate) fn with_query(path: &str, query: Option<&str>) -> String {
    let query = query.filter(|query| !query.is_empty());
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        assert!(head.parse(&mut BytesMut::from(text), &Limits::default()).unwrap());
        head
    }

    #[test]
    fn the_body_goes_and_the_connection_stays_what_it_is() {
        let limits = Limits::default();
        let asked = head(
            "PUT /x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
             X-A: 1\r\n\r\n",
        );
        let made = bodiless(&asked, "GET", "/?q", false, &limits).unwrap();
        let text = "GET /?q HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nX-A: 1\r\n\r\n";
        assert_eq!(made.bytes(), text.as_bytes());
        assert!(!made.keep_alive() && !made.framing().has_body());
        let made = bodiless(&asked, asked.method(), "/x", false, &limits).unwrap();
        assert!(made.bytes().ends_with(b"X-A: 1\r\nContent-Length: 0\r\n\r\n"));
        let old = head("POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\n");
        let made = bodiless(&old, "POST", "/x", false, &limits).unwrap();
        assert_eq!(made.bytes(), b"POST /x HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        let kept =
            head("POST http://a.test:81/x HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(bodiless(&kept, "GET", "/", false, &limits).map(|made| made.keep_alive()), Some(true));
        let made = bodiless(&kept, "GET", "/", true, &limits).unwrap();
        let text = "GET / HTTP/1.0\r\nHost: a.test:81\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n";
        assert_eq!(made.bytes(), text.as_bytes());
        assert!(!made.keep_alive());
        let small = Limits { target_bytes_max: 4, ..limits };
        assert!(bodiless(&old, "GET", "/longer", false, &small).is_none());
    }
}
