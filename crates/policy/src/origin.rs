use model::Scheme;

/// An origin that may ask, or one that does: scheme, host and port (RFC 6454 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    /// Lower case.
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Exact(Box<str>),
    /// Names that end so; with its leading dot, or empty: every host.
    Under(Box<str>),
}

impl Origin {
    /// Reads `https://a.example:8443`, `https://*.example` or `https://*`, as it stands in a CORS filter; none: it is none.
    ///
    /// `*` stands for one or more labels on the left (HTTPCORSFilter.allowOrigins).
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, host, port) = split(text)?;
        let host = match host.strip_prefix('*') {
            Some("") => Host::Under("".into()),
            Some(rest) if rest.strip_prefix('.').is_some_and(is_name) => Host::Under(rest.into()),
            Some(_) => return None,
            None => Host::Exact(host.as_str().into()),
        };
        let is_good = match &host {
            Host::Exact(name) => is_name(name),
            Host::Under(_) => true,
        };
        is_good.then_some(Self { scheme, host, port })
    }

    /// Reads the value of `Origin` in a request. `null` and other schemes are none.
    pub fn parse_sent(text: &str) -> Option<Self> {
        let (scheme, host, port) = split(text)?;
        Some(Self { scheme, host: Host::Exact(host.into()), port })
    }

    /// Whether `sent` is one of those meant.
    pub fn covers(&self, sent: &Self) -> bool {
        let Host::Exact(name) = &sent.host else { return false };
        let is_host = match &self.host {
            Host::Exact(own) => own == name,
            Host::Under(suffix) => name.len() > suffix.len() && name.ends_with(&**suffix),
        };
        is_host && self.scheme == sent.scheme && self.port == sent.port
    }
}

/// Scheme, host in lower case, and port.
fn split(text: &str) -> Option<(Scheme, String, u16)> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    // An IPv6 address has colons of its own, in brackets.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, port.parse().ok().filter(|port| is_number && *port > 0)?)
        }
        _ => (rest, scheme.default_port()),
    };
    (!host.is_empty()).then(|| (scheme, host.to_owned(), port))
}

/// Letters, digits and hyphens in labels, as the CRD's pattern has it, or an address.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port_count_and_a_star_is_labels_on_the_left() {
        for (allowed, sent, expected) in [
            ("https://a.test", "https://a.test", true),
            ("https://A.test", "HTTPS://a.TEST", true),
            ("https://a.test", "https://a.test:443", true),
            ("https://a.test:443", "https://a.test", true),
            ("https://a.test", "http://a.test", false),
            ("https://a.test", "https://a.test:8443", false),
            ("https://a.test", "https://b.a.test", false),
            ("https://*.a.test", "https://b.a.test", true),
            ("https://*.a.test", "https://c.b.a.test", true),
            ("https://*.a.test", "https://a.test", false),
            ("https://*.a.test", "https://.a.test", false),
            ("https://*.a.test", "https://evila.test", false),
            ("https://*.a.test", "https://b.a.test.evil", false),
            ("http://*", "http://any.test", true),
            ("http://*", "https://any.test", false),
            ("http://*:8080", "http://any.test:8080", true),
            ("http://10.0.0.1", "http://10.0.0.1:80", true),
        ] {
            let covers = Origin::parse(allowed).unwrap().covers(&Origin::parse_sent(sent).unwrap());
            assert_eq!(covers, expected, "{allowed} {sent}");
        }
    }

    #[test]
    fn what_is_no_origin_is_told() {
        for bad in [
            "",
            "a.test",
            "ftp://a.test",
            "https://",
            "https://*a.test",
            "https://a.*",
            "https://a.test/",
            "https://a.test:0",
            "https://a.test:x",
            "https://a.test:99999",
            "https://a..test",
            "https://*.",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
        assert_eq!(Origin::parse_sent("null"), None);
    }
}
