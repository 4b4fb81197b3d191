//! What compression makes of the head of a response, and whether its body is compressed at all.

use http1::{LineEdits, RequestHead, ResponseEdits, ResponseHead, Version};
use model::{Compression, ContentCoding};

/// Lines with a digest of the content as the endpoint sends it (RFC 9530, and what came before it).
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// What changes in the head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// None: the content stays as it is.
    pub(crate) coding: Option<ContentCoding>,
    /// Whether the choice is to be said that no line speaks of yet.
    adds_vary: bool,
    /// The entity tag in the place of a strong one: other bytes, the same meaning (RFC 9110 section 8.8.1).
    etag: Option<Vec<u8>>,
}

impl Compressed {
    /// By what `said` offers and the client takes; none: nothing changes. `lines`: what the route changes in the head.
    ///
    /// An answer to HEAD changes as that to GET would (RFC 9110 section 9.3.2).
    pub(crate) fn of(
        said: &[Compression],
        request: &RequestHead,
        response: &ResponseHead,
        lines: Option<&LineEdits>,
    ) -> Option<Self> {
        let status = response.status();
        if status == 304 {
            return Self::of_unchanged(request, response);
        }
        let has = |name| response.values(name).next().is_some();
        if status < 200
            || matches!(status, 204..=206)
            || has("content-encoding")
            || has("content-range")
            || DIGESTS.into_iter().any(has)
            || forbids(response.values("cache-control"))
            || forbids(request.values("cache-control"))
            || http1::is_grpc(response.values("content-type"))
            // The route's word would stand in the place of ours.
            || lines.is_some_and(|lines| lines.is_about("content-encoding"))
        {
            return None;
        }
        let mut content_types = response.values("content-type");
        let (Some(content_type), None) = (content_types.next(), content_types.next()) else { return None };
        let length = response.values("content-length").next();
        let length = length.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let mut offered = said
            .iter()
            .filter(|said| policy::is_compressed_by(said, content_type, length))
            .map(|said| said.coding)
            .peekable();
        offered.peek()?;
        // HTTP/1.0 has no chunks, and whether a body is whole shows nowhere else.
        let takes_any = request.version() != Version::Http10;
        let coding =
            policy::preferred_coding(offered, request.values("accept-encoding")).filter(|_| takes_any);
        let etag = coding.and_then(|_| weak(response));
        let compressed = Self { coding, adds_vary: !varies(response), etag };
        (compressed != Self::default()).then_some(compressed)
    }

    /// Not Modified: of a client that has the weak tag which it got with compressed content, the endpoint says the strong one. A cache
    /// would look for what it has by that (RFC 9111 section 4.3.4).
    fn of_unchanged(request: &RequestHead, response: &ResponseHead) -> Option<Self> {
        let etag = weak(response)?;
        let knows = |value: &[u8]| value.windows(etag.len()).any(|part| part == etag);
        let is_ours = request.values("if-none-match").any(knows);
        is_ours.then(|| Self { coding: None, adds_vary: !varies(response), etag: Some(etag) })
    }

    /// The content stays as it is after all.
    pub(crate) fn undo(&mut self) {
        *self = Self { adds_vary: self.adds_vary, ..Self::default() };
    }

    /// `edits` and these.
    pub(crate) fn with_edits<T>(
        &self,
        edits: &ResponseEdits<'_>,
        f: impl FnOnce(&ResponseEdits<'_>) -> T,
    ) -> T {
        let (mut insert, mut remove) = (edits.insert.to_vec(), edits.remove.to_vec());
        if let Some(coding) = self.coding {
            insert.push(("Content-Encoding", coding.token().as_bytes()));
            // Ranges would be of the content as it is; how long this is shows at its end.
            remove.extend(["accept-ranges", "content-length"]);
        }
        if self.adds_vary {
            insert.push(("Vary", b"Accept-Encoding"));
        }
        if let Some(etag) = &self.etag {
            insert.push(("ETag", etag));
            remove.push("etag");
        }
        f(&ResponseEdits { insert: &insert, remove: &remove, ..*edits })
    }
}

/// Whether `Cache-Control` has `no-transform` (RFC 9111 sections 5.2.1.6 and 5.2.2.6).
fn forbids<'v>(values: impl Iterator<Item = &'v [u8]>) -> bool {
    members(values).any(|member| member.eq_ignore_ascii_case(b"no-transform"))
}

