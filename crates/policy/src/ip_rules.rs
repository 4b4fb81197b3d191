use std::net::IpAddr;

use ipnet::IpNet;

/// Which clients may ask: those in `allow` (all, if it is empty) that are not in `deny`.
///
/// An address that is not known is not let in.
pub fn is_let_in(rules: &model::IpRules, address: Option<IpAddr>) -> bool {
    let Some(address) = address.map(|address| address.to_canonical()) else { return false };
    let holds = |net: &IpNet| net.contains(&address);
    !rules.deny.iter().any(holds) && (rules.allow.is_empty() || rules.allow.iter().any(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

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
