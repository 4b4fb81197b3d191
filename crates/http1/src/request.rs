use bytes::{Buf, BytesMut};
use dataplane::head::{HEAD_BYTES_MAX, HeadError, RequestScan, Span, Version, scan_request};
use memchr::memchr;

use crate::authority::parse_authority;
use crate::connection::{Connection, ConnectionError, read_connection};
use crate::framing::read_framing;
use crate::gate::Gate;
use crate::lines::Lines;
use crate::target::{Form, split_target};
use crate::{Framing, Limits, RequestError};

/// Longer than any registered method.
const METHOD_BYTES_MAX: usize = 32;

/// Memory that a head may keep from one message to the next.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// A request head: the bytes that came and where its parts are. Made to be used again for the next request, so that
/// it allocates nothing once it has grown.
///
/// It owns a copy of its bytes: for the usual few hundred this costs less than the shared ownership of a part of the
/// read buffer, which in turn can always be used again in place.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: Lines,
    pub(crate) scan: RequestScan,
    pub(crate) form: Form,
    path: Span,
    query: Option<Span>,
    target_authority: Option<Span>,
    /// Instead of the path that came; empty: none.
    other_path: String,
    /// Lower case, without port and trailing dot.
    host: String,
    framing: Option<Framing>,
    connection: Connection,
    gate: Gate,
}

impl RequestHead {
    /// Parses the head at the start of `buf`.
    ///
    /// `Ok(false)`: more bytes are needed, and `buf` is as it was; call again with the same bytes and more behind them.
    /// `Ok(true)`: the head is complete, correct, and gone from `buf`, which starts with the body now. Between the two
    /// the accessors are those of an empty head. Before bytes of another connection: [`RequestHead::clear`].
    ///
    /// # Errors
    /// [`RequestError`]: answer with its status, then close; nothing behind a refused head may be read as a request.
    pub fn parse(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<bool, RequestError> {
        let bytes_max = limits.head_bytes_max.min(HEAD_BYTES_MAX);
        if buf.is_empty() || !self.gate.opens(buf, bytes_max) {
            return Ok(false);
        }
        self.gate.reset();
        self.empty();
        self.lines.reset(limits.headers_max);
        let window = buf.get(..bytes_max).unwrap_or(buf);
        let scan = match scan_request(window, &mut self.lines) {
            Ok(Some(scan)) => scan,
            Ok(None) | Err(HeadError::TooLong) => {
                check_partial(buf, bytes_max, limits)?;
                self.gate.waits_at(buf.len());
                return Ok(false);
            }
            Err(HeadError::TooManyFields) => return Err(RequestError::TooManyHeaders),
            Err(error) => return Err(RequestError::Head(error)),
        };
        let head_len = usize::from(scan.head_len);
        self.bytes.extend_from_slice(buf.get(..head_len).unwrap_or_default());
        self.scan = scan;
        self.check(limits)?;
        buf.advance(head_len);
        Ok(true)
    }

    /// Forgets everything, also what it knows of an incomplete head; keeps the memory.
    pub fn clear(&mut self) {
        self.gate.reset();
        self.empty();
        self.lines.reset(0);
    }

    /// The method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &str {
        self.text(self.scan.method)
    }

    /// The request target, as sent.
    pub fn target(&self) -> &str {
        self.text(self.scan.target)
    }

    /// The path, not decoded: `/…`, or `*` of `OPTIONS *`. Without the query. As sent, or as [`RequestHead::set_path`] has it.
    pub fn path(&self) -> &str {
        if self.other_path.is_empty() { self.sent_path() } else { &self.other_path }
    }

    /// Puts `path` in the place of the one that came: it is what goes on.
    pub fn set_path(&mut self, path: String) {
        self.other_path = path;
    }

    /// The path that the endpoint is to get instead of the one that came.
    pub(crate) fn other_path(&self) -> Option<&str> {
        Some(&*self.other_path).filter(|path| !path.is_empty())
    }

    /// The path, as sent.
    pub fn sent_path(&self) -> &str {
        // RFC 9110 section 4.2.3: "an empty path component is equivalent to an absolute path of '/'".
        if self.path.len == 0 && self.form == Form::Absolute { "/" } else { self.text(self.path) }
    }

