/// An answer as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The head, byte for byte, with its empty line.
    pub raw_head: Vec<u8>,
    /// Field names in lower case, and values, in order.
    pub headers: Vec<(String, String)>,
    /// The content, without its chunk framing.
    pub body: Vec<u8>,
    /// Trailer fields after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// 1xx answers that came before this one.
    pub informational: Vec<Response>,
}

impl Response {
    /// The value of the first field `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the sender will close the connection after this answer.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The endpoint that says it answered ([`crate::Nginx`] and [`crate::Recorder`] do).
    pub fn endpoint(&self) -> Option<&str> {
        self.header("x-endpoint")
    }

    /// Reads a head that ends with an empty line. None if it is none.
    pub(crate) fn parse_head(raw: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.split("\r\n");
        let mut first = lines.next()?.splitn(3, ' ');
        if !matches!(first.next(), Some("HTTP/1.1" | "HTTP/1.0")) {
            return None;
        }
        let status = first.next()?.parse().ok()?;
        Some(Self { status, raw_head: raw.to_vec(), headers: fields(lines)?, ..Self::default() })
    }
}

/// `Name: value` lines up to the first empty one.
pub(crate) fn fields<'t>(lines: impl Iterator<Item = &'t str>) -> Option<Vec<(String, String)>> {
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| {
            line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_stands() {
        let response =
            Response::parse_head(b"HTTP/1.1 503 No\r\nA: 1\r\nConnection: Close\r\na: 2\r\n\r\n").unwrap();
        assert_eq!(response.status, 503);
        assert_eq!(response.header("a"), Some("1"));
        assert_eq!(response.headers.len(), 3);
        assert!(response.closes());
        assert_eq!(Response::parse_head(b"ICY 200 OK\r\n\r\n"), None);
        assert_eq!(Response::parse_head(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), None);
    }
}
