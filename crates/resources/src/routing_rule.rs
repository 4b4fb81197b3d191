use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RoutingRuleStatus;

/// Labels of letters, digits and inner hyphens; `*` for the first ones.
const HOST: &str =
    r"^(\*\.)?[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$";

/// An address, that of IPv6 in brackets, and a port.
const ENDPOINT: &str = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}$";

/// A route to literal endpoints or Services, in one object.
///
/// Without `parentRefs` it serves on the default listener (files) or on the Gateways of its namespace (cluster).
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "rauta.io",
    version = "v1",
    kind = "RoutingRule",
    namespaced,
    derive = "PartialEq",
    status = "RoutingRuleStatus",
    shortname = "rr",
    category = "rauta",
    printcolumn = r#"{"name":"Path","type":"string","jsonPath":".spec.match.path.value"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Tier","type":"integer","jsonPath":".spec.tier"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingRuleSpec {
    /// The tier that should decide these requests: 1 (XDP), 2 (TC) or 3 (userspace). A preference: what a tier
    /// cannot decide goes up. Unset: the lowest that can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub tier: Option<u8>,
    /// Host names, exact or `*.example.com` (any number of labels). Empty: every name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253), regex(pattern = HOST)))]
    pub hosts: Vec<String>,
    /// The Gateways or listeners to serve on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub parent_refs: Vec<ParentRef>,
    /// Which requests; unset: all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<RuleMatch>,
    /// Where they go, by weight.
    #[schemars(length(min = 1, max = 1024))]
    pub backends: Vec<RuleBackend>,
    /// Settings of the Maglev table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maglev: Option<Maglev>,
    /// How an endpoint is chosen; unset: Maglev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// Whether a client keeps its endpoint; unset: as each backend's Service says (`sessionAffinity`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<RuleAffinity>,
    /// Whether `X-Forwarded-For` and `X-Forwarded-Proto` are added for endpoints; unset: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_headers: Option<bool>,
}

/// A Gateway, or one listener of it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentRef {
    /// The Gateway's namespace; unset: the rule's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The Gateway's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The listener's name; unset: all listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
    /// The listener's port; unset: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// Conditions that must all hold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleMatch {
    /// The method, upper case as in RFC 9110; unset: every method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub method: Option<String>,
    /// The path's condition; unset: every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<RulePath>,
    /// Conditions on headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<RuleValue>,
    /// Conditions on query parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub queries: Vec<RuleValue>,
}

/// A condition on the path.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("self.type == 'Regex' || self.value.startsWith('/')", "a path begins with /"))]
pub struct RulePath {
    /// How `value` is compared; unset: Prefix.
    #[serde(default, rename = "type")]
    pub kind: RulePathType,
    /// Starts with `/`, but for Regex.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// How a path is compared.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RulePathType {
    /// The whole path.
    Exact,
    /// Whole path elements: `/api` matches `/api/v1`, never `/apix`.
    #[default]
    Prefix,
    /// A regular expression over the whole path (syntax of the Rust `regex` crate).
    Regex,
}

/// A condition on a header or a query parameter.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleValue {
    /// The header's or parameter's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// What it must be.
    #[schemars(length(max = 4096))]
    pub value: String,
    /// How `value` is compared; unset: Exact.
    #[serde(default, rename = "type")]
    pub kind: RuleValueType,
}

/// How a value is compared.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleValueType {
    /// These bytes.
    #[default]
    Exact,
    /// A regular expression over the whole value.
    Regex,
}

/// A share of the traffic: exactly one of `endpoint` and `service`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.endpoint) != has(self.service)", "exactly one of endpoint and service must be set"))]
pub struct RuleBackend {
    /// A literal address and port: `10.0.1.1:8080`, `[fd00::1]:8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = ENDPOINT))]
    pub endpoint: Option<String>,
    /// A Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<RuleService>,
    /// The share, relative to the others: 0 (none) to 65535; unset: 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(max = 65535))]
    pub weight: u32,
}

/// A port of a Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleService {
    /// The Service's namespace; unset: the rule's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The Service's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The Service's port (not the endpoint's).
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// Settings of the Maglev table.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Maglev {
    /// Slots: a prime from 251 to 65537; unset: 4099.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 251, max = 65537))]
    pub table_size: Option<u32>,
}

/// How an endpoint is chosen.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// The method; unset: Maglev.
    #[serde(default, rename = "type")]
    pub kind: LoadBalancerType,
}

/// A method of choosing endpoints.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancerType {
    /// Consistent hashing.
    #[default]
    Maglev,
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
}

/// Whether a client keeps its endpoint.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleAffinity {
    /// How a client is known.
    #[serde(rename = "type")]
    pub kind: AffinityType,
    /// For how long after its last request, in whole seconds from `1s` to `24h`; unset: `3h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: Option<String>,
}

/// How a client is known that keeps its endpoint.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AffinityType {
    /// By the address that its connections come from.
    #[default]
    ClientIP,
    /// It does not keep its endpoint, whatever the Service says.
    None,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_one(weight: &u32) -> bool {
    *weight == 1
}
