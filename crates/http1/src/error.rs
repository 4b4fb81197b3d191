use dataplane::head::HeadError;

/// Why the fields that frame a body cannot be relied on (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FramingError {
    /// Not one number below 2^63.
    #[error("bad Content-Length")]
    BadContentLength,
    /// More than one line, equal or not.
    #[error("more than one Content-Length")]
    DuplicateContentLength,
    /// Both fields.
    #[error("Content-Length beside Transfer-Encoding")]
    LengthAndEncoding,
    /// More than one line, or no list of codings.
    #[error("bad Transfer-Encoding")]
    BadTransferEncoding,
    /// A coding other than `chunked` alone.
    #[error("unsupported Transfer-Encoding")]
    UnsupportedTransferEncoding,
    /// HTTP/1.0 has no Transfer-Encoding.
    #[error("Transfer-Encoding in HTTP/1.0")]
    EncodingInHttp10,
}

/// Why a request is refused. Answer with [`RequestError::status`] and close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// The bytes are no head.
    #[error("{0}")]
    Head(HeadError),
    /// The body's length is in doubt.
    #[error("{0}")]
    Framing(FramingError),
    /// Over `head_bytes_max`.
    #[error("request head too large")]
    HeadTooLarge,
    /// Over `target_bytes_max`.
    #[error("request target too long")]
    TargetTooLong,
    /// Over `headers_max`.
    #[error("too many header lines")]
    TooManyHeaders,
    /// A method longer than any that is registered.
    #[error("method too long")]
    MethodTooLong,
    /// `CONNECT`: the gateway is no forward proxy. 501 and not 405, for 405 would have to name the methods that the
    /// resource allows (RFC 9110 section 15.5.6), and there is no resource.
    #[error("CONNECT is not served")]
    Connect,
    /// No path, no `http://` URI, and no `*` of an `OPTIONS`.
    #[error("bad form of request target")]
    TargetForm,
    /// HTTP/1.1 without Host.
    #[error("no Host")]
    NoHost,
    /// More than one Host line.
    #[error("more than one Host")]
    DuplicateHost,
    /// Neither name nor address, with or without port.
    #[error("bad Host")]
    BadHost,
    /// The URI in the request line names another host.
    #[error("Host differs from request target")]
    HostMismatch,
    /// `Connection` is no list of tokens, or a long one.
    #[error("bad Connection")]
    BadConnection,
    /// `Connection` names a field that routing or framing needs.
    #[error("Connection names a protected header")]
    ConnectionNamesProtected,
    /// An expectation other than `100-continue`.
    #[error("unknown expectation")]
    Expectation,
    /// An HTTP/1.0 method that has a body came without Content-Length (RFC 1945 section 8.3).
    #[error("HTTP/1.0 body without Content-Length")]
    NoLength,
}

impl RequestError {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::MethodTooLong | Self::Connect => 501,
            Self::Framing(FramingError::UnsupportedTransferEncoding) => 501,
            Self::Head(HeadError::UnsupportedVersion) => 505,
            _ => 400,
        }
    }

    /// A few words: a metric label, a log value, the body of the answer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Head(error) => error.as_str(),
            Self::Framing(error) => error.reason(),
            Self::HeadTooLarge => "request head too large",
            Self::TargetTooLong => "request target too long",
            Self::TooManyHeaders => "too many header lines",
            Self::MethodTooLong => "method too long",
            Self::Connect => "CONNECT is not served",
            Self::TargetForm => "bad form of request target",
            Self::NoHost => "no Host",
            Self::DuplicateHost => "more than one Host",
            Self::BadHost => "bad Host",
            Self::HostMismatch => "Host differs from request target",
            Self::BadConnection => "bad Connection",
            Self::ConnectionNamesProtected => "Connection names a protected header",
            Self::Expectation => "unknown expectation",
            Self::NoLength => "HTTP/1.0 body without Content-Length",
        }
    }
}

impl FramingError {
    /// A few words: a metric label, a log value, the body of the answer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadContentLength => "bad Content-Length",
            Self::DuplicateContentLength => "more than one Content-Length",
            Self::LengthAndEncoding => "Content-Length beside Transfer-Encoding",
            Self::BadTransferEncoding => "bad Transfer-Encoding",
            Self::UnsupportedTransferEncoding => "unsupported Transfer-Encoding",
            Self::EncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
        }
    }
}

/// Why a response is refused: answer 502 and drop the endpoint's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResponseError {
    /// The bytes are no head.
    #[error("{0}")]
    Head(HeadError),
    /// The body's length is in doubt.
    #[error("{0}")]
    Framing(FramingError),
    /// Over `head_bytes_max`.
    #[error("response head too large")]
    HeadTooLarge,
    /// Over `headers_max`.
    #[error("too many header lines")]
    TooManyHeaders,
    /// `Connection` is no list of tokens, a long one, or names a field that framing needs.
    #[error("bad Connection")]
    BadConnection,
}

impl ResponseError {
    /// The status of the answer to the client: 502.
    pub fn status(self) -> u16 {
        502
    }

    /// A few words: a metric label, a log value, the body of the answer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Head(error) => error.as_str(),
            Self::Framing(error) => error.reason(),
            Self::HeadTooLarge => "response head too large",
            Self::TooManyHeaders => "too many header lines",
            Self::BadConnection => "bad Connection",
        }
    }
}

/// Why a body is refused. In a request: answer [`BodyError::status`] if nothing was answered yet, and close both
/// connections; in a response: close both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// A chunk size that is no hexadecimal number of at most 16 digits below 2^63.
    #[error("bad chunk size")]
    ChunkSize,
    /// An extension that is none.
    #[error("bad chunk extension")]
    ChunkExtension,
    /// Over `chunk_line_bytes_max`.
    #[error("chunk line too long")]
    ChunkLineTooLong,
    /// Over `chunk_extension_bytes_max`.
    #[error("chunk extensions too large")]
    ChunkExtensionsTooLarge,
    /// The chunk's data is not followed by CRLF.
    #[error("chunk data without CRLF")]
    ChunkDataEnd,
    /// A trailer line that is no field line.
    #[error("bad trailer")]
    Trailer,
    /// A trailer of a name that steers framing, routing or the connection (RFC 9110 section 6.5.1).
    #[error("forbidden trailer")]
    ForbiddenTrailer,
    /// Over one of the trailer limits.
    #[error("trailers too large")]
    TrailersTooLarge,
    /// More payload than [`crate::Body::with_payload_max`] allows.
    #[error("body too large")]
    TooLarge,
    /// The connection ended within the message.
    #[error("body ended early")]
    Truncated,
}

impl BodyError {
    /// The status of the answer to the sender of a bad request body.
    pub fn status(self) -> u16 {
        match self {
            Self::TrailersTooLarge => 431,
            Self::TooLarge => 413,
            _ => 400,
        }
    }

    /// A few words: a metric label, a log value, the body of the answer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ChunkSize => "bad chunk size",
            Self::ChunkExtension => "bad chunk extension",
            Self::ChunkLineTooLong => "chunk line too long",
            Self::ChunkExtensionsTooLarge => "chunk extensions too large",
            Self::ChunkDataEnd => "chunk data without CRLF",
            Self::Trailer => "bad trailer",
            Self::ForbiddenTrailer => "forbidden trailer",
            Self::TrailersTooLarge => "trailers too large",
            Self::TooLarge => "body too large",
            Self::Truncated => "body ended early",
        }
    }
}
