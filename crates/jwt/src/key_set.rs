use std::fmt;

use serde_json::Value;

use crate::key::{Jwk, Key};
use crate::token::TokenError;

/// Keys of a set, at most.
const KEYS_MAX: usize = 64;
/// Keys that a token is tried with, at most.
const TRIES_MAX: usize = 8;

/// Public keys (RFC 7517 section 5): at least one that checks signatures.
pub struct KeySet {
    keys: Vec<Key>,
    ignored: Vec<Ignored>,
}

/// A key of a set that is of no use here; the others are (RFC 7517 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its place, from 0.
    pub at: usize,
    /// Goes on from a name of the key: `is symmetric`.
    pub problem: &'static str,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or without a list `keys`.
    #[error("is no JSON of the form {{\"keys\": [...]}}")]
    NoSet,
    /// No key of it checks signatures.
    #[error("has no key that signatures can be checked with")]
    Empty,
    /// The same, and why its first key does not.
    #[error("has no key that signatures can be checked with: its first {0}")]
    Useless(&'static str),
    /// More than 64.
    #[error("has more than {KEYS_MAX} keys")]
    TooMany,
}

impl KeySet {
    /// Reads a set as JSON.
    ///
    /// # Errors
    /// [`KeySetError`]: it is none, or no key of it is of use.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set: Value = serde_json::from_slice(text).map_err(|_| KeySetError::NoSet)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoSet)?;
        if list.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for (at, value) in list.iter().enumerate() {
            let read = serde_json::from_value::<Jwk>(value.clone()).map_err(|_| "is no JWK");
            match read.and_then(Key::new) {
                Ok(key) => keys.push(key),
                Err(problem) => ignored.push(Ignored { at, problem }),
            }
        }
        match (keys.is_empty(), ignored.first()) {
            (false, _) => Ok(Self { keys, ignored }),
            (true, Some(first)) => Err(KeySetError::Useless(first.problem)),
            (true, None) => Err(KeySetError::Empty),
        }
    }

    /// The keys that are of no use here.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Checks a signature with the key that is named, or with all that take the algorithm, up to eight.
    pub(crate) fn check(
        &self,
        (kid, alg): (Option<&str>, &str),
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let named = self.keys.iter().filter(|key| key.is_named(kid));
        let mut tried =
            named.filter_map(|key| key.signed(alg, message, signature)).take(TRIES_MAX).peekable();
        if tried.peek().is_none() {
            return Err(TokenError::NoKey);
        }
        if tried.any(|signed| signed) { Ok(()) } else { Err(TokenError::Signature) }
    }
}

/// Says how many keys there are.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} keys]", self.keys.len())
    }
}
