use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteQuantity, PolicyTargetRef};

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
    /// An answer that the gateway gives itself; no endpoint gets the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_response: Option<DirectResponse>,
    /// The most bytes of a request's body, such as `1Mi` or `1048576`; more get 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body_max: Option<ByteQuantity>,
    /// Whether it stands for a policy that cannot be read: then what it is for is closed.
    #[serde(skip)]
    pub is_unreadable: bool,
}

/// Networks in CIDR notation, or single addresses. `deny` goes before `allow`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpRules {
    /// Who may ask; empty: everybody who is not denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub allow: Vec<String>,
    /// Who may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub deny: Vec<String>,
}

/// An answer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
