//! Values by which an annotation asks for what is so in any case.

use super::values::boolean;

/// Annotations that ask for something unless they are false.
const FLAGS: [&str; 5] = [
    "auth-tls-pass-certificate-to-upstream",
    "enable-modsecurity",
    "enable-opentelemetry",
    "enable-owasp-core-rules",
    "ssl-passthrough",
];

/// Whether nothing is to be done for this value of the annotation `name`, whatever it amounts to here.
pub(super) fn is_nothing_asked(name: &str, value: &str) -> bool {
    let value = value.trim();
    match name {
        _ if value.is_empty() => true,
        "backend-protocol" => ["HTTP", "AUTO_HTTP"].contains(&value.to_ascii_uppercase().as_str()),
        // Clients need no certificate.
        "auth-tls-verify-client" => value == "off",
        _ => FLAGS.contains(&name) && boolean(value) == Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Support, annotation};
    use super::*;

    #[test]
    fn what_is_asked_for_depends_on_the_value() {
        for (name, value, expected) in [
            ("backend-protocol", "HTTP", true),
            ("backend-protocol", "auto_http", true),
            ("backend-protocol", "GRPC", false),
            ("enable-modsecurity", "false", true),
            ("enable-modsecurity", "F", true),
            ("enable-modsecurity", "true", false),
            ("ssl-passthrough", "false", true),
            ("auth-tls-verify-client", "off", true),
            ("auth-tls-verify-client", "optional", false),
            ("server-snippet", " ", true),
            ("server-snippet", "false", false),
            // These ask for something.
            ("enable-access-log", "false", false),
            ("proxy-connect-timeout", "0", false),
        ] {
            assert_eq!(is_nothing_asked(name, value), expected, "{name}: {value}");
        }
        for name in FLAGS {
            assert_eq!(annotation(name).unwrap().support, Support::Missing, "{name}");
        }
    }
}
