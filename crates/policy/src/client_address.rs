use std::net::{IpAddr, SocketAddr};

/// The address that a request came from: that of its connection, unless a trusted proxy made it. Then it is the last
/// address of `X-Forwarded-For` that is no trusted proxy's: what stands before that one, anybody could have written.
///
/// `lines`: the values of `X-Forwarded-For`, in order. None: a trusted proxy names what is no address, such as `unknown`.
/// Where all are trusted, the first counts.
pub fn client_address<'h>(
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
    lines: impl IntoIterator<Item = &'h [u8]>,
) -> Option<IpAddr> {
    let mut address = peer.to_canonical();
    if !is_trusted(address) {
        return Some(address);
    }
    let lines: Vec<&[u8]> = lines.into_iter().collect();
    for element in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let element = element.trim_ascii();
        // RFC 9110 section 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements".
        if element.is_empty() {
            continue;
        }
        address = parse(element)?;
        if !is_trusted(address) {
            break;
        }
    }
    Some(address)
}

/// `192.0.2.1`, `2001:db8::1`, either with a port, brackets around the second.
fn parse(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> Option<String> {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let lines = lines.iter().map(|line| line.as_bytes());
        client_address(peer.parse().unwrap(), is_trusted, lines).map(|address| address.to_string())
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (peer, lines, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], Some("192.0.2.1")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("10.0.0.1", &["198.51.100.7"], Some("198.51.100.7")),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], Some("198.51.100.7")),
            // What the client wrote itself stands before what the proxy added.
            ("10.0.0.1", &["10.9.9.9, 198.51.100.7"], Some("198.51.100.7")),
            ("10.0.0.1", &["127.0.0.1, 198.51.100.7, 10.0.0.2"], Some("198.51.100.7")),
            ("10.0.0.1", &["127.0.0.1", "198.51.100.7", "10.0.0.2 ,10.0.0.3"], Some("198.51.100.7")),
            ("10.0.0.1", &["10.0.0.4, 10.0.0.5"], Some("10.0.0.4")),
            ("10.0.0.1", &["", "198.51.100.7, ,"], Some("198.51.100.7")),
            ("10.0.0.1", &["198.51.100.7:4711"], Some("198.51.100.7")),
            ("10.0.0.1", &["[2001:db8::1]:80"], Some("2001:db8::1")),
            ("10.0.0.1", &["[2001:db8::1]"], Some("2001:db8::1")),
            ("10.0.0.1", &["2001:db8::1"], Some("2001:db8::1")),
        ] {
            assert_eq!(client(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_nobodys() {
        for line in
            ["unknown", "198.51.100.7, unknown", "_hidden", "198.51.100.7, 10.0.0", "\u{e4}", "1.2.3.4:x"]
        {
            assert_eq!(client("10.0.0.1", &[line]), None, "{line}");
        }
        // But what stands before the address that counts does not.
        assert_eq!(client("10.0.0.1", &["unknown, 198.51.100.7"]).as_deref(), Some("198.51.100.7"));
    }
}
