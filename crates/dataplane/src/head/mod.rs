//! The one HTTP/1 head scanner of every tier.
//!
//! It finds the parts of a request or response head as spans of the bytes and refuses whatever two recipients might
//! read differently: bare LF, bare CR, folded lines, whitespace before the colon, control bytes (RFC 9112 sections
//! 2.2, 3, 4 and 5; RFC 9110 sections 5.1, 5.5 and 5.6.2). What the fields *mean* together (Host, framing) is decided by
//! the caller.
//!
//! Policy where the RFCs leave a choice: one empty line before a request is skipped, none before a response; `_` is
//! a token byte like any other and passes; bytes 0x80 to 0xff pass in values and reason phrases, nowhere else.

mod bytes;
mod error;
mod fields;
mod known;
mod start_line;

pub use bytes::is_token_byte;
pub use error::HeadError;
pub use known::Known;

use fields::scan_fields;
use start_line::{scan_request_line, scan_status_line};

/// The longest head in bytes: spans are 16 bits wide.
pub const HEAD_BYTES_MAX: usize = 65_535;

/// A part of the scanned bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it starts, in bytes from the start of the scanned slice.
    pub start: u16,
    /// How many bytes it has.
    pub len: u16,
}

impl Span {
    /// The bytes meant; empty if `bytes` is shorter than what was scanned.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        bytes.get(start..start + usize::from(self.len)).unwrap_or_default()
    }

    /// The offset just behind it.
    #[inline]
    pub fn end(self) -> usize {
        usize::from(self.start) + usize::from(self.len)
    }

    /// `from..to`, both at most [`HEAD_BYTES_MAX`]: the scanner never looks behind that.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the scanned slice is cut to HEAD_BYTES_MAX first")]
    fn new(from: usize, to: usize) -> Self {
        Self { start: from as u16, len: to.wrapping_sub(from) as u16 }
    }
}

/// One field line: `name: value`, the value without the whitespace around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The name as it came; at least one byte.
    pub name: Span,
    /// The value; may be empty.
    pub value: Span,
    /// Which of the names that steer a gateway it is.
    pub known: Known,
}

/// The versions that are spoken (RFC 9112 section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    #[default]
    Http11,
}

/// Takes field lines in the order they come.
pub trait FieldSink {
    /// Takes one; `false` if there is no room, which ends the scan with [`HeadError::TooManyFields`].
    fn push(&mut self, field: Field) -> bool;
}

impl<F: FnMut(Field) -> bool> FieldSink for F {
    #[inline]
    fn push(&mut self, field: Field) -> bool {
        self(field)
    }
}

/// A complete request head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestScan {
    /// A token.
    pub method: Span,
    /// Visible ASCII without `#`; its form is not looked at.
    pub target: Span,
    /// The version.
    pub version: Version,
    /// Where the first field line, or the closing empty line, starts.
    pub fields_start: u16,
    /// Length in bytes with the closing empty line, and with an empty line before the request line if there was one.
    pub head_len: u16,
}

/// A complete response head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseScan {
    /// The version.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Span,
    /// Where the first field line, or the closing empty line, starts.
    pub fields_start: u16,
    /// Length in bytes with the closing empty line.
    pub head_len: u16,
}

/// Scans the request head at the start of `bytes`; field lines go to `fields`.
///
/// `Ok(None)`: correct so far, but not complete (`fields` has what was seen). Bytes behind the head are not looked at.
///
/// # Errors
/// The first offence in the order of the bytes.
///
/// Cost: one pass, no allocation. Source: RFC 9112 sections 2 to 5.
#[inline]
pub fn scan_request<S: FieldSink>(bytes: &[u8], fields: &mut S) -> Result<Option<RequestScan>, HeadError> {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    finish(request(bytes, fields), bytes)
}

/// Scans the response head at the start of `bytes`; field lines go to `fields`.
///
/// `Ok(None)`: correct so far, but not complete (`fields` has what was seen). A missing space behind a status without
/// reason phrase is let pass, as many senders leave it out.
///
/// # Errors
/// The first offence in the order of the bytes.
///
/// Cost: one pass, no allocation. Source: RFC 9112 sections 2, 4 and 5.
#[inline]
pub fn scan_response<S: FieldSink>(bytes: &[u8], fields: &mut S) -> Result<Option<ResponseScan>, HeadError> {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    finish(response(bytes, fields), bytes)
}

/// Scans one field section (trailers): field lines up to and with the closing empty line. `Ok(Some(n))`: it is `n`
/// bytes long.
///
/// # Errors
/// The first offence in the order of the bytes.
///
/// Source: RFC 9112 section 7.1.2.
#[inline]
pub fn scan_field_section<S: FieldSink>(bytes: &[u8], fields: &mut S) -> Result<Option<u16>, HeadError> {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    finish(scan_fields(bytes, 0, fields).map(|end| Span::new(0, end).len), bytes)
}

/// Why a scan stopped before the end of the head.
enum Stop {
    /// The bytes ran out.
    More,
    /// They are wrong.
    Bad(HeadError),
}

fn finish<T>(scan: Result<T, Stop>, bytes: &[u8]) -> Result<Option<T>, HeadError> {
    match scan {
        Ok(scan) => Ok(Some(scan)),
        Err(Stop::More) if bytes.len() >= HEAD_BYTES_MAX => Err(HeadError::TooLong),
        Err(Stop::More) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

fn request<S: FieldSink>(bytes: &[u8], fields: &mut S) -> Result<RequestScan, Stop> {
    let line = scan_request_line(bytes)?;
    let end = scan_fields(bytes, line.end, fields)?;
    Ok(RequestScan {
        method: line.method,
        target: line.target,
        version: line.version,
        fields_start: Span::new(line.end, line.end).start,
        head_len: Span::new(0, end).len,
    })
}

fn response<S: FieldSink>(bytes: &[u8], fields: &mut S) -> Result<ResponseScan, Stop> {
    let line = scan_status_line(bytes)?;
    let end = scan_fields(bytes, line.end, fields)?;
    Ok(ResponseScan {
        version: line.version,
        status: line.status,
        reason: line.reason,
        fields_start: Span::new(line.end, line.end).start,
        head_len: Span::new(0, end).len,
    })
}