/// Whether the response says already that it depends on what the client takes.
fn varies(response: &ResponseHead) -> bool {
    members(response.values("vary")).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
}

/// The entity tag, made weak; none if there is no strong one.
fn weak(response: &ResponseHead) -> Option<Vec<u8>> {
    let etag = response.values("etag").next().filter(|etag| etag.starts_with(b"\""))?;
    Some([b"W/", etag].concat())
}

/// Members of a list (RFC 9110 section 5.6.1) without quoted commas.
fn members<'v>(values: impl Iterator<Item = &'v [u8]>) -> impl Iterator<Item = &'v [u8]> {
    values.flat_map(|value| value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn compressed(request: &str, response: &str) -> Option<Compressed> {
        let content_types = ["text/html".into()].into();
        let said = Compression { coding: ContentCoding::Gzip, min_content_length: 10, content_types };
        let limits = http1::Limits::default();
        let (mut asked, mut answer) = (RequestHead::default(), ResponseHead::default());
        assert!(asked.parse(&mut BytesMut::from(&*format!("{request}Host: a\r\n\r\n")), &limits).unwrap());
        assert!(answer.parse(&mut BytesMut::from(&*format!("{response}\r\n")), &limits).unwrap());
        Compressed::of(&[said], &asked, &answer, None)
    }

    const ASKED: &str = "GET / HTTP/1.1\r\nAccept-Encoding: gzip\r\n";
    const HTML: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";

    #[test]
    fn what_must_stay_as_it_is_stays() {
        assert_eq!(compressed(ASKED, HTML).unwrap().coding, Some(ContentCoding::Gzip));
        for line in [
            "Content-Encoding: br",
            "Content-Encoding: identity",
            "Content-Range: bytes */5",
            "Cache-Control: public, No-Transform",
            "Content-Length: 9",
            "Content-Digest: sha-256=:YQ==:",
            "Content-MD5: YQ==",
            "Content-Type: text/html",
        ] {
            assert_eq!(compressed(ASKED, &format!("{HTML}{line}\r\n")), None, "{line}");
        }
        for status in [204, 205, 206, 304] {
            assert_eq!(compressed(ASKED, &HTML.replace("200", &status.to_string())), None, "{status}");
        }
        assert!(compressed(ASKED, &HTML.replace("200", "404")).is_some(), "errors have bodies, too");
        assert_eq!(compressed(&format!("{ASKED}Cache-Control: no-transform\r\n"), HTML), None);
        assert_eq!(compressed(ASKED, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"), None);
        assert_eq!(compressed(ASKED, "HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn clients_that_take_nothing_learn_that_others_may_get_something_else() {
        let plain = Compressed { adds_vary: true, ..Default::default() };
        assert_eq!(compressed("GET / HTTP/1.1\r\n", HTML), Some(plain));
        assert_eq!(compressed("GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n", HTML).unwrap().coding, None);
        for vary in ["*", "Origin, accept-encoding"] {
            let response = format!("{HTML}Vary: {vary}\r\n");
            assert_eq!(compressed("GET / HTTP/1.1\r\n", &response), None, "{vary}");
            assert!(!compressed(ASKED, &response).unwrap().adds_vary, "{vary}");
        }
        assert!(compressed(ASKED, &format!("{HTML}Vary: Origin\r\n")).unwrap().adds_vary);
    }

    #[test]
    fn entity_tags_become_weak_and_are_known_again() {
        let etag = |request: &str, response: &str| {
            compressed(request, response).and_then(|c| c.etag).map(|tag| String::from_utf8(tag).unwrap())
        };
        let weak = Some("W/\"a\"".to_owned());
        assert_eq!(etag(ASKED, &format!("{HTML}ETag: \"a\"\r\n")), weak);
        assert_eq!(etag(ASKED, &format!("{HTML}ETag: W/\"a\"\r\n")), None);
        assert_eq!(etag("GET / HTTP/1.1\r\n", &format!("{HTML}ETag: \"a\"\r\n")), None);
        let unchanged = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n";
        assert_eq!(etag(&format!("{ASKED}If-None-Match: \"b\", W/\"a\"\r\n"), unchanged), weak);
        assert_eq!(etag(&format!("{ASKED}If-None-Match: \"a\"\r\n"), unchanged), None);
    }
}
