use bytes::{BufMut, BytesMut};
use dataplane::head::is_token_byte;
use memchr::memchr;

use crate::BodyError;

/// Digits of a chunk size; more than 16 would not fit 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

/// A chunk's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkLine {
    /// Bytes of data that follow; 0 is the last chunk.
    pub(crate) size: u64,
    /// Length of the line with CRLF.
    pub(crate) line_len: usize,
    /// Length of its extensions.
    pub(crate) extension_len: usize,
}

/// Writes the line before `len` bytes of data; `len` is not 0.
pub fn write_chunk_header(out: &mut BytesMut, len: usize) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut rest = len;
    loop {
        at -= 1;
        if let (Some(digit), Some(hex)) = (digits.get_mut(at), b"0123456789abcdef".get(rest & 15)) {
            *digit = *hex;
        }
        rest >>= 4;
        if rest == 0 || at == 0 {
            break;
        }
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

/// Writes what follows the data of a chunk.
pub fn write_chunk_end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

/// Writes the last chunk and the trailer section: lines as [`crate::Body`] let them through, or none.
pub fn write_last_chunk(out: &mut BytesMut, trailers: &[u8]) {
    out.put_slice(b"0\r\n");
    out.put_slice(trailers);
    out.put_slice(b"\r\n");
}

/// Reads the chunk line at the start of `buf`; `Ok(None)`: it is not complete.
///
/// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 section 7.1), the size as 1 to 16 digits below 2^63.
///
/// # Errors
/// [`BodyError::ChunkSize`], [`BodyError::ChunkExtension`], [`BodyError::ChunkLineTooLong`].
pub(crate) fn parse_chunk_line(buf: &[u8], line_bytes_max: usize) -> Result<Option<ChunkLine>, BodyError> {
    let mut size = 0u64;
    let mut digits = 0;
    while let Some(digit) = buf.get(digits).and_then(|&b| hex_value(b)) {
        digits += 1;
        if digits > SIZE_DIGITS_MAX {
            return Err(BodyError::ChunkSize);
        }
        size = (size << 4) | u64::from(digit);
    }
    if size > u64::MAX / 2 || (digits == 0 && !buf.is_empty()) {
        return Err(BodyError::ChunkSize);
    }
    let rest = buf.get(digits..).unwrap_or_default();
    match rest.first() {
        None => return Ok(None),
        Some(b'\r') => {
            return match rest.get(1) {
                None => Ok(None),
                Some(b'\n') => Ok(Some(ChunkLine { size, line_len: digits + 2, extension_len: 0 })),
                Some(_) => Err(BodyError::ChunkSize),
            };
        }
        Some(b';' | b' ' | b'\t') => {}
        Some(_) => return Err(BodyError::ChunkSize),
    }
    let window = rest.get(..line_bytes_max.saturating_sub(digits)).unwrap_or(rest);
    let Some(lf) = memchr(b'\n', window) else {
        return if window.len() < rest.len() { Err(BodyError::ChunkLineTooLong) } else { Ok(None) };
    };
    let extensions = window.get(..lf).and_then(|line| line.strip_suffix(b"\r"));
    let extensions = extensions.ok_or(BodyError::ChunkExtension)?;
    check_extensions(extensions)?;
    Ok(Some(ChunkLine { size, line_len: digits + lf + 1, extension_len: extensions.len() }))
}

fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` (RFC 9112 section 7.1.1), at least one.
fn check_extensions(text: &[u8]) -> Result<(), BodyError> {
    let mut rest = text;
    loop {
        rest = skip_blank(rest).strip_prefix(b";").ok_or(BodyError::ChunkExtension)?;
        rest = skip_token(skip_blank(rest))?;
        if let Some(value) = skip_blank(rest).strip_prefix(b"=") {
            let value = skip_blank(value);
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => skip_quoted(quoted)?,
                None => skip_token(value)?,
            };
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn skip_blank(text: &[u8]) -> &[u8] {
    let len = text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    text.get(len..).unwrap_or_default()
}

fn skip_token(text: &[u8]) -> Result<&[u8], BodyError> {
    let len = text.iter().take_while(|&&b| is_token_byte(b)).count();
    if len == 0 {
        return Err(BodyError::ChunkExtension);
    }
    Ok(text.get(len..).unwrap_or_default())
}

/// Steps over the rest of a quoted-string, its first quote gone (RFC 9110 section 5.6.4).
fn skip_quoted(text: &[u8]) -> Result<&[u8], BodyError> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return Ok(text.get(at + 1..).unwrap_or_default()),
            b'\\' => {
                if !text.get(at + 1).is_some_and(|&b| is_text_byte(b)) {
                    return Err(BodyError::ChunkExtension);
                }
                at += 2;
            }
            b if is_text_byte(b) => at += 1,
            _ => return Err(BodyError::ChunkExtension),
        }
    }
    Err(BodyError::ChunkExtension)
}

fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
