use dataplane::head::{Version, is_token_byte};

use crate::FramingError;
use crate::lines::Lines;

/// Where the body of a message ends (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After so many bytes; below 2^63.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
    /// With the connection; responses only.
    UntilClose,
}

impl Framing {
    /// Whether bytes of a body may follow.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// Reads the framing fields, `None` if there are none.
///
/// Stricter than RFC 9112 section 6.3 where it lets a recipient repair: a list or a second line of equal lengths, and
/// a length beside an encoding, are refused.
pub(crate) fn read_framing(
    lines: &Lines,
    bytes: &[u8],
    version: Version,
) -> Result<Option<Framing>, FramingError> {
    let length = lines.content_length();
    let encoding = lines.transfer_encoding();
    if encoding.count == 0 {
        return match length.count {
            0 => Ok(None),
            1 => parse_length(length.value(bytes)).map(|n| Some(Framing::Length(n))),
            _ => Err(FramingError::DuplicateContentLength),
        };
    }
    if length.count > 0 {
        return Err(FramingError::LengthAndEncoding);
    }
    if version == Version::Http10 {
        return Err(FramingError::EncodingInHttp10);
    }
    if encoding.count > 1 {
        return Err(FramingError::BadTransferEncoding);
    }
    parse_encoding(encoding.value(bytes)).map(|()| Some(Framing::Chunked))
}

/// `Content-Length = 1*DIGIT` (RFC 9110 section 8.6), below 2^63 so that no recipient can read it as negative.
fn parse_length(value: &[u8]) -> Result<u64, FramingError> {
    // 19 digits hold every number below 2^63.
    if value.is_empty() || value.len() > 19 {
        return Err(FramingError::BadContentLength);
    }
    let mut length = 0u64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(FramingError::BadContentLength);
        }
        length = length.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
    }
    if length > u64::MAX / 2 { Err(FramingError::BadContentLength) } else { Ok(length) }
}

/// `chunked` and nothing else. A well-formed list of other codings is 501 (RFC 9112 section 6.1), the rest 400.
fn parse_encoding(value: &[u8]) -> Result<(), FramingError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let codings = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let mut chunked = 0;
    for coding in codings {
        if coding.is_empty() || !coding.iter().all(|&b| is_token_byte(b)) {
            return Err(FramingError::BadTransferEncoding);
        }
        chunked += u32::from(coding.eq_ignore_ascii_case(b"chunked"));
    }
    if chunked > 1 {
        Err(FramingError::BadTransferEncoding)
    } else {
        Err(FramingError::UnsupportedTransferEncoding)
    }
}
