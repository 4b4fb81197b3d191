use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(crate) fn new(all: Map<String, Value>) -> Self {
        Self(all)
    }

    /// The claim called `path`, or one inside another: `realm_access.roles`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        // A name with dots of its own is meant first, such as a URI.
        self.0.get(path).or_else(|| {
            let mut parts = path.split('.');
            let first = self.0.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.as_object()?.get(part))
        })
    }

    /// A claim that is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// The value of a header for a claim: text, numbers and truth values as they are, lists and objects as base64url of JSON. None: it
    /// is not there, or null.
    pub fn header_value(&self, path: &str) -> Option<String> {
        match self.get(path)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            value @ (Value::Bool(_) | Value::Number(_)) => Some(value.to_string()),
            value => Some(URL_SAFE_NO_PAD.encode(value.to_string())),
        }
    }

    /// Whether a claim is there, and is one of `values`, if there are any: it itself, one of its list, or one of the words of `scope` (RFC
    /// 8693 section 4.2).
    pub fn has<T: AsRef<str>>(&self, path: &str, values: &[T]) -> bool {
        let is_one = |value: &Value| match value {
            Value::String(text) => values.iter().any(|wanted| wanted.as_ref() == text),
            Value::Bool(_) | Value::Number(_) => {
                let text = value.to_string();
                values.iter().any(|wanted| wanted.as_ref() == text)
            }
            _ => false,
        };
        match self.get(path) {
            None | Some(Value::Null) => false,
            Some(_) if values.is_empty() => true,
            Some(Value::String(words)) if path == "scope" => {
                words.split(' ').any(|word| values.iter().any(|wanted| wanted.as_ref() == word))
            }
            Some(Value::Array(list)) => list.iter().any(is_one),
            Some(value) => is_one(value),
        }
    }

    /// A time in seconds since 1970 (RFC 7519 section 2, NumericDate, which may have a fraction); an error: it is none.
    pub(crate) fn time(&self, name: &str) -> Result<Option<u64>, ()> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        if let Some(seconds) = value.as_u64() {
            return Ok(Some(seconds));
        }
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds)).ok_or(())?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1e15")]
        let whole = seconds as u64;
        Ok(Some(whole))
    }
}
