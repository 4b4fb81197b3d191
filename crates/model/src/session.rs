use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::CookieAttributes;

/// A client keeps backend and endpoint for as long as it brings back a value that it was given (Gateway API,
/// SessionPersistence; GEP-1619).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// The name of the cookie or header.
    pub name: Arc<str>,
    /// Whose sessions they are: a value of one scope means nothing in another.
    pub scope: Arc<str>,
    /// How the value travels.
    pub carrier: SessionCarrier,
    /// How long a session lasts in all: whole seconds, at least one; none: for ever.
    pub absolute: Option<Duration>,
    /// How long it lasts without a request: whole seconds, at least one; none: for ever.
    pub idle: Option<Duration>,
}

/// How the value of a session travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionCarrier {
    /// In `Set-Cookie` and `Cookie` (RFC 6265).
    Cookie {
        /// The cookie's `Path`.
        path: Arc<str>,
        /// Whether it outlives the browser, until the session is over.
        is_permanent: bool,
        /// What else it says of itself.
        #[serde(skip_serializing_if = "CookieAttributes::is_empty")]
        attributes: CookieAttributes,
    },
    /// In a header of responses, which clients that know of it repeat in their requests.
    Header,
}

impl Session {
    /// The longest name. Source: the CRD, `sessionName`.
    pub const NAME_BYTES_MAX: usize = 128;
}
