use core::fmt;

/// Why the end of a response cannot be told.
///
/// The order of checks is not promised: a response with several faults has one of their reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unknown {
    /// The head does not end within the segment.
    Incomplete = 0,
    /// No status line of HTTP/1.0 or HTTP/1.1.
    StatusLine = 1,
    /// A line that is no plain field line, or too many lines.
    Head = 2,
    /// Content-Length twice, or no number below 2^63.
    Length = 3,
    /// Transfer-Encoding twice, other than `chunked`, or in HTTP/1.0.
    Encoding = 4,
    /// Content-Length and Transfer-Encoding.
    LengthAndEncoding = 5,
    /// `Connection` twice, or other than `keep-alive`, `close`, or `upgrade` and `keep-alive`.
    Connection = 6,
    /// The framing of a chunked body has extensions, trailers or faults.
    Chunk = 7,
}

impl Unknown {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::StatusLine,
        Self::Head,
        Self::Length,
        Self::Encoding,
        Self::LengthAndEncoding,
        Self::Connection,
        Self::Chunk,
    ];

    /// The one of that number; any other number is that of [`Unknown::Head`].
    #[inline(always)]
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Incomplete,
            1 => Self::StatusLine,
            3 => Self::Length,
            4 => Self::Encoding,
            5 => Self::LengthAndEncoding,
            6 => Self::Connection,
            7 => Self::Chunk,
            _ => Self::Head,
        }
    }

    /// A label: a few words in snake_case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::StatusLine => "status_line",
            Self::Head => "head",
            Self::Length => "length",
            Self::Encoding => "encoding",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::Connection => "connection",
            Self::Chunk => "chunk",
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
