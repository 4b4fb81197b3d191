use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::{ExtAuth, Jwt, ListenerId, ObjectRef, SecretBytes};

/// What policies ask of the requests of a route that come in by some of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachedPolicies {
    /// Some of the route's, sorted.
    pub listeners: Vec<ListenerId>,
    /// What holds for them.
    pub policies: Policies,
}

/// What RoutePolicies (`rauta.io/v1`) together ask of a request, each field from the most specific of them that sets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policies {
    /// The policies that say something here, sorted.
    pub by: Vec<ObjectRef>,
    /// What protects the route cannot be understood: all its requests get 500.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_closed: bool,
    /// Which clients may ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_rules: Option<IpRules>,
    /// How many pass in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How many of a client are under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_limit: Option<ConcurrencyLimit>,
    /// Who may ask, by user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Who may ask, by signed token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Who is asked whether a request goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ext_auth: Option<ExtAuth>,
    /// What goes wrong on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_injection: Option<FaultInjection>,
    /// The answer to all requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_response: Option<DirectResponse>,
    /// Bodies of errors that the gateway answers itself; the first for a status counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_responses: Vec<ErrorResponse>,
    /// Codings that responses may be sent in, the preferred first; each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compression: Vec<Compression>,
    /// The most bytes of a request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body_max: Option<u64>,
}

/// Which clients may ask, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IpRules {
    /// Who may; empty: everybody else.
    pub allow: Vec<IpNet>,
    /// Who may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
}

/// How many requests pass: `requests` in each `period`, evenly, and up to `burst` at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Above 0.
    pub requests: u32,
    /// Above 0.
    pub period: Duration,
    /// Above 0.
    pub burst: u32,
    /// Whose requests are counted together.
    pub key: RateLimitKey,
    /// Clients that have no limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
    /// The status of the answer to those that do not pass.
    #[serde(skip_serializing_if = "is_too_many")]
    pub status: u16,
    /// Whether all routes of the object count together; if not, each counts by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_of_object: bool,
}

impl RateLimit {
    /// Too Many Requests (RFC 6585 section 4): the status unless something is said of it.
    pub const TOO_MANY: u16 = 429;
}

/// Whether it goes without saying.
fn is_too_many(status: &u16) -> bool {
    *status == RateLimit::TOO_MANY
}

/// How many requests of one client (an address; of IPv6 the first 64 bits) may be under way on all routes of an object together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConcurrencyLimit {
    /// Above 0.
    pub requests: u32,
    /// Clients that have no limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
    /// The status of the answer to those that are too many.
    pub status: u16,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RateLimitKey {
    /// Everybody's.
    Route,
    /// Those of a client's address; of IPv6 the first 64 bits.
    Address,
    /// Those with one value of this header, whose name is in lower case; those without it together.
    Header(Arc<str>),
}

/// HTTP's scheme Basic (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// What clients are told that they are asked for; without quotes, backslashes and control characters.
    pub realm: Arc<str>,
    /// A header in which endpoints get the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_header: Option<Arc<str>>,
    /// A file of htpasswd, checked.
    #[serde(skip)]
    pub users: SecretBytes,
}

/// What goes wrong on purpose, drawn for each request; a request may get both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultInjection {
    /// It waits so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Share<Duration>>,
    /// It is answered with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Share<u16>>,
}

/// What some of a route's requests get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share<T> {
    /// What.
    pub value: T,
    /// How many of a million, up to all.
    pub per_million: u32,
}

/// An answer that the gateway gives itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// Of the body.
    pub content_type: Arc<str>,
    /// May be empty.
    pub body: Arc<str>,
}

/// The body of errors with some statuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResponse {
    /// From 400 to 599.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Of the body.
    pub content_type: Arc<str>,
    /// May be empty.
    pub body: Arc<str>,
}

/// A content coding, and the responses that may be sent in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// Which.
    pub coding: ContentCoding,
    /// Responses of fewer bytes stay as they are.
    pub min_content_length: u64,
    /// Media types in lower case, such as `text/html`, or all of a kind: `text/*`.
    pub content_types: Arc<[Arc<str>]>,
}

/// How content is coded (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl ContentCoding {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name in `Content-Encoding` and `Accept-Encoding` (IANA, HTTP Content Coding Registry).
    pub fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}
