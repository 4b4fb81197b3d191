use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::claims::Claims;
use crate::token::TokenError;

/// What is asked of a token beside its signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Who must have issued it; none: whoever has the keys.
    pub issuer: Option<Arc<str>>,
    /// Of these it must be for one; none: for anybody.
    pub audiences: Vec<Arc<str>>,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

/// When a token is good, in seconds since 1970, the leeway included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The first second.
    pub from: u64,
    /// The first second in which it is good no more.
    pub until: u64,
}

impl Lifetime {
    /// Whether it is good in the second `now`.
    ///
    /// # Errors
    /// [`TokenError::TooEarly`], [`TokenError::Expired`].
    pub fn holds(self, now: u64) -> Result<(), TokenError> {
        if now < self.from {
            return Err(TokenError::TooEarly);
        }
        if now >= self.until { Err(TokenError::Expired) } else { Ok(()) }
    }
}

impl Demands {
    /// When a token is good that says `claims`, if it is at all (RFC 7519 section 4.1).
    ///
    /// # Errors
    /// [`TokenError`]: another issuer or audience, no time of expiry, or times that are none.
    pub fn judge(&self, claims: &Claims) -> Result<Lifetime, TokenError> {
        if let Some(issuer) = &self.issuer
            && claims.text("iss") != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        // RFC 7519 section 4.1.3: one that a token is not for "MUST" reject it.
        if !self.audiences.is_empty() && !self.is_for_us(claims) {
            return Err(TokenError::Audience);
        }
        let time = |name| claims.time(name).map_err(|()| TokenError::Malformed);
        let until = time("exp")?.ok_or(TokenError::Endless)?;
        let leeway = self.leeway.as_secs();
        let from = time("nbf")?.unwrap_or_default().saturating_sub(leeway);
        Ok(Lifetime { from, until: until.saturating_add(leeway) })
    }

    fn is_for_us(&self, claims: &Claims) -> bool {
        let is_ours =
            |name: &Value| name.as_str().is_some_and(|name| self.audiences.iter().any(|a| &**a == name));
        match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        }
    }
}
