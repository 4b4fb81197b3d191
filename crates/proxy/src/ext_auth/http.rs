//! Services that are asked by a request like the one that it is about.

use std::sync::Arc;

use bytes::BytesMut;
use policy::{HeadKind, header_refusal};

use super::{AUTHORIZATION, Asked, Denial, INCOMPLETE, Question};
use crate::capture::Answer;
use crate::changes::Changes;
use crate::reply::Refusal;

/// Headers that the gateway writes for the service itself, whatever a request says in them.
const OWN: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-method", "x-forwarded-uri"];
/// Headers of answers that are the gateway's own to write, beside those of framing and connections.
const NEVER_DOWN: [&str; 5] = ["date", "content-type", "trailer", "alt-svc", "strict-transport-security"];

/// A request with the same method, `prefix` before its path, and without its body.
///
/// # Errors
/// The path would leave the prefix where the service resolves it.
pub(super) fn question(asked: &Asked<'_>, prefix: &str) -> Result<Question, Refusal> {
    if !prefix.is_empty() && leads_up(asked.head.path()) {
        return Err((400, "a path with .. cannot be asked about behind extAuth.http.path"));
    }
    let (host, uri, method) = (asked.host(), asked.uri(), asked.head.method().as_bytes());
    let mut out = BytesMut::new();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[method, b" ", prefix.as_bytes(), encoded(&uri).as_bytes(), b" HTTP/1.1\r\n"]);
    let mut line = |name: &str, value: &[u8]| put(&[name.as_bytes(), b": ", value, b"\r\n"]);
    line("Host", host.as_bytes());
    if let Some(client) = asked.address() {
        line("X-Forwarded-For", client.to_string().as_bytes());
    }
    line("X-Forwarded-Proto", asked.client.scheme().as_bytes());
    line("X-Forwarded-Host", host.as_bytes());
    line("X-Forwarded-Method", method);
    line("X-Forwarded-Uri", uri.as_bytes());
    for (name, value) in asked.lines() {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let is_seen = is(AUTHORIZATION) || asked.sees.iter().any(|seen| is(seen));
        if is_seen && !is("host") && !OWN.iter().any(|own| is(own)) {
            line(name, value);
        }
    }
    put(&[b"Content-Length: 0\r\n\r\n"]);
    Ok(Question { head: out, body: Vec::new() })
}

/// Whether a segment of the path is `..`, however it is written: who decodes and resolves it comes out elsewhere.
fn leads_up(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    path.split(['/', '\\', ';']).any(|segment| segment == "..")
}

/// With what HTTP/2 does not take in a path (RFC 3986 section 3.3) percent-encoded.
pub(super) fn encoded(uri: &str) -> String {
    let mut out = String::with_capacity(uri.len());
    for char in uri.chars() {
        match char {
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '`' => out.push_str("%60"),
            '"' => out.push_str("%22"),
            char => out.push(char),
        }
    }
    out
}

/// None: it lets in, and says `to_backend` of the request. A no is one without its body, too.
///
/// # Errors
/// Nothing is known: why.
pub(super) fn verdict(
    answer: Answer,
    to_backend: &[Arc<str>],
    changes: &mut Changes,
) -> Result<Option<Denial>, &'static str> {
    if !(200..300).contains(&answer.head.status()) {
        return Ok(Some(denial(answer)));
    }
    if !answer.is_whole {
        return Err(INCOMPLETE);
    }
    for name in to_backend {
        for value in answer.head.values(name) {
            changes.lines_mut().add(name, value);
        }
    }
    Ok(None)
}

/// Whether an answer's header is the gateway's to write.
pub(super) fn is_ours(name: &str) -> bool {
    header_refusal(HeadKind::Response, name).is_some()
        || NEVER_DOWN.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// What a client gets of an answer that does not let it in: all but what belongs to the connection to the service.
fn denial(answer: Answer) -> Denial {
    let Answer { head, body, .. } = answer;
    let headers = head.headers().filter(|(name, _)| !is_ours(name));
    let content_type = head.values("content-type").next().unwrap_or(b"text/plain; charset=utf-8");
    Denial {
        status: head.status(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        content_type: String::from_utf8_lossy(content_type).into_owned(),
        body,
    }
}
