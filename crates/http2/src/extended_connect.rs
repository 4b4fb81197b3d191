//! CONNECT with `:protocol`, which is to HTTP/2 what `Upgrade` is to HTTP/1.1 (RFC 8441).

use std::hash::{BuildHasher, RandomState};

use bytes::BytesMut;
use h2::ext::Protocol;
use http::header::HeaderMap;
use http::{Method, request};

use crate::fields;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What such a request asks for.
pub(crate) struct ExtendedConnect<'p> {
    protocol: &'p str,
    /// `Sec-WebSocket-Key`, which HTTP/1.1 wants and HTTP/2 does not have (RFC 8441 section 5).
    needs_key: bool,
}

impl<'p> ExtendedConnect<'p> {
    /// None for any other request; also if the protocol is no token, which `h2` does not check: the request stays a CONNECT, and
    /// is refused as one.
    pub(crate) fn of(parts: &'p request::Parts) -> Option<Self> {
        let protocol = parts.extensions.get::<Protocol>()?.as_str();
        let is_token = !protocol.is_empty() && protocol.bytes().all(http1::is_token_byte);
        (parts.method == Method::CONNECT && is_token).then(|| Self {
            protocol,
            needs_key: protocol.eq_ignore_ascii_case("websocket")
                && !parts.headers.contains_key("sec-websocket-key"),
        })
    }

    /// Writes the lines that ask for the same in HTTP/1.1.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        fields::write_line(out, "connection", b"upgrade");
        fields::write_line(out, "upgrade", self.protocol.as_bytes());
        if self.needs_key {
            fields::write_line(out, "sec-websocket-key", &key());
        }
    }
}

/// Takes away what answers the key.
pub(crate) fn strip(response: &mut HeaderMap) {
    response.remove("sec-websocket-accept");
}

/// 16 random bytes in base64 (RFC 6455 section 4.1): they keep caches from answering, and hide nothing.
fn key() -> [u8; 24] {
    let half = |seed: u8| u128::from(RandomState::new().hash_one(seed));
    let random = half(0) << 64 | half(1);
    let mut text = [b'='; 24];
    // 22 digits of six bits; the last has four that are zero.
    for (at, digit) in text.iter_mut().take(22).enumerate() {
        let shifted = if at < 21 { random >> (122 - 6 * at) } else { random << 4 };
        *digit = BASE64[(shifted & 63) as usize];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, protocol: &str) -> request::Parts {
        let request = http::Request::builder().method(method).uri("http://a/b");
        request.extension(Protocol::from(protocol)).body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_token_of_a_connect_is_asked_for() {
        assert_eq!(ExtendedConnect::of(&parts("CONNECT", "websocket")).unwrap().protocol, "websocket");
        assert!(ExtendedConnect::of(&parts("GET", "websocket")).is_none());
        for forged in ["", "a b", "a\r\nx: y", "a,b", "\u{e9}"] {
            assert!(ExtendedConnect::of(&parts("CONNECT", forged)).is_none(), "{forged:?}");
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64_and_another_each_time() {
        let (a, b) = (key(), key());
        assert_ne!(a, b);
        assert_eq!(&a[22..], b"==");
        assert!(a[..22].iter().all(|digit| BASE64.contains(digit)));
        // Four bits of the last digit are beyond the sixteen bytes.
        assert!(b"AQgw".contains(&a[21]), "{}", a[21]);
    }
}
