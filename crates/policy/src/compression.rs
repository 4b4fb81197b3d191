//! Which responses are compressed, and with what (RFC 9110 sections 8.4 and 12.5.3).

use model::{Compression, ContentCoding};

/// The media type of streams of events: each must leave at once, and many clients' buffers wait for more of what is coded.
const EVENT_STREAM: &str = "text/event-stream";

/// Whether a response with this `Content-Type` and so many bytes, where that is known, may be sent in `said`'s coding.
///
/// Event streams are taken where the list names them, not by `text/*`.
pub fn is_compressed_by(said: &Compression, content_type: &[u8], length: Option<u64>) -> bool {
    let media = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let Ok(media) = std::str::from_utf8(media) else { return false };
    let is_long = length.is_none_or(|length| length >= said.min_content_length.max(1));
    let is_listed = |listed: &str| match listed.strip_suffix("/*") {
        Some(kind) if !media.eq_ignore_ascii_case(EVENT_STREAM) => {
            media.split_once('/').is_some_and(|(own, _)| own.eq_ignore_ascii_case(kind))
        }
        _ => media.eq_ignore_ascii_case(listed),
    };
    is_long && said.content_types.iter().any(|listed| is_listed(listed))
}

/// The coding among `offered`, the preferred first, that a client with these values of `Accept-Encoding` likes best; none: as it is.
///
/// A coding is acceptable by its own name or, if it has none there, by `*`; the highest weight above 0 wins, and of equals the first
/// offered. Content as it is wins only where `identity` itself is given more. Who sends no such line, or one that nobody can read, gets
/// content as it is, and so does who refuses everything: there is nothing better.
pub fn preferred_coding<'v>(
    offered: impl Iterator<Item = ContentCoding>,
    accept: impl Iterator<Item = &'v [u8]>,
) -> Option<ContentCoding> {
    let accepted = Accepted::read(accept)?;
    let mut best: Option<(ContentCoding, u16)> = None;
    for coding in offered {
        let weight = accepted.weight(coding);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    best.filter(|(_, weight)| accepted.identity.is_none_or(|identity| identity <= *weight)).map(|best| best.0)
}

/// Weights in thousandths.
#[derive(Default)]
struct Accepted {
    named: [Option<u16>; ContentCoding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accepted {
    /// None: a member of the list is none of the grammar.
    fn read<'v>(values: impl Iterator<Item = &'v [u8]>) -> Option<Self> {
        let mut accepted = Self::default();
        for value in values {
            for member in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|m| !m.is_empty())
            {
                let mut parts = member.splitn(2, |&byte| byte == b';').map(<[u8]>::trim_ascii);
                let name = parts.next().unwrap_or_default();
                let weight = parts.next().map_or(Some(1000), weight)?;
                let place = match name {
                    b"*" => &mut accepted.any,
                    _ if name.eq_ignore_ascii_case(b"identity") => &mut accepted.identity,
                    _ => match place_of(name) {
                        Some(place) => accepted.named.get_mut(place)?,
                        None => continue,
                    },
                };
                *place = Some(weight);
            }
        }
        Some(accepted)
    }

    fn weight(&self, coding: ContentCoding) -> u16 {
        let place = ContentCoding::ALL.iter().position(|one| *one == coding);
        let named = place.and_then(|place| self.named.get(place).copied().flatten());
        named.or(self.any).unwrap_or(0)
    }
}

/// The place of a coding in [`ContentCoding::ALL`]. `x-gzip` is gzip (RFC 9110 section 8.4.1.3).
fn place_of(name: &[u8]) -> Option<usize> {
    let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
    ContentCoding::ALL.iter().position(|coding| name.eq_ignore_ascii_case(coding.token().as_bytes()))
}

/// `q=0.123` in thousandths (RFC 9110 section 12.4.2); none: no weight.
fn weight(text: &[u8]) -> Option<u16> {
    let (name, value) = text.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, rest) = value.split_first()?;
    let digits = match rest.split_first() {
        None => &[][..],
        Some((b'.', digits)) if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        Some(_) => return None,
    };
    let thousandths = (0..3).fold(0, |sum, at| sum * 10 + u16::from(digits.get(at).map_or(0, |d| d - b'0')));
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContentCoding::{Brotli, Gzip, Zstd};

    fn preferred(offered: &[ContentCoding], accept: &[&str]) -> Option<ContentCoding> {
        preferred_coding(offered.iter().copied(), accept.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn the_client_chooses_and_of_equals_the_policy() {
        let all = [Zstd, Brotli, Gzip];
        for (accept, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], Some(Gzip)),
            (&["GZip"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip", "br"], Some(Brotli)),
            (&["gzip;q=1.0, br;q=0.8"], Some(Gzip)),
            (&["gzip;q=0.5,br;q=0.501, zstd ; Q=0.5"], Some(Brotli)),
            (&["gzip;q=0, br;q=0.000"], None),
            (&["*"], Some(Zstd)),
            (&["*;q=0.1, zstd;q=0"], Some(Brotli)),
            (&["gzip, *;q=0"], Some(Gzip)),
            (&["identity"], None),
            (&["identity;q=0"], None),
            (&["identity;q=0, gzip;q=0.001"], Some(Gzip)),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity;q=0.5, gzip"], Some(Gzip)),
            (&["deflate"], None),
            (&[",, gzip ,"], Some(Gzip)),
            // What is no weight says nothing that could be trusted.
            (&["gzip;q=2"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q="], None),
            (&["gzip;level=1"], None),
        ] {
            assert_eq!(preferred(&all, accept), expected, "{accept:?}");
        }
        assert_eq!(preferred(&[Gzip, Brotli], &["br, gzip"]), Some(Gzip));
        assert_eq!(preferred(&[Gzip], &["br, *;q=0"]), None);
        assert_eq!(preferred(&[], &["*"]), None);
    }

    #[test]
    fn responses_are_told_by_type_and_length() {
        let said = |types: &[&str]| Compression {
            coding: Gzip,
            min_content_length: 100,
            content_types: types.iter().map(|&text| text.into()).collect(),
        };
        let html = said(&["text/html", "image/svg+xml"]);
        let of = |said: &Compression, content_type: &str, length| {
            is_compressed_by(said, content_type.as_bytes(), length)
        };
        assert!(of(&html, "text/html", None) && of(&html, "Text/HTML ; charset=utf-8", Some(100)));
        assert!(of(&html, "image/svg+xml", Some(1 << 40)));
        for (content_type, length) in
            [("text/html", Some(99)), ("text/css", None), ("text", None), ("", None), ("text/html+x", None)]
        {
            assert!(!of(&html, content_type, length), "{content_type} {length:?}");
        }
        let text = said(&["text/*"]);
        assert!(of(&text, "TEXT/css", None) && !of(&text, "textual/css", None));
        assert!(!of(&text, "text/event-stream", None), "of streams of events nobody thought");
        assert!(of(&said(&["text/event-stream"]), "text/event-stream", None));
        // Nothing gets no shorter.
        assert!(!of(&Compression { min_content_length: 0, ..text }, "text/css", Some(0)));
    }
}
