//! What the echo says.

use std::fmt::Write;
use std::net::SocketAddr;

use http1::RequestHead;
use serde::Serialize;

/// A request as it came.
#[derive(Serialize)]
pub(super) struct Echo<'a> {
    endpoint: &'a str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    host: &'a str,
    peer: SocketAddr,
    /// Every line, in order: a name may stand twice.
    headers: Vec<(&'a str, String)>,
    #[serde(rename = "bodyBytes")]
    body_bytes: u64,
}

impl<'a> Echo<'a> {
    pub(super) fn new(endpoint: &'a str, head: &'a RequestHead, peer: SocketAddr, body_bytes: u64) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Self {
            endpoint,
            method: head.method(),
            path: head.path(),
            query: head.query(),
            host: head.authority(),
            peer,
            headers: head.headers().map(|(name, value)| (name, text(value))).collect(),
            body_bytes,
        }
    }

    /// Content type and body: JSON for clients that ask for it, else lines of text.
    pub(super) fn body(&self, head: &RequestHead) -> (&'static str, String) {
        let wants_json =
            head.values("accept").any(|value| value.windows(4).any(|w| w.eq_ignore_ascii_case(b"json")));
        match (wants_json, serde_json::to_string_pretty(self)) {
            (true, Ok(json)) => ("application/json", json + "\n"),
            _ => ("text/plain; charset=utf-8", self.text()),
        }
    }

    fn text(&self) -> String {
        let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut out = format!(
            "endpoint: {}\nfrom: {}\n{} {}{query}\n",
            self.endpoint, self.peer, self.method, self.path
        );
        for (name, value) in &self.headers {
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{name}: {value}");
        }
        if self.body_bytes > 0 {
            let _ = writeln!(out, "\n{} bytes of body", self.body_bytes);
        }
        out
    }
}
