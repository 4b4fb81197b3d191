use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Which clients may ask: those in `allow` (all, if it is empty) that are not in `deny`.
///
/// An address that is not known is not let in.
pub fn is_let_in(rules: &model::IpRules, address: Option<IpAddr>) -> bool {
    let Some(address) = address.map(|address| address.to_canonical()) else { return false };
    let holds = |net: &IpNet| net.contains(&address);
    !rules.deny.iter().any(holds) && (rules.allow.is_empty() || rules.allow.iter().any(holds))
}

/// The network as addresses are held against it, which are IPv4 where they come in IPv6 clothes (RFC 4291 section 2.5.5.2): so
/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`. Bits behind the prefix are 0.
///
/// None: a network of IPv6 that holds all of IPv4 beside other addresses, such as `::ffff:0:0/95`. `::/0` is all of IPv6 and no IPv4.
pub fn plain_network(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else { return Some(network.trunc()) };
    let length = v6.prefix_len();
    match (v6.network().to_ipv4_mapped(), length.checked_sub(96)) {
        (Some(v4), Some(length)) => Ipv4Net::new(v4, length).ok().map(IpNet::V4),
        _ if length > 0 && v6.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) => None,
        _ => Some(network.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_ipv4_are_known_in_ipv6_clothes() {
        for (text, expected) in [
            ("10.6.6.6/8", Some("10.0.0.0/8")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::ffff:10.6.6.6/128", Some("10.6.6.6/32")),
            ("::ffff:10.6.6.6/104", Some("10.0.0.0/8")),
            ("::ffff:0:0/96", Some("0.0.0.0/0")),
            ("::ffff:0:0/95", None),
            ("::/80", None),
            ("::/1", None),
            ("::/0", Some("::/0")),
            ("::/96", Some("::/96")),
            ("::ffff:0:0:0/96", Some("::ffff:0:0:0/96")),
        ] {
            let plain = plain_network(text.parse().unwrap()).map(|network| network.to_string());
            assert_eq!(plain.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn deny_goes_before_allow() {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        let let_in = |allow: &[&str], deny: &[&str], address: &str| {
            let rules = model::IpRules { allow: nets(allow), deny: nets(deny) };
            is_let_in(&rules, address.parse().ok())
        };
        assert!(let_in(&[], &[], "192.0.2.1"));
        assert!(let_in(&["192.0.2.0/24"], &[], "192.0.2.1"));
        assert!(let_in(&["192.0.2.0/24"], &[], "::ffff:192.0.2.1"));
        assert!(!let_in(&["192.0.2.0/24"], &[], "192.0.3.1"));
        assert!(!let_in(&["192.0.2.0/24"], &[], "::1"));
        assert!(!let_in(&["192.0.2.0/24"], &["192.0.2.1/32"], "192.0.2.1"));
        assert!(let_in(&[], &["192.0.2.1/32"], "192.0.2.2"));
        assert!(!let_in(&[], &["2001:db8::/32"], "2001:db8::1"));
        assert!(!let_in(&[], &["2001:db8::/32"], "unknown"), "who is not known is not let in");
    }
}