    /// What follows the first `?` of the target.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.scan.version
    }

    /// The host: lower case, without port and trailing dot, an IPv6 address in brackets; empty if an HTTP/1.0 request
    /// names none.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host and port as sent: the value of Host, or without one what an absolute-form target has.
    pub fn authority(&self) -> &str {
        let host = self.lines.host();
        match (host.count, self.target_authority) {
            (0, Some(span)) => self.text(span),
            _ => std::str::from_utf8(host.value(&self.bytes)).unwrap_or_default(),
        }
    }

    /// Names and values in their order, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter(&self.bytes)
    }

    /// Names and values of the header lines that are not for this connection alone (RFC 9110 section 7.6.1): without those that
    /// `Connection` names.
    pub fn headers_end_to_end(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter_end_to_end(&self.bytes)
    }

    /// The values of the header lines called `name`, which is compared without regard to case.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.values(name, &self.bytes)
    }

    /// How the body ends. A request has none unless a field says so (RFC 9112 section 6.3).
    pub fn framing(&self) -> Framing {
        self.framing.unwrap_or(Framing::None)
    }

    /// Whether the client wants to use the connection again (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        !self.connection.close && (self.scan.version == Version::Http11 || self.connection.keep_alive)
    }

    /// Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1: not in HTTP/1.0).
    pub fn expects_continue(&self) -> bool {
        self.lines.expect().count > 0 && self.scan.version == Version::Http11 && self.framing().has_body()
    }

    /// The protocol that the client asks to go on with, as sent (`websocket`).
    ///
    /// None unless the request has one `Upgrade` line of one protocol and `Connection: upgrade` in HTTP/1.1 (RFC 9110
    /// section 7.8). `h2c` is none: a tunnel would carry requests past the routes, and RFC 9113 section 3.1 dropped it.
    pub fn upgrade(&self) -> Option<&str> {
        let protocol = self.lines.upgraded(&self.bytes, self.connection.upgrade)?;
        let is_taken = self.scan.version == Version::Http11 && !protocol.eq_ignore_ascii_case("h2c");
        is_taken.then_some(protocol)
    }

    /// Whether it brings `Forwarded`, `X-Forwarded-…` or `X-Real-IP`.
    pub fn has_forwarding_headers(&self) -> bool {
        self.lines.has_forwarding()
    }

    /// The bytes that came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the target has a path of its own.
    pub(crate) fn has_path(&self) -> bool {
        self.path.len > 0
    }

    fn text(&self, span: Span) -> &str {
        // ASCII: the scanner let nothing else through.
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }

    fn empty(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.scan = RequestScan::default();
        self.form = Form::Origin;
        self.path = Span::default();
        self.query = None;
        self.target_authority = None;
        self.other_path.clear();
        self.host.clear();
        self.framing = None;
        self.connection = Connection::default();
    }

    fn check(&mut self, limits: &Limits) -> Result<(), RequestError> {
        if usize::from(self.scan.target.len) > limits.target_bytes_max {
            return Err(RequestError::TargetTooLong);
        }
        if usize::from(self.scan.method.len) > METHOD_BYTES_MAX {
            return Err(RequestError::MethodTooLong);
        }
        if self.scan.method.of(&self.bytes) == b"CONNECT" {
            return Err(RequestError::Connect);
        }
        self.check_host()?;
        self.framing =
            read_framing(&self.lines, &self.bytes, self.scan.version).map_err(RequestError::Framing)?;
        self.connection = read_connection(&mut self.lines, &self.bytes).map_err(|error| match error {
            ConnectionError::Bad => RequestError::BadConnection,
            ConnectionError::NamesProtected => RequestError::ConnectionNamesProtected,
        })?;
        self.check_expect()?;
        // RFC 1945 section 8.3: "A valid Content-Length is required on all HTTP/1.0 POST requests."
        let wants_body = matches!(self.scan.method.of(&self.bytes), b"POST" | b"PUT" | b"PATCH");
        if self.scan.version == Version::Http10 && wants_body && self.framing.is_none() {
            return Err(RequestError::NoLength);
        }
        Ok(())
    }

    /// Splits the target and makes sure that exactly one host is named.
    fn check_host(&mut self) -> Result<(), RequestError> {
        let text = std::str::from_utf8(self.scan.target.of(&self.bytes)).unwrap_or_default();
        let target = split_target(text, self.scan.method.of(&self.bytes))?;
        let place = |part: &str| within(self.scan.target, text, part);
        self.form = target.form;
        self.path = place(target.path);
        self.query = target.query.map(place);
        self.target_authority = target.authority.map(place);

        let from_target = match target.authority {
            Some(text) => Some(parse_authority(text.as_bytes()).ok_or(RequestError::BadHost)?),
            None => None,
        };
        let slot = self.lines.host();
        let from_host = match slot.count {
            0 if self.scan.version == Version::Http11 => return Err(RequestError::NoHost),
            0 => None,
            1 => Some(parse_authority(slot.value(&self.bytes)).ok_or(RequestError::BadHost)?),
            _ => return Err(RequestError::DuplicateHost),
        };
        if let (Some(target), Some(host)) = (&from_target, &from_host)
            && !target.same(host)
        {
            return Err(RequestError::HostMismatch);
        }
        if let Some(authority) = from_host.or(from_target) {
            self.host.push_str(authority.host);
            self.host.make_ascii_lowercase();
        }
        Ok(())
    }

    fn check_expect(&self) -> Result<(), RequestError> {
        let expect = self.lines.expect();
        match expect.count {
            0 => Ok(()),
            1 if expect.value(&self.bytes).eq_ignore_ascii_case(b"100-continue") => Ok(()),
            _ => Err(RequestError::Expectation),
        }
    }
}

/// Says of an incomplete head whether it can still become one within the limits.
fn check_partial(buf: &[u8], bytes_max: usize, limits: &Limits) -> Result<(), RequestError> {
    // The line without the target: method, two spaces, version, an empty line before.
    let line_max = limits.target_bytes_max + METHOD_BYTES_MAX + 12;
    if buf.len() > line_max && memchr(b'\n', buf.get(2..line_max).unwrap_or_default()).is_none() {
        return Err(RequestError::TargetTooLong);
    }
    if buf.len() >= bytes_max {
        return Err(RequestError::HeadTooLarge);
    }
    Ok(())
}

/// The span of `part`, a slice of `whole`, which is at `span`.
#[expect(clippy::cast_possible_truncation, reason = "the part lies within a span of 16 bits")]
fn within(span: Span, whole: &str, part: &str) -> Span {
    let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize).min(whole.len());
    Span { start: span.start + offset as u16, len: part.len() as u16 }
}
