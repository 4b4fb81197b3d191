use core::fmt;

/// Why bytes are no HTTP/1 head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeadError {
    /// The method is empty or holds a byte that is no token byte.
    BadMethod,
    /// The request target is empty or holds a control byte, a byte outside ASCII or `#`.
    BadTarget,
    /// What stands in the place of the version is none (HTTP/0.9 has none at all).
    BadVersion,
    /// A well-formed version other than HTTP/1.0 and HTTP/1.1.
    UnsupportedVersion,
    /// The status is not three digits from 100 on, or a control byte stands in the reason phrase.
    BadStatusLine,
    /// LF without CR before it.
    BareLf,
    /// CR without LF behind it.
    BareCr,
    /// A line that starts with whitespace.
    ObsFold,
    /// Whitespace between a field name and its colon.
    SpaceBeforeColon,
    /// A field name that is empty or holds a byte that is no token byte.
    BadFieldName,
    /// A field line without a colon.
    NoColon,
    /// A control byte in a field value.
    BadFieldValue,
    /// The sink had no room for another field.
    TooManyFields,
    /// No end within [`super::HEAD_BYTES_MAX`] bytes.
    TooLong,
}

impl HeadError {
    /// A few words: a metric label, a log value, the body of an answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMethod => "bad method",
            Self::BadTarget => "bad request target",
            Self::BadVersion => "bad version",
            Self::UnsupportedVersion => "unsupported version",
            Self::BadStatusLine => "bad status line",
            Self::BareLf => "line ended by LF alone",
            Self::BareCr => "CR without LF",
            Self::ObsFold => "folded line",
            Self::SpaceBeforeColon => "whitespace before colon",
            Self::BadFieldName => "bad header name",
            Self::NoColon => "header line without colon",
            Self::BadFieldValue => "control byte in header value",
            Self::TooManyFields => "too many header lines",
            Self::TooLong => "head too large",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for HeadError {}
