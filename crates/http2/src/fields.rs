//! Field sections between HTTP/1 text and HTTP/2 lists (RFC 9113 section 8.2).

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that speak of an HTTP/1 connection: no HTTP/2 message may have them (RFC 9113 section 8.2.2).
const OF_CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"];

/// Room for the fields of a usual head.
const FIELDS: usize = 12;

/// A field that no HTTP/2 message can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsendable;

/// Writes each field as a line. Values were checked by `http`: no CR, LF or NUL.
pub(crate) fn write_lines<'f>(
    out: &mut BytesMut,
    fields: impl Iterator<Item = (&'f HeaderName, &'f HeaderValue)>,
) {
    for (name, value) in fields {
        write_line(out, name.as_str(), value.as_bytes());
    }
}

pub(crate) fn write_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes the crumbs of a cookie as one line (RFC 9113 section 8.2.3).
pub(crate) fn write_cookie(out: &mut BytesMut, fields: &HeaderMap) {
    let mut crumbs = fields.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    out.put_slice(b"cookie: ");
    out.put_slice(first.as_bytes());
    for crumb in crumbs {
        out.put_slice(b"; ");
        out.put_slice(crumb.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// The lines of a head as a list, in lower case, less those that speak of the connection.
pub(crate) fn read_lines<'l>(
    lines: impl Iterator<Item = (&'l str, &'l [u8])>,
) -> Result<HeaderMap, Unsendable> {
    let mut fields = HeaderMap::with_capacity(FIELDS);
    for (name, value) in lines {
        if OF_CONNECTION.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unsendable)?;
        // RFC 9113 section 8.2.2: "[TE] MUST NOT contain any value other than 'trailers'".
        if name == header::TE {
            if value.eq_ignore_ascii_case(b"trailers") {
                // In the one spelling that `h2` sends.
                fields.insert(name, HeaderValue::from_static("trailers"));
            }
            continue;
        }
        fields.append(name, HeaderValue::from_bytes(value).map_err(|_| Unsendable)?);
    }
    Ok(fields)
}

/// Whether the body of a message with these fields is chunked in HTTP/1: no Content-Length says where it ends, or trailers may follow,
/// for which there is no other place (RFC 9112 section 7.1.2). gRPC always ends with trailers; others announce them (RFC 9110
/// section 6.6.2). `h2` compares the length with what comes.
pub(crate) fn chunks(fields: &HeaderMap) -> bool {
    match fields.get_all(header::CONTENT_LENGTH).iter().count() {
        0 => true,
        1 => is_grpc(fields) || fields.contains_key(header::TRAILER),
        // The codec refuses them.
        _ => false,
    }
}

/// Whether it is a message of gRPC.
pub(crate) fn is_grpc(fields: &HeaderMap) -> bool {
    http1::is_grpc(fields.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::as_bytes))
}

/// One trailer line with its line end, as the codec let it through.
pub(crate) fn read_trailer(line: &[u8], trailers: &mut HeaderMap) -> Result<(), Unsendable> {
    let colon = line.iter().position(|&b| b == b':').ok_or(Unsendable)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let name = HeaderName::from_bytes(name).map_err(|_| Unsendable)?;
    trailers.append(name, HeaderValue::from_bytes(value).map_err(|_| Unsendable)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_become_one_cookie() {
        let mut fields = HeaderMap::new();
        fields.append("cookie", "a=1".parse().unwrap());
        fields.append("cookie", "b=2".parse().unwrap());
        let mut out = BytesMut::new();
        write_cookie(&mut out, &fields);
        assert_eq!(&out[..], b"cookie: a=1; b=2\r\n");
    }

    #[test]
    fn a_body_that_trailers_may_follow_is_chunked_whatever_its_length() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let mut fields = HeaderMap::new();
            for (name, value) in lines {
                fields.append(*name, value.parse().unwrap());
            }
            chunks(&fields)
        };
        assert!(of(&[]) && !of(&[("content-length", "5")]));
        assert!(of(&[("content-length", "5"), ("content-type", "application/grpc+proto")]));
        assert!(of(&[("content-length", "5"), ("trailer", "x-sum")]));
        assert!(!of(&[("content-length", "5"), ("content-length", "5"), ("trailer", "x-sum")]));
    }

    #[test]
    fn fields_of_the_connection_stay_behind_and_names_are_lower_case() {
        let lines: [(&str, &[u8]); 5] = [
            ("Connection", b"close"),
            ("Transfer-Encoding", b"chunked"),
            ("X-Name", b"v"),
            ("TE", b"Trailers"),
            ("TE", b"gzip"),
        ];
        let fields = read_lines(lines.into_iter()).unwrap();
        let seen: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        assert_eq!(seen, [("x-name", &b"v"[..]), ("te", b"trailers")]);
    }

    #[test]
    fn a_trailer_line_is_taken_apart() {
        let mut trailers = HeaderMap::new();
        read_trailer(b"Grpc-Status:  0 \r\n", &mut trailers).unwrap();
        assert_eq!(trailers.get("grpc-status").unwrap(), "0");
        assert_eq!(read_trailer(b"no colon\r\n", &mut trailers), Err(Unsendable));
    }
}
