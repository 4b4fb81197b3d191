/// What is wrong with a text that should be PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("holds no PEM block of type {0}")]
    Missing(&'static str),
    #[error("holds a PEM block that does not end")]
    Unfinished,
    #[error("holds a PEM block that is not base64")]
    NotBase64,
}

/// Checks that `bytes` hold a certificate as PEM (RFC 7468 section 5).
pub(crate) fn check_chain(bytes: &[u8]) -> Result<(), PemError> {
    check(bytes, "CERTIFICATE", |label| label == "CERTIFICATE")
}

/// Checks that `bytes` hold a private key as PEM (RFC 7468 section 10; PKCS #1 and SEC 1 labels too).
pub(crate) fn check_key(bytes: &[u8]) -> Result<(), PemError> {
    check(bytes, "PRIVATE KEY", |label| matches!(label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY"))
}

fn check(bytes: &[u8], wanted: &'static str, is_wanted: impl Fn(&str) -> bool) -> Result<(), PemError> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().map(str::trim);
    let mut found = false;
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut digits = 0;
        loop {
            let line = lines.next().ok_or(PemError::Unfinished)?;
            if line == end {
                break;
            }
            let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
            if !line.bytes().all(is_base64) {
                return Err(PemError::NotBase64);
            }
            digits += line.len();
        }
        if digits == 0 || digits % 4 != 0 {
            return Err(PemError::NotBase64);
        }
        found |= is_wanted(label);
    }
    if found { Ok(()) } else { Err(PemError::Missing(wanted)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_told_from_other_text() {
        let chain = b"# leaf\n-----BEGIN CERTIFICATE-----\nAAAA\nBBB=\n-----END CERTIFICATE-----\n";
        assert_eq!(check_chain(chain), Ok(()));
        assert_eq!(check_key(chain), Err(PemError::Missing("PRIVATE KEY")));
        assert_eq!(check_chain(b"hello"), Err(PemError::Missing("CERTIFICATE")));
        assert_eq!(check_chain(b"-----BEGIN CERTIFICATE-----\nAAAA"), Err(PemError::Unfinished));
        let dotted = b"-----BEGIN CERTIFICATE-----\nA.AA\n-----END CERTIFICATE-----";
        assert_eq!(check_chain(dotted), Err(PemError::NotBase64));
        assert_eq!(check_key(b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----"), Ok(()));
    }
}
