//! Values of settings as people write them, in the file, in the environment and in flags alike.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use addresses::AddressRange;
use ipnet::IpNet;
use translate::DefaultListener;

use super::PortRange;

/// What a value should have looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("should be {0}")]
pub(crate) struct Expected(pub(crate) &'static str);

/// `:8080`, `8080`, `10.0.0.1:8080`, `[::1]:8080`; a bare port means all addresses.
pub(crate) fn listen(text: &str) -> Result<DefaultListener, Expected> {
    let expected = Expected("an address such as :8080, 10.0.0.1:8080 or [::1]:8080");
    let (addresses, port) = if let Ok(address) = text.parse::<SocketAddr>() {
        let all = address.ip().is_unspecified();
        (if all { vec![] } else { vec![address.ip()] }, address.port())
    } else {
        let port = text.strip_prefix("*:").or(text.strip_prefix(':')).unwrap_or(text);
        (vec![], port.parse().map_err(|_| expected)?)
    };
    if port == 0 { Err(expected) } else { Ok(DefaultListener { addresses, port }) }
}

/// An address to bind, or `off`. A bare port means `host`.
pub(crate) fn address_or_off(text: &str, host: IpAddr) -> Result<Option<SocketAddr>, Expected> {
    if text == "off" {
        return Ok(None);
    }
    let port = text.strip_prefix(':').unwrap_or(text);
    let bare = port.parse().map(|port| SocketAddr::new(host, port));
    text.parse().or(bare).map(Some).map_err(|_| Expected("an address such as 127.0.0.1:9901, a port, or off"))
}

/// The address that stands for all IPv4 addresses.
pub(crate) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The IPv4 loopback address.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// `30s`, `500ms`, `5m`, `1h`, or several as `1m30s`. A bare number is refused: its unit would be a guess.
pub(crate) fn duration(text: &str) -> Result<Duration, Expected> {
    let expected = Expected("a duration such as 500ms, 30s or 5m, above zero");
    let mut total_ms: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(expected),
        };
        let number: u64 = number.parse().map_err(|_| expected)?;
        let part = number.checked_mul(unit_ms).ok_or(expected)?;
        total_ms = total_ms.checked_add(part).ok_or(expected)?;
        rest = after;
    }
    if total_ms == 0 { Err(expected) } else { Ok(Duration::from_millis(total_ms)) }
}

/// The duration in the shortest exact form that [`duration`] reads.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if !ms.is_multiple_of(1_000) => format!("{ms}ms"),
        _ if !ms.is_multiple_of(60_000) => format!("{}s", ms / 1_000),
        _ if !ms.is_multiple_of(3_600_000) => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

/// Ports as `10240-32767`: at least 1024 of them, so that one is not used again too soon; the well-known ones are others'.
pub(crate) fn ports(text: &str) -> Result<PortRange, Expected> {
    let expected = Expected("a range of at least 1024 ports from 1024 up, such as 10240-32767");
    let (first, last) = text.split_once('-').ok_or(expected)?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| expected);
    let range = PortRange { first: port(first)?, last: port(last)? };
    let is_wide = range.last.checked_sub(range.first).is_some_and(|ports| ports >= 1023);
    if is_wide && range.first >= 1024 { Ok(range) } else { Err(expected) }
}

/// Bytes: `65536`, `64KiB`, `1MiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, Expected> {
    let expected = Expected("a size in bytes such as 16384 or 16KiB, above zero");
    let (number, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(number), _) => (number, 1 << 10),
        (_, Some(number)) => (number, 1 << 20),
        _ => (text, 1),
    };
    let number: usize = number.trim_end().parse().map_err(|_| expected)?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or(expected)
}

/// The size in the shortest exact form that [`bytes`] reads.
pub(crate) fn show_bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// A count of at least one.
pub(crate) fn count(text: &str) -> Result<usize, Expected> {
    text.parse().ok().filter(|count| *count > 0).ok_or(Expected("a whole number above zero"))
}

