use std::borrow::Cow;

/// The value, still encoded, of the first parameter of a query called `name`; empty if the parameter has no `=`.
///
/// Source: WHATWG URL, section 5.1 (application/x-www-form-urlencoded parsing), which names are decoded by as well.
pub(crate) fn first<'q>(query: &'q str, name: &str) -> Option<&'q [u8]> {
    query.as_bytes().split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=');
        let (key, value) = match equals {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[..0]),
        };
        is(key, name.as_bytes()).then_some(value)
    })
}

/// Whether `encoded`, a name or value of a query, stands for `plain` (WHATWG URL, section 5.1).
pub fn is(encoded: &[u8], plain: &[u8]) -> bool {
    Decoder(encoded).eq(plain.iter().copied())
}

/// What `encoded` stands for; copied only if it has to be.
pub(crate) fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    if encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Decoder(encoded).collect()
    } else {
        Cow::Borrowed(encoded)
    }
}

/// Decodes `%XX` and `+`; a `%` without two hexadecimal digits stands for itself.
struct Decoder<'b>(&'b [u8]);

impl Iterator for Decoder<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        match byte {
            b'+' => Some(b' '),
            b'%' => {
                let value = match rest {
                    [high, low, ..] => digit(*high).zip(digit(*low)),
                    _ => None,
                };
                let Some((high, low)) = value else { return Some(byte) };
                self.0 = &rest[2..];
                Some(high << 4 | low)
            }
            _ => Some(byte),
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        assert_eq!(first("a=1&b=2&a=3", "a"), Some(&b"1"[..]));
        assert_eq!(first("a=1&b=2&a=3", "b"), Some(&b"2"[..]));
        assert_eq!(first("a=1", "A"), None, "names are case-sensitive");
        assert_eq!(first("aa=1&a", "a"), Some(&b""[..]));
        assert_eq!(first("&&a=b=c", "a"), Some(&b"b=c"[..]));
        assert_eq!(first("", "a"), None);
        assert_eq!(first("%61+b=1", "a b"), Some(&b"1"[..]));
    }

    #[test]
    fn values_are_decoded_as_forms_are() {
        for (encoded, plain) in [
            ("a%20b+c", "a b c"),
            ("%2B", "+"),
            ("%e4%BD%a0", "你"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%%41", "%A"),
            ("", ""),
        ] {
            assert_eq!(&*decode(encoded.as_bytes()), plain.as_bytes());
            assert!(is(encoded.as_bytes(), plain.as_bytes()));
        }
        assert!(!is(b"a%20", b"a"));
        assert!(!is(b"a", b"ab"));
        assert!(matches!(decode(b"plain"), Cow::Borrowed(_)));
    }
}
