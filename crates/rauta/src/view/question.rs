//! A request that somebody asks about, read from a URL.

use std::net::{IpAddr, Ipv6Addr};

use api::ExplainError;
use api::v1::{ExplainRequestRequest, Header, NewRequest};
use bytes::BytesMut;
use http1::{Limits, RequestError, RequestHead};

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// None was written.
    None,
    Http,
    Https,
}

/// A request: where it is sent, and what.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) scheme: Scheme,
    /// The address that is dialled; none if the URL has a name, or neither.
    pub(crate) address: Option<IpAddr>,
    /// The port that the URL names.
    pub(crate) port: Option<u16>,
    method: String,
    /// Path and query.
    target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Question {
    /// Reads `request`; without a method it is a GET.
    ///
    /// # Errors
    /// [`ExplainError`] if nobody could send it.
    pub(crate) fn read(request: &ExplainRequestRequest) -> Result<Self, ExplainError> {
        let url = request.url.as_str();
        let bad_url = || ExplainError::Url { url: url.to_owned() };
        if url.is_empty() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(bad_url());
        }
        let method = if request.method.is_empty() { "GET" } else { &request.method };
        if !is_token(method) {
            return Err(ExplainError::Method { method: method.to_owned() });
        }
        for header in &request.headers {
            if !is_token(&header.name) || header.value.contains(['\r', '\n', '\0']) {
                return Err(ExplainError::Header { name: header.name.clone() });
            }
        }
        if !request.client.is_empty() && request.client.parse::<IpAddr>().is_err() {
            return Err(ExplainError::Client { client: request.client.clone() });
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            // Of a bare path or name, what stands behind is the path's or the query's.
            Some((name, _)) if !name.contains(['/', '?', '#']) => return Err(bad_url()),
            _ => (Scheme::None, url),
        };
        let at = if rest == "*" { 0 } else { rest.find(['/', '?', '#']).unwrap_or(rest.len()) };
        let (authority, target) = rest.split_at(at);
        let target = target.split('#').next().unwrap_or_default();
        if authority.is_empty() && scheme != Scheme::None || authority.contains('@') {
            return Err(bad_url());
        }
        let (name, port) = split_port(authority).ok_or_else(bad_url)?;
        let mut headers: Vec<_> =
            request.headers.iter().map(|header| (header.name.clone(), trim(&header.value))).collect();
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        // Clients send one, and rules may look at it.
        if !has_host && !authority.is_empty() {
            headers.insert(0, ("Host".to_owned(), authority.to_owned()));
        }
        Ok(Self {
            scheme,
            address: name.trim_matches(['[', ']']).parse().ok(),
            port,
            method: method.to_owned(),
            target: encoded(if target.starts_with(['/', '*']) { "" } else { "/" }, target),
            headers,
        })
    }

    /// The same of a new connection's first request.
    ///
    /// # Errors
    /// As [`Question::read`].
    pub(crate) fn of_new(request: &NewRequest) -> Result<Self, ExplainError> {
        Self::read(&ExplainRequestRequest {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.clone(),
            client: String::new(),
        })
    }

    /// The head that a client would send, read as the gateway reads it. Without any host it is one of HTTP/1.0, which
    /// needs none.
    ///
    /// # Errors
    /// [`RequestError`] if the gateway refuses it.
    pub(crate) fn head(&self) -> Result<RequestHead, RequestError> {
        let mut head = RequestHead::default();
        head.parse(&mut BytesMut::from(self.text(None).as_str()), &Limits::default())?;
        Ok(head)
    }

    /// The same as it is sent; `host` is that of a request without one.
    pub(crate) fn text(&self, host: Option<&str>) -> String {
        let has_host = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.filter(|_| !has_host);
        let version = if has_host || host.is_some() { "1.1" } else { "1.0" };
        let mut text = format!("{} {} HTTP/{version}\r\n", self.method, self.target);
        for (name, value) in host.map(|host| ("Host", host)).into_iter().chain(self.fields()) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text
    }

    /// The same question of the listener at `vip`.
    pub(crate) fn at(&self, vip: &str, client: String) -> ExplainRequestRequest {
        let header = |(name, value): (&str, &str)| Header { name: name.to_owned(), value: value.to_owned() };
        ExplainRequestRequest {
            method: self.method.clone(),
            url: format!("http://{vip}{}", self.target),
            headers: self.fields().map(header).collect(),
            client,
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The target as clients send it: bytes beyond ASCII percent-encoded (RFC 3986 section 2.5).
fn encoded(start: &str, target: &str) -> String {
    target.bytes().fold(start.to_owned(), |mut out, byte| {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// `name:port`, `[::1]:port`, or without a port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = if authority.starts_with('[') {
        let (name, rest) = authority.split_at(authority.find(']')? + 1);
        name.get(1..name.len() - 1)?.parse::<Ipv6Addr>().ok()?;
        (name, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port)))
    };
    let is_number = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    match port {
        Some(port) if is_number(port) => Some((name, Some(port.parse().ok()?))),
        Some(_) => None,
        None => Some((name, None)),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Without the white space around a field value (RFC 9110 section 5.5).
fn trim(value: &str) -> String {
    value.trim_matches([' ', '\t']).to_owned()
}
