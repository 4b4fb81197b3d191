use dataplane::head::Known;

/// The head that a header is to be changed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// The request's, on its way to an endpoint.
    Request,
    /// The response's, on its way to the client.
    Response,
}

/// Why no filter may set, add or remove the header `name`; none: it may.
///
/// What frames a message or belongs to one connection is written by the gateway for each side (RFC 9112 sections 6 and
/// 9): a changed line would let two recipients read two messages.
pub fn header_refusal(kind: HeadKind, name: &str) -> Option<&'static str> {
    match (Known::of(name.as_bytes()), kind) {
        (Known::Host, HeadKind::Request) => {
            Some("is what the request is routed by: use a URLRewrite filter with a hostname")
        }
        (Known::ContentLength | Known::TransferEncoding, _) => {
            Some("frames the body: the gateway writes it from the body that it sends")
        }
        (
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::Upgrade
            | Known::Http2Settings,
            _,
        ) => Some("belongs to one connection: the gateway writes it for each side"),
        (Known::Expect, HeadKind::Request) => Some("is between the client and the one who reads the body"),
        (Known::Disguised, _) => Some("can pass for another header where `_` and `-` are the same: use `-`"),
        _ => None,
    }
}

/// Why `value` can be no header's value; none: it can (RFC 9110 section 5.5).
pub fn header_value_problem(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        Some("is empty")
    } else if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        Some("holds a control character, which could forge a line")
    } else {
        None
    }
}

/// Whether `value` reaches who reads the header as it is: it can be one, and no blanks stand at its ends, which belong to the line (RFC 9110
/// section 5.5). For names of people, who become somebody else without them.
pub fn is_header_value(value: &str) -> bool {
    header_value_problem(value).is_none() && value.trim_matches([' ', '\t']) == value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_or_connects_is_refused_in_any_case() {
        use HeadKind::{Request, Response};
        for name in
            ["content-LENGTH", "Transfer-Encoding", "Connection", "keep-alive", "TE", "Upgrade", "X_Real_IP"]
        {
            assert!(
                header_refusal(Request, name).is_some() && header_refusal(Response, name).is_some(),
                "{name}"
            );
        }
        for name in ["Host", "Expect"] {
            assert!(
                header_refusal(Request, name).is_some() && header_refusal(Response, name).is_none(),
                "{name}"
            );
        }
        for name in ["Authorization", "X-Forwarded-For", "Server", "Content-Type", "Hosts", "X_Mine"] {
            assert_eq!(header_refusal(Request, name).or(header_refusal(Response, name)), None, "{name}");
        }
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        assert_eq!(header_value_problem("a\tb ü"), None);
        for bad in ["", "a\r\nB: c", "a\0", "\x7f"] {
            assert!(header_value_problem(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn blanks_at_the_ends_of_a_value_are_lost_on_the_way() {
        assert!(is_header_value("anna b\tc"));
        for bad in [" anna", "anna ", "\tanna", "anna\t", " ", "", "a\nb"] {
            assert!(!is_header_value(bad), "{bad:?}");
        }
    }
}
