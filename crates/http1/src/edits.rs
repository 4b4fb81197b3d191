use crate::LineEdits;

/// What changes in a request head on its way to the endpoint, beside the hop-by-hop fields that always go.
///
/// Names and values are written as they are, but CR, LF and NUL, which could forge lines, become spaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits<'a> {
    /// Lines to write right after the request line.
    pub insert: &'a [(&'a str, &'a [u8])],
    /// Names of header lines to leave out, in any case.
    pub remove: &'a [&'a str],
    /// Lines to leave out, of `insert` too, and lines to write behind all others.
    pub lines: Option<&'a LineEdits>,
    /// The value of `Host`, instead of the one that came or where none came.
    pub host: Option<&'a str>,
    /// The request target to write instead of the one that came.
    pub target: Option<&'a str>,
    /// Keep `Upgrade`, if the request asks for one (see [`crate::RequestHead::upgrade`]); `Connection: upgrade` is added.
    pub keep_upgrade: bool,
    /// Leave `Expect` out.
    pub drop_expect: bool,
    /// The value of a `Connection` line to add: `close`, `keep-alive`.
    pub connection: Option<&'a str>,
}

/// How the body of a response goes to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseFraming {
    /// As it came: `Content-Length` stays, `Transfer-Encoding` is written anew as `chunked`.
    #[default]
    Keep,
    /// In chunks that the caller makes: `Transfer-Encoding: chunked` instead of what came.
    Chunked,
    /// Up to the end of the connection: neither line.
    CloseDelimited,
}

/// What changes in a response head on its way to the client, beside the hop-by-hop fields that always go.
///
/// Names and values are written as they are, but CR, LF and NUL, which could forge lines, become spaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseEdits<'a> {
    /// Lines to write right after the status line.
    pub insert: &'a [(&'a str, &'a [u8])],
    /// Names of header lines to leave out, in any case.
    pub remove: &'a [&'a str],
    /// Lines to leave out, of `insert` too, and lines to write behind all others.
    pub lines: Option<&'a LineEdits>,
    /// How the body is framed.
    pub framing: ResponseFraming,
    /// Keep `Upgrade` (for 101); `Connection: upgrade` is added.
    pub keep_upgrade: bool,
    /// The value of a `Connection` line to add: `close`, `keep-alive`.
    pub connection: Option<&'a str>,
}
