use super::bytes::{CR, HTAB, LF, SP, control_byte, target_end, token_end};
use super::{HeadError, Span, Stop, Version};

/// A request line; `end` is the offset behind its CRLF.
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version: Version,
    pub(super) end: usize,
}

/// A status line; `end` is the offset behind its CRLF.
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) reason: Span,
    pub(super) end: usize,
}

/// `request-line = method SP request-target SP HTTP-version` (RFC 9112 section 3), after at most one empty line (section
/// 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line").
#[inline]
pub(super) fn scan_request_line(bytes: &[u8]) -> Result<RequestLine, Stop> {
    let start = match peek(bytes, 0)? {
        CR | LF => line_end(bytes, 0)?,
        _ => 0,
    };
    let method_end = token_end(bytes, start);
    if peek(bytes, method_end)? != SP || method_end == start {
        return Err(Stop::Bad(HeadError::BadMethod));
    }
    let target_start = method_end + 1;
    let target_end = target_end(bytes, target_start);
    match peek(bytes, target_end)? {
        SP if target_end > target_start => {}
        // A request line without version is HTTP/0.9.
        CR if target_end > target_start => return Err(Stop::Bad(HeadError::BadVersion)),
        LF => return Err(Stop::Bad(HeadError::BareLf)),
        _ => return Err(Stop::Bad(HeadError::BadTarget)),
    }
    let (version, version_end) = scan_version(bytes, target_end + 1)?;
    match peek(bytes, version_end)? {
        CR | LF => {}
        _ => return Err(Stop::Bad(HeadError::BadVersion)),
    }
    let end = line_end(bytes, version_end)?;
    Ok(RequestLine {
        method: Span::new(start, method_end),
        target: Span::new(target_start, target_end),
        version,
        end,
    })
}

/// `status-line = HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 section 4).
#[inline]
pub(super) fn scan_status_line(bytes: &[u8]) -> Result<StatusLine, Stop> {
    let (version, at) = scan_version(bytes, 0)?;
    if peek(bytes, at)? != SP {
        return Err(Stop::Bad(HeadError::BadStatusLine));
    }
    let mut status = 0;
    for offset in 1..=3 {
        let digit = peek(bytes, at + offset)?;
        if !digit.is_ascii_digit() {
            return Err(Stop::Bad(HeadError::BadStatusLine));
        }
        status = status * 10 + u16::from(digit - b'0');
    }
    if status < 100 {
        return Err(Stop::Bad(HeadError::BadStatusLine));
    }
    let reason_start = match peek(bytes, at + 4)? {
        SP => at + 5,
        CR | LF => at + 4,
        _ => return Err(Stop::Bad(HeadError::BadStatusLine)),
    };
    let mut reason_end = control_byte(bytes, reason_start);
    while peek(bytes, reason_end)? == HTAB {
        reason_end = control_byte(bytes, reason_end + 1);
    }
    if !matches!(peek(bytes, reason_end)?, CR | LF) {
        return Err(Stop::Bad(HeadError::BadStatusLine));
    }
    let end = line_end(bytes, reason_end)?;
    Ok(StatusLine { version, status, reason: Span::new(reason_start, reason_end), end })
}

/// Steps over CRLF at `at`, where the caller has seen CR or LF.
#[inline]
pub(super) fn line_end(bytes: &[u8], at: usize) -> Result<usize, Stop> {
    if peek(bytes, at)? != CR {
        return Err(Stop::Bad(HeadError::BareLf));
    }
    if peek(bytes, at + 1)? != LF {
        return Err(Stop::Bad(HeadError::BareCr));
    }
    Ok(at + 2)
}

#[inline]
pub(super) fn peek(bytes: &[u8], at: usize) -> Result<u8, Stop> {
    bytes.get(at).copied().ok_or(Stop::More)
}

/// `HTTP-version = "HTTP" "/" DIGIT "." DIGIT`, case-sensitive (RFC 9112 section 2.3). Returns the offset behind it.
#[inline]
fn scan_version(bytes: &[u8], at: usize) -> Result<(Version, usize), Stop> {
    if bytes.get(at..at + 8) == Some(b"HTTP/1.1") {
        return Ok((Version::Http11, at + 8));
    }
    for (offset, want) in b"HTTP/0.0".iter().enumerate() {
        let is = peek(bytes, at + offset)?;
        let fits = if *want == b'0' { is.is_ascii_digit() } else { is == *want };
        if !fits {
            return Err(Stop::Bad(HeadError::BadVersion));
        }
    }
    match bytes.get(at + 5..at + 8) {
        Some(b"1.0") => Ok((Version::Http10, at + 8)),
        _ => Err(Stop::Bad(HeadError::UnsupportedVersion)),
    }
}
