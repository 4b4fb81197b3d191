//! Services that are asked by a request for one URL, as ingress-nginx does by `auth_request` of nginx.
//!
//! Source: `buildAuthLocation` and the location of authentication in rootfs/etc/nginx/template/nginx.tmpl of ingress-nginx v1.15.1;
//! ngx_http_auth_request_module.

use std::fmt::Write;

use bytes::BytesMut;
use http1::is_alike;
use model::{Subrequest, UrlPiece};

use super::http::{self, encoded};
use super::{Asked, Denial, Question, TOO_LARGE};
use crate::capture::Answer;
use crate::changes::{Changes, Cookies};
use crate::reply::Refusal;

/// Headers that the gateway writes for the service itself, whatever a request says in them.
const OWN: [&str; 10] = [
    "host",
    "x-original-url",
    "x-original-method",
    "x-auth-request-redirect",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-uri",
];
/// Headers of a body, which the question has none of.
const OF_BODIES: [&str; 3] = ["content-length", "content-type", "expect"];
/// "If the subrequest returns a 2xx response code, the access is allowed. If it returns 401 or 403, the access is denied with the
/// corresponding error code. Any other response code returned by the subrequest is considered an error."
const NEITHER: &str = "the external authorization service answered neither 2xx nor 401 or 403";

/// A request for the URL, with the headers of the one that it is about.
///
/// # Errors
/// It gets longer than heads may be.
pub(super) fn question(asked: &Asked<'_>, said: &Subrequest) -> Result<Question, Refusal> {
    let most = asked.worker.config().limits.head_bytes_max;
    let (host, uri, method) = (asked.host(), asked.uri(), asked.head.method());
    let mut out = BytesMut::new();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[said.method.as_bytes(), b" ", said.target.as_bytes(), b" HTTP/1.1\r\n"]);
    // What is said for the service stands in the place of what anybody else says.
    let is_said =
        |name: &str| said.headers.iter().any(|(said, _)| is_alike(name.as_bytes(), said.as_bytes()));
    let mut line = |name: &str, value: &[u8]| {
        if !is_said(name) {
            put(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
    };
    line("Host", said.host.as_bytes());
    let scheme = asked.client.scheme();
    line("X-Original-URL", format!("{scheme}://{host}{uri}").as_bytes());
    line("X-Original-Method", method.as_bytes());
    let redirect = match said.redirect.is_empty() {
        true => None,
        false => Some(written(&said.redirect, asked, most).ok_or(TOO_LARGE)?),
    };
    line("X-Auth-Request-Redirect", redirect.as_ref().unwrap_or(&uri).as_bytes());
    if let Some(client) = asked.address() {
        let client = client.to_string();
        line("X-Real-IP", client.as_bytes());
        line("X-Forwarded-For", client.as_bytes());
    }
    line("X-Forwarded-Proto", scheme.as_bytes());
    line("X-Forwarded-Host", host.as_bytes());
    line("X-Forwarded-Method", method.as_bytes());
    line("X-Forwarded-Uri", uri.as_bytes());
    for (name, value) in asked.lines() {
        if !OWN.iter().chain(&OF_BODIES).any(|other| is_alike(name.as_bytes(), other.as_bytes())) {
            line(name, value);
        }
    }
    for (name, value) in said.headers.iter().filter(|(_, value)| !value.is_empty()) {
        let room = most.saturating_sub(out.len());
        let value = written(value, asked, room).ok_or(TOO_LARGE)?;
        [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]
            .iter()
            .for_each(|part| out.extend_from_slice(part));
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Ok(Question { head: out, body: Vec::new() })
}

/// Where the client is sent if the service wants to know who it is; none: nowhere, or it takes more bytes than a head may have.
pub(super) fn sign_in(asked: &Asked<'_>, said: &Subrequest) -> Option<String> {
    let most = asked.worker.config().limits.head_bytes_max;
    (!said.sign_in.is_empty()).then(|| written(&said.sign_in, asked, most)).flatten()
}

/// What the pieces say of this request; none: more than `most` bytes.
fn written(pieces: &[UrlPiece], asked: &Asked<'_>, most: usize) -> Option<String> {
    let (authority, uri) = (asked.host(), asked.uri());
    let mut out = String::new();
    for piece in pieces {
        match piece {
            UrlPiece::Text(text) => out.push_str(text),
            UrlPiece::Scheme => out.push_str(asked.client.scheme()),
            UrlPiece::Host => out.push_str(without_port(&authority)),
            UrlPiece::Authority => out.push_str(&authority),
            UrlPiece::Uri => out.push_str(&encoded(&uri)),
            UrlPiece::EscapedUri => escape(&uri, &mut out),
        }
        // As it grows: what clients send is in it as often as somebody wrote.
        if out.len() > most {
            return None;
        }
    }
    Some(out)
}

/// None: it lets in, and says of the request what endpoints get, and which cookies the client does.
///
/// # Errors
/// Nothing is known: why.
pub(super) fn verdict(
    answer: Answer,
    sign_in: Option<String>,
    said: &Subrequest,
    changes: &mut Changes,
) -> Result<Option<Denial>, &'static str> {
    match (answer.head.status(), sign_in) {
        (401, Some(url)) => Ok(Some(to_sign_in(&answer, url))),
        (200..=299, _) => {
            let values: Vec<_> = answer.head.values("set-cookie").map(<[u8]>::to_vec).collect();
            let verdict = http::verdict(answer, &said.headers_to_backend, changes)?;
            if !values.is_empty() {
                changes.set_cookies(Cookies { values, always: said.always_sets_cookies });
            }
            Ok(verdict)
        }
        (401 | 403, _) => http::verdict(answer, &[], changes),
        _ => Err(NEITHER),
    }
}

/// 302, with the cookies of the answer.
fn to_sign_in(answer: &Answer, url: String) -> Denial {
    let cookies = answer.head.values("set-cookie").map(|value| ("set-cookie".to_owned(), value.to_vec()));
    let location = ("location".to_owned(), url.into_bytes());
    Denial {
        status: 302,
        headers: std::iter::once(location).chain(cookies).collect(),
        content_type: "text/plain; charset=utf-8".to_owned(),
        body: Vec::new(),
    }
}

fn without_port(authority: &str) -> &str {
    // The colons of an IPv6 address are within brackets.
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// RFC 3986 section 2.3: all but unreserved characters are percent-encoded.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_parameters_are_parts_of_urls() {
        for (authority, host) in
            [("a.test", "a.test"), ("a.test:80", "a.test"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(without_port(authority), host);
        }
        let mut out = String::new();
        escape("/a b?c=d&\u{e9}-_.~", &mut out);
        assert_eq!(out, "%2Fa%20b%3Fc%3Dd%26%C3%A9-_.~");
    }
}
