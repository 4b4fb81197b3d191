use std::borrow::Cow;
use std::time::SystemTime;

/// Something that took a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// Who called; none: the trace begins with it.
    pub parent: Option<u64>,
    /// Whose end of a call it is.
    pub kind: Kind,
    /// Of low cardinality.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it, by the names of the semantic conventions for HTTP 1.37.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed; none: it did not. May be empty.
    pub error: Option<Cow<'static, str>>,
}

/// Whose end of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who is asked.
    Server,
    /// Who asks.
    Client,
}

/// What an attribute is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
