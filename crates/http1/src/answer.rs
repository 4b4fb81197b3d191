use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use crate::LineEdits;
use crate::request_write::{write_connection, write_inserts};

/// A small answer of the gateway itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The status, 200 to 999.
    pub status: u16,
    /// The body; with no `content_type` plain text, to which a line end is added unless it is empty.
    pub body: &'a [u8],
    /// The value of `Content-Type` for a body that is sent as it is; none: plain text.
    pub content_type: Option<&'a str>,
    /// `Date` (RFC 9110 section 6.6.1), in the form of section 5.6.7.
    pub date: Option<&'a str>,
    /// More lines.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Lines to leave out, of `headers` too, and lines to write behind all others.
    pub lines: Option<&'a LineEdits>,
    /// The value of `Connection`: `close` if the connection ends with the answer.
    pub connection: Option<&'a str>,
    /// Leave the body out: the answer to HEAD.
    pub head_only: bool,
}

/// Writes a whole response, with Content-Length.
pub fn write_response(out: &mut BytesMut, answer: &Answer<'_>) {
    let adds_line_end = answer.content_type.is_none() && !answer.body.is_empty();
    let body_len = answer.body.len() + usize::from(adds_line_end);
    // Writing to a BytesMut cannot fail: it grows.
    let _ = write!(out, "HTTP/1.1 {} {}\r\n", answer.status, reason_phrase(answer.status));
    if let Some(date) = answer.date {
        write_inserts(out, &[("Date", date.as_bytes())], answer.lines);
    }
    write_inserts(out, answer.headers, answer.lines);
    if !matches!(answer.status, 204 | 304) {
        if body_len > 0 {
            let content_type = answer.content_type.unwrap_or("text/plain; charset=utf-8");
            write_inserts(out, &[("Content-Type", content_type.as_bytes())], answer.lines);
        }
        let _ = write!(out, "Content-Length: {body_len}\r\n");
    }
    if let Some(lines) = answer.lines {
        lines.write(out);
    }
    write_connection(out, answer.connection, false, false);
    out.put_slice(b"\r\n");
    if body_len > 0 && !answer.head_only && !matches!(answer.status, 204 | 304) {
        out.put_slice(answer.body);
        if adds_line_end {
            out.put_u8(b'\n');
        }
    }
}

/// The registered phrase of a status (RFC 9110 section 15), or that of its class.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => match status / 100 {
            1 => "Informational",
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}
