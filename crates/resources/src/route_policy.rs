use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteQuantity, ExtAuth, Jwt, PolicyStatus, PolicyTargetRef};

/// What is asked of the requests of a Gateway, a listener, a route or a rule, beyond what their own kinds have fields for.
///
/// Each field counts by itself: of several policies that reach a rule, the one for the most specific target that sets a
/// field wins (rule, route, listener, Gateway).
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "rauta.io",
    version = "v1",
    kind = "RoutePolicy",
    plural = "routepolicies",
    namespaced,
    derive = "PartialEq",
    status = "PolicyStatus",
    shortname = "rp",
    category = "rauta",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutePolicySpec {
    /// What it is for: Gateways (sectionName: a listener), HTTPRoutes and GRPCRoutes (sectionName: a rule), Ingresses and
    /// RoutingRules of its namespace.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<PolicyTargetRef>,
    /// Which clients may ask, by address; all others get 403.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_rules: Option<IpRules>,
    /// How many requests pass in a time; others get 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Who may ask, by user and password; others get 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Who may ask, by signed token (JWT); others get 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// Which service is asked whether a request goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext_auth: Option<ExtAuth>,
    /// Delays and errors for some requests, to see how clients take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_injection: Option<FaultInjection>,
    /// An answer that the gateway gives itself; no endpoint gets the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_response: Option<DirectResponse>,
    /// Bodies of the errors that the gateway answers itself; the first entry that names a status counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub error_responses: Vec<ErrorResponse>,
    /// Codings that responses are compressed with for clients that take them; of those that a client likes alike, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self.all(one, self.exists_one(other, other.type == one.type))",
        "message": "a coding stands there twice"
    }]))]
    pub compression: Option<Vec<Compression>>,
    /// The most bytes of a request's body, such as `1Mi` or `1048576`; more get 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body_max: Option<ByteQuantity>,
    /// Whether it stands for a policy that cannot be read: then what it is for is closed.
    #[serde(skip)]
    pub is_unreadable: bool,
}

/// Networks in CIDR notation, or single addresses. `deny` goes before `allow`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "has(self.allow) && size(self.allow) > 0 || has(self.deny) && size(self.deny) > 0",
    "allow or deny must name somebody"
))]
pub struct IpRules {
    /// Who may ask; empty: everybody who is not denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 64)))]
    pub allow: Vec<String>,
    /// Who may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 64)))]
    pub deny: Vec<String>,
}

/// The body of some errors.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorResponse {
    /// Statuses from 400 to 599, such as `404`, or classes: `4xx`, `5xx`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 3)))]
    pub status_codes: Vec<String>,
    /// The body's `Content-Type`; unset: `text/plain; charset=utf-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub content_type: Option<String>,
    /// The body, up to 64 KiB.
    #[schemars(length(max = 65536))]
    pub body: String,
}

/// An answer.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "!(self.statusCode in [204, 304]) || !has(self.body) || size(self.body) == 0",
    "a body cannot go with status 204 or 304"
))]
pub struct DirectResponse {
    /// The status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status_code: u16,
    /// The body's `Content-Type`; unset: `text/plain; charset=utf-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub content_type: Option<String>,
    /// The body, up to 64 KiB; unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
}

/// HTTP's scheme Basic (RFC 7617).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// Where users and hashes of their passwords are: entry `.htpasswd` of a Secret of the policy's namespace.
    pub users: SecretRef,
    /// What clients are told that they are asked for; unset: `restricted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub realm: Option<String>,
    /// A header in which endpoints get the user. What clients write into it never passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub forward_username_header: Option<String>,
}

/// A Secret of the policy's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A token bucket, of each gateway by itself.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// How many in each `unit`, evenly.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub requests: u32,
    /// The time that `requests` is for.
    pub unit: RateLimitUnit,
    /// How many may come at once; unset: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: Option<u32>,
    /// Whose requests are counted together; unset: all of a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RateLimitKey>,
}

/// A time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitUnit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// Whose requests are counted together.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "(self.type == 'Header') == has(self.header)",
    "header goes with type Header, and with no other"
))]
pub struct RateLimitKey {
    /// By what they are told apart.
    #[serde(rename = "type")]
    pub kind: RateLimitKeyType,
    /// The header of type Header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub header: Option<String>,
}

/// By what requests are told apart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimitKeyType {
    /// By nothing: all requests of a rule.
    #[default]
    Route,
    /// By the client's address; of IPv6 the first 64 bits.
    Address,
    /// By the value of a header; those without it together.
    Header,
}

/// What goes wrong on purpose.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.delay) || has(self.abort)", "delay or abort must be set"))]
pub struct FaultInjection {
    /// Requests that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultDelay>,
    /// Requests that are answered with an error; those that wait, too, do so first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultAbort>,
}

/// Requests that wait before they go on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultDelay {
    /// For how long, such as `500ms`; up to an hour.
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub fixed_delay: String,
    /// How many of a hundred; unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percentage: Option<f64>,
}

/// Requests that are answered with an error.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultAbort {
    /// The status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub http_status: u16,
    /// How many of a hundred; unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percentage: Option<f64>,
}

/// A content coding, and the responses that it is for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compression {
    /// The coding.
    #[serde(rename = "type")]
    pub kind: CompressionType,
    /// Responses that are shorter stay as they are; unset: `256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_content_length: Option<ByteQuantity>,
    /// Media types without parameters, such as `text/html`, or `text/*`; unset: those of text, scripts, markup and fonts that compress
    /// well. `text/event-stream` only where it stands there itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub content_types: Option<Vec<String>>,
}

/// A content coding.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}
