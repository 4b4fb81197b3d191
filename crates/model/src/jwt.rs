use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Signed tokens that clients show (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// Whether clients without any token may ask, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_optional: bool,
    /// A token must be good for one of these; never empty.
    pub providers: Vec<JwtProvider>,
}

/// Who issues tokens, where they are, and what is asked of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtProvider {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// What signatures are checked with.
    pub keys: JwtKeys,
    /// What `iss` must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Arc<str>>,
    /// What `aud` must have one of; empty: anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<Arc<str>>,
    /// How far clocks may be apart.
    pub clock_skew: Duration,
    /// Where tokens are looked for.
    pub extract_from: TokenPlaces,
    /// Whether the endpoint gets the token.
    pub forwards: bool,
    /// Headers that endpoints get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claim_to_headers: Vec<ClaimHeader>,
    /// What a token must say; all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<RequiredClaim>,
}

/// Public keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JwtKeys {
    /// A JWK set (RFC 7517), checked.
    Local(Jwks),
}

/// The text of a JWK set. Public, and too long to print.
#[derive(Clone, PartialEq, Eq)]
pub struct Jwks(Arc<[u8]>);

/// Where tokens are looked for: headers first, then cookies, then parameters of the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenPlaces {
    /// Names of headers in lower case, and what stands before the token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Names of cookies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<Arc<str>>,
    /// Names of parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Arc<str>>,
}

/// A header with what a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimHeader {
    /// The claim's name, or the way to it: `realm_access.roles`.
    pub claim: Arc<str>,
    /// The header's name.
    pub header: Arc<str>,
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequiredClaim {
    /// The claim's name, or the way to it.
    pub name: Arc<str>,
    /// One of which it must be; empty: anything.
    pub values: Vec<Arc<str>>,
}

impl Jwks {
    /// Takes the text in.
    pub fn new(json: &[u8]) -> Self {
        Self(json.into())
    }

    /// The text.
    pub fn json(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes of JWKS]", self.0.len())
    }
}

impl Serialize for Jwks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}
