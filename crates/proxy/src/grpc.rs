//! What the gateway's own refusals say to clients of gRPC.

use std::fmt::Write;

/// Header lines that make an answer one of gRPC without a body (Trailers-Only).
#[derive(Clone, Debug)]
pub(crate) struct GrpcLines {
    code: &'static str,
    message: String,
}

impl GrpcLines {
    /// For what HTTP calls `status`, 400 or more, because of `reason`.
    pub(crate) fn new(status: u16, reason: &str) -> Self {
        Self { code: code(status), message: percent_encoded(reason) }
    }

    /// Names and values.
    pub(crate) fn as_array(&self) -> [(&str, &[u8]); 3] {
        [
            ("Content-Type", b"application/grpc"),
            ("Grpc-Status", self.code.as_bytes()),
            ("Grpc-Message", self.message.as_bytes()),
        ]
    }
}

/// The code that stands for a status.
///
/// As gRPC's clients read an answer that is none of gRPC (grpc/grpc doc/http-grpc-status-mapping.md), but: a time limit that is over is a
/// deadline, and a backend that is not there (500) is UNAVAILABLE, as GRPCRoute's `backendRefs` wants it.
fn code(status: u16) -> &'static str {
    match status {
        400 => "13",                   // INTERNAL
        401 => "16",                   // UNAUTHENTICATED
        403 => "7",                    // PERMISSION_DENIED
        404 => "12",                   // UNIMPLEMENTED
        504 => "4",                    // DEADLINE_EXCEEDED
        429 | 500 | 502 | 503 => "14", // UNAVAILABLE
        _ => "2",                      // UNKNOWN
    }
}

/// Source: grpc/grpc doc/PROTOCOL-HTTP2.md, `Status-Message`: all but %x20-%x24 and %x26-%x7E is encoded.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_is_encoded_and_so_is_the_sign_itself() {
        assert_eq!(percent_encoded("no route"), "no route");
        assert_eq!(percent_encoded("100 % é\r\n\x7f~"), "100 %25 %C3%A9%0D%0A%7F~");
    }

    #[test]
    fn each_status_has_its_code() {
        let codes = [400, 401, 403, 404, 408, 413, 421, 429, 500, 501, 502, 503, 504].map(code);
        assert_eq!(codes, ["13", "16", "7", "12", "2", "2", "2", "14", "14", "2", "14", "14", "4"]);
    }
}
