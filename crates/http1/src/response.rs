use bytes::{Buf, BytesMut};
use dataplane::head::{HEAD_BYTES_MAX, HeadError, ResponseScan, Version, scan_response};

use crate::connection::{Connection, read_connection};
use crate::framing::read_framing;
use crate::gate::Gate;
use crate::lines::Lines;
use crate::{Framing, Limits, ResponseError};

/// Memory that a head may keep from one message to the next.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// A response head: the bytes that came and where its parts are. Made to be used again for the next response.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: Lines,
    pub(crate) scan: ResponseScan,
    connection: Connection,
    gate: Gate,
}

impl ResponseHead {
    /// Parses the head at the start of `buf`; see [`crate::RequestHead::parse`] for what the result means.
    ///
    /// # Errors
    /// [`ResponseError`]: 502 to the client, and the endpoint's connection is not used again.
    pub fn parse(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<bool, ResponseError> {
        let bytes_max = limits.head_bytes_max.min(HEAD_BYTES_MAX);
        if buf.is_empty() || !self.gate.opens(buf, bytes_max) {
            return Ok(false);
        }
        self.gate.reset();
        self.empty();
        self.lines.reset(limits.headers_max);
        let window = buf.get(..bytes_max).unwrap_or(buf);
        let scan = match scan_response(window, &mut self.lines) {
            Ok(Some(scan)) => scan,
            Ok(None) | Err(HeadError::TooLong) if buf.len() >= bytes_max => {
                return Err(ResponseError::HeadTooLarge);
            }
            Ok(None) => {
                self.gate.waits_at(buf.len());
                return Ok(false);
            }
            Err(HeadError::TooManyFields) => return Err(ResponseError::TooManyHeaders),
            Err(error) => return Err(ResponseError::Head(error)),
        };
        let head_len = usize::from(scan.head_len);
        self.bytes.extend_from_slice(buf.get(..head_len).unwrap_or_default());
        self.scan = scan;
        self.connection =
            read_connection(&mut self.lines, &self.bytes).map_err(|_| ResponseError::BadConnection)?;
        buf.advance(head_len);
        Ok(true)
    }

    /// Forgets everything, also what it knows of an incomplete head; keeps the memory.
    pub fn clear(&mut self) {
        self.gate.reset();
        self.empty();
        self.lines.reset(0);
    }

    /// The status: 100 to 999.
    pub fn status(&self) -> u16 {
        self.scan.status
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.scan.version
    }

    /// Names and values in their order, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter(&self.bytes)
    }

    /// The values of the header lines called `name`, which is compared without regard to case.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.values(name, &self.bytes)
    }

    /// Whether the endpoint lets the connection be used again (RFC 9112 section 9.3). With [`Framing::UntilClose`] it
    /// cannot be, whatever this says.
    pub fn keep_alive(&self) -> bool {
        !self.connection.close && (self.scan.version == Version::Http11 || self.connection.keep_alive)
    }

    /// Whether another response to the same request follows: 1xx but 101.
    pub fn is_informational(&self) -> bool {
        self.scan.status < 200 && self.scan.status != 101
    }

    /// The protocol that the endpoint goes on with, as sent: of one `Upgrade` line of one protocol and `Connection: upgrade`
    /// (RFC 9110 section 7.8).
    pub fn upgrade(&self) -> Option<&str> {
        self.lines.upgraded(&self.bytes, self.connection.upgrade)
    }

    /// How the body ends: none for 1xx, 204, 304 and answers to HEAD, else as the fields say, else with the connection
    /// (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// [`ResponseError::Framing`], also where there is no body.
    pub fn framing(&self, request_method: &str) -> Result<Framing, ResponseError> {
        let framing =
            read_framing(&self.lines, &self.bytes, self.scan.version).map_err(ResponseError::Framing)?;
        if request_method == "HEAD" || self.scan.status < 200 || matches!(self.scan.status, 204 | 304) {
            return Ok(Framing::None);
        }
        Ok(framing.unwrap_or(Framing::UntilClose))
    }

    /// The bytes that came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn empty(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.scan = ResponseScan::default();
        self.connection = Connection::default();
    }
}
