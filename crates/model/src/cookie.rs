use std::sync::Arc;

use serde::Serialize;

/// What a cookie of a session says of itself beside its path and its lifetime (RFC 6265 section 4.1, RFC 6265bis for SameSite).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieAttributes {
    /// None: for the name that was asked for alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Arc<str>>,
    /// With which requests of other sites it travels.
    #[serde(skip_serializing_if = "SameSite::is_default")]
    pub same_site: SameSite,
    /// Whether over HTTPS alone; none: where it was given by HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_secure: Option<bool>,
    /// Whether [`SameSite::None`] is left out for browsers that take it for Strict, or refuse it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spares_old_browsers: bool,
}

impl CookieAttributes {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// With which requests that pages of other sites cause a cookie travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With those that take the whole page there.
    #[default]
    Lax,
    /// With all; browsers want it to be secure.
    None,
}

impl SameSite {
    /// As it stands in a cookie.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
