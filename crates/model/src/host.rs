use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// How many labels the `*` of a wildcard host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WildcardLabels {
    /// Exactly one: Ingress (`networking.k8s.io/v1` IngressRule.host).
    One,
    /// One or more: Gateway API (Hostname in `shared_types.go`).
    OneOrMore,
}

/// A host name or a wildcard such as `*.example.com`; lower case.
///
/// The order is that of precedence in the Gateway API: exact names first, then wildcards by length, longest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name only.
    Exact(Arc<str>),
    /// Names below `suffix`, which starts with a dot: `.example.com`.
    Wildcard {
        /// With its leading dot.
        suffix: Arc<str>,
        /// What the star stands for.
        labels: WildcardLabels,
    },
}

/// Why a text is no host pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing, or a star with nothing behind it.
    #[error("is empty")]
    Empty,
    /// Over 253 characters, or a label over 63 (RFC 1035 section 2.3.4).
    #[error("is longer than a DNS name may be (253 characters, 63 a label)")]
    TooLong,
    /// Not letters, digits, hyphens and dots (RFC 1123 section 2.1), or an empty label.
    #[error("is no DNS name: labels of letters, digits and inner hyphens, parted by dots")]
    NotADnsName,
    /// An address; hosts of routes are names.
    #[error("is an IP address, not a DNS name")]
    IpAddress,
    /// A star that is not the whole first label.
    #[error("may have one '*' only, as its whole first label")]
    Star,
}

impl HostPattern {
    /// Reads `name` or `*.name`; upper case becomes lower case.
    ///
    /// # Errors
    /// [`HostError`] says which rule of RFC 1123 or of the wildcard form is broken.
    pub fn parse(text: &str, labels: WildcardLabels) -> Result<Self, HostError> {
        let lower = text.to_ascii_lowercase();
        let (is_wildcard, name) = match lower.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, lower.as_str()),
        };
        check_dns_name(name)?;
        Ok(if is_wildcard {
            Self::Wildcard { suffix: format!(".{name}").into(), labels }
        } else {
            Self::Exact(name.into())
        })
    }

    /// Whether `host` (lower case, without port or trailing dot) is one of the names meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard { suffix, labels } => match host.strip_suffix(&**suffix) {
                None | Some("") => false,
                Some(front) => *labels == WildcardLabels::OneOrMore || !front.contains('.'),
            },
        }
    }

    /// Whether any name fits both (Gateway API: a route attaches only where its hostnames intersect the listener's).
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Wildcard { suffix: a, .. }, Self::Wildcard { suffix: b, .. }) => {
                a.ends_with(&**b) || b.ends_with(&**a)
            }
        }
    }
}

fn check_dns_name(name: &str) -> Result<(), HostError> {
    if name.is_empty() || name == "*" {
        return Err(HostError::Empty);
    }
    if name.len() > 253 {
        return Err(HostError::TooLong);
    }
    if name.contains('*') {
        return Err(HostError::Star);
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err(HostError::IpAddress);
    }
    for label in name.split('.') {
        if label.len() > 63 {
            return Err(HostError::TooLong);
        }
        let inner = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if label.is_empty() || !inner || label.starts_with('-') || label.ends_with('-') {
            return Err(HostError::NotADnsName);
        }
    }
    Ok(())
}

impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |pattern: &Self| match pattern {
            Self::Exact(name) => (0, 0, name.clone(), WildcardLabels::One),
            Self::Wildcard { suffix, labels } => (1, usize::MAX - suffix.len(), suffix.clone(), *labels),
        };
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard { suffix, .. } => write!(f, "*{suffix}"),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(text: &str) -> HostPattern {
        HostPattern::parse(text, WildcardLabels::OneOrMore).unwrap()
    }

    fn ingress(text: &str) -> HostPattern {
        HostPattern::parse(text, WildcardLabels::One).unwrap()
    }

    #[test]
    fn wildcards_take_one_label_in_ingress_and_any_number_in_the_gateway_api() {
        assert!(ingress("*.foo.com").matches("bar.foo.com"));
        assert!(!ingress("*.foo.com").matches("baz.bar.foo.com"));
        assert!(!ingress("*.foo.com").matches("foo.com"));
        assert!(gateway("*.foo.com").matches("bar.foo.com"));
        assert!(gateway("*.foo.com").matches("baz.bar.foo.com"));
        assert!(!gateway("*.foo.com").matches("foo.com"));
        assert!(!gateway("*.foo.com").matches("barfoo.com"));
        assert!(!gateway("*.foo.com").matches(".foo.com"), "a label is not empty");
    }

    #[test]
    fn exact_names_fold_case() {
        assert!(gateway("WWW.Example.Com").matches("www.example.com"));
        assert!(!gateway("www.example.com").matches("example.com"));
    }

    #[test]
    fn what_is_no_host_is_refused_with_the_rule() {
        let parse = |text| HostPattern::parse(text, WildcardLabels::OneOrMore).unwrap_err();
        assert_eq!(parse(""), HostError::Empty);
        assert_eq!(parse("*"), HostError::Empty);
        assert_eq!(parse("*."), HostError::Empty);
        assert_eq!(parse("a.*.com"), HostError::Star);
        assert_eq!(parse("*a.com"), HostError::Star);
        assert_eq!(parse("10.0.0.1"), HostError::IpAddress);
        assert_eq!(parse("a..b"), HostError::NotADnsName);
        assert_eq!(parse("-a.b"), HostError::NotADnsName);
        assert_eq!(parse("a_b.c"), HostError::NotADnsName);
        assert_eq!(parse(&"a".repeat(64)), HostError::TooLong);
    }

    #[test]
    fn order_is_precedence() {
        let mut hosts = [gateway("*.com"), gateway("*.a.com"), gateway("b.com"), gateway("a.com")];
        hosts.sort();
        let shown: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a.com", "b.com", "*.a.com", "*.com"]);
    }

    #[test]
    fn intersection_is_symmetric() {
        let pairs = [
            ("a.b.com", "*.b.com", true),
            ("b.com", "*.b.com", false),
            ("*.a.b.com", "*.b.com", true),
            ("*.b.com", "*.c.com", false),
            ("x.com", "x.com", true),
        ];
        for (a, b, expected) in pairs {
            assert_eq!(gateway(a).intersects(&gateway(b)), expected, "{a} {b}");
            assert_eq!(gateway(b).intersects(&gateway(a)), expected, "{b} {a}");
        }
    }
}
