use std::net::Ipv6Addr;

/// The longest host: 253 characters of a DNS name and its trailing dot.
const HOST_BYTES_MAX: usize = 254;

/// `host [":" port]`, as it stands in Host and in an absolute-form target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// Without trailing dot and port; an IPv6 address keeps its brackets.
    pub(crate) host: &'a str,
    /// None if none was written.
    pub(crate) port: Option<u16>,
}

impl Authority<'_> {
    /// Whether both mean the same host and port of the scheme `http`.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port.unwrap_or(80) == other.port.unwrap_or(80)
    }
}

/// Reads an authority; `None` if it is none.
///
/// Narrower than RFC 3986 section 3.2: no userinfo; a name has letters, digits, `-`, `_`, `.` and `~`, no empty label
/// and no percent-encoding (two spellings of one host would be two routes); no IPvFuture and no zone; a port has
/// digits and fits 16 bits.
pub(crate) fn parse_authority(bytes: &[u8]) -> Option<Authority<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (host, port) = if text.starts_with('[') {
        let (address, rest) = text.split_once(']')?;
        address.strip_prefix('[')?.parse::<Ipv6Addr>().ok()?;
        let host = text.get(..address.len() + 1)?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        (parse_name(name)?, port)
    };
    let port = match port {
        None => None,
        Some(digits) => Some(parse_port(digits)?),
    };
    Some(Authority { host, port })
}

fn parse_name(name: &str) -> Option<&str> {
    if name.len() > HOST_BYTES_MAX {
        return None;
    }
    let mut before = b'.';
    for &byte in name.as_bytes() {
        match byte {
            b'.' if before == b'.' => return None,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => before = byte,
            _ => return None,
        }
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() { None } else { Some(name) }
}

fn parse_port(digits: &str) -> Option<u16> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