/// `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, Expected> {
    text.parse().map_err(|_| Expected("true or false"))
}

/// A network such as `10.0.0.0/8`, or one address.
pub(crate) fn address(text: &str) -> Result<IpAddr, Expected> {
    text.parse().map_err(|_| Expected("addresses of this host, such as 10.0.0.7 or fd00::7"))
}

/// An address such as `10.0.0.7`, or a DNS name such as `lb.example.com`, in small letters as the API wants it.
pub(crate) fn address_or_name(text: &str) -> Result<String, Expected> {
    let is_label_char = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(is_label_char)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    // Four numbers are a bad address, and the API takes them for no name.
    let is_number = text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    if text.len() <= 253 && !is_number && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(Expected("addresses such as 10.0.0.7, or DNS names such as lb.example.com"))
}

pub(crate) fn range(text: &str) -> Result<AddressRange, Expected> {
    text.parse().map_err(|_| {
        Expected("networks, ranges or addresses such as 10.0.0.0/24, 10.0.0.10-10.0.0.20 or fd00::7")
    })
}

pub(crate) fn network(text: &str) -> Result<IpNet, Expected> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let network: Result<IpNet, _> = text.parse().or_else(|_| single());
    let network = network.map_err(|_| Expected("networks such as 10.0.0.0/8 or addresses"))?;
    policy::plain_network(network)
        .ok_or(Expected("networks of IPv4 or of IPv6 by themselves, 0.0.0.0/0 for all of IPv4"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        for text in ["10.0.0.7", "fd00::7", "lb.example.com", "lb-1", "xn--bcher-kva.test", "1.example"] {
            assert_eq!(address_or_name(text), Ok(text.to_owned()));
        }
        for text in ["", "a..b", "-a", "a-", "a_b", "LB.test", "a.", "*.test", "10.0.0.300", "a b"] {
            assert!(address_or_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        for text in [":8080", "8080", "*:8080", "0.0.0.0:8080", "[::]:8080"] {
            assert_eq!(listen(text), Ok(DefaultListener { addresses: vec![], port: 8080 }), "{text}");
        }
        let one = DefaultListener { addresses: vec![LOOPBACK], port: 80 };
        assert_eq!(listen("127.0.0.1:80"), Ok(one));
        for text in ["", ":", ":0", "x", "127.0.0.1", "127.0.0.1:65536", "http://x:80"] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn admin_addresses() {
        assert_eq!(address_or_off("off", LOOPBACK), Ok(None));
        assert_eq!(address_or_off(":9901", LOOPBACK), Ok("127.0.0.1:9901".parse().ok()));
        assert_eq!(address_or_off("0", ANY), Ok("0.0.0.0:0".parse().ok()));
        assert_eq!(address_or_off("[::1]:1", ANY), Ok("[::1]:1".parse().ok()));
        assert!(address_or_off("localhost:1", ANY).is_err());
    }

    #[test]
    fn durations_need_units_and_print_as_they_are_read() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("90s", 90_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
            assert_eq!(show_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for text in
            ["", "30", "0s", "s", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [("100", 100), ("16KiB", 16_384), ("1MiB", 1_048_576)] {
            assert_eq!(bytes(text), Ok(size));
            assert_eq!(show_bytes(size), text);
        }
        for text in ["", "0", "-1", "1kb", "KiB", "99999999999999999999MiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(network("10.0.0.0/8").map(|net| net.to_string()), Ok("10.0.0.0/8".into()));
        assert_eq!(network("::1").map(|net| net.to_string()), Ok("::1/128".into()));
        assert!(network("10.0.0.0/33").is_err());
        for (text, plain) in [("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:10.0.0.1", "10.0.0.1/32")] {
            assert_eq!(network(text).map(|net| net.to_string()), Ok(plain.into()));
        }
        let refused = network("::/80").unwrap_err().to_string();
        assert_eq!(refused, "should be networks of IPv4 or of IPv6 by themselves, 0.0.0.0/0 for all of IPv4");
    }
}
