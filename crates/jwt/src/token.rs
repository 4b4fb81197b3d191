use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::claims::Claims;
use crate::key_set::KeySet;

/// The longest token.
const BYTES_MAX: usize = 16 * 1024;

/// A token that nobody has checked yet.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    alg: String,
    kid: Option<String>,
    /// What is signed.
    message: &'t str,
    signature: Vec<u8>,
    claims: Claims,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum TokenError {
    /// It is no JWS in compact form with an object of JSON in it.
    Malformed,
    /// It wants what nobody here knows (RFC 7515 section 4.1.11).
    Critical,
    /// No key is called as it says, and takes its algorithm.
    NoKey,
    /// No key that fits has signed it.
    Signature,
    /// Its time is over.
    Expired,
    /// It never ends.
    Endless,
    /// Its time is still to come.
    TooEarly,
    /// Somebody else issued it.
    Issuer,
    /// It is meant for others.
    Audience,
}

impl TokenError {
    /// For people, and for a header: no quotes in it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "the token is no JWT",
            Self::Critical => "the token has critical extensions",
            Self::NoKey => "no key fits the token",
            Self::Signature => "the signature of the token is wrong",
            Self::Expired => "the token has expired",
            Self::Endless => "the token has no time of expiry",
            Self::TooEarly => "the token is not valid yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
        }
    }
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::Critical`].
    pub fn parse(text: &'t str) -> Result<Self, TokenError> {
        let malformed = TokenError::Malformed;
        if text.len() > BYTES_MAX {
            return Err(malformed);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = message.split_once('.').ok_or(malformed)?;
        let mut header = object(header).ok_or(malformed)?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let Some(Value::String(alg)) = header.remove("alg") else { return Err(malformed) };
        let kid = match header.remove("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(malformed),
        };
        let claims = Claims::new(object(claims).ok_or(malformed)?);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
        Ok(Self { alg, kid, message, signature, claims })
    }

    /// Who issued it, as it says itself; nobody has checked that.
    pub fn unverified_issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// What it says, if one of `keys` has signed it.
    ///
    /// # Errors
    /// [`TokenError::NoKey`], [`TokenError::Signature`].
    pub fn verify(self, keys: &KeySet) -> Result<Claims, TokenError> {
        keys.check((self.kid.as_deref(), &self.alg), self.message.as_bytes(), &self.signature)?;
        Ok(self.claims)
    }
}

fn object(encoded: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}
