use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service that decides about requests. Names are those of Envoy Gateway's SecurityPolicy where it has them.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.http) != has(self.grpc)", "exactly one of http and grpc must be set"))]
pub struct ExtAuth {
    /// One that is asked by HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpExtAuth>,
    /// One that is asked by gRPC: `envoy.service.auth.v3.Authorization`. One of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcExtAuth>,
    /// Headers of requests that it gets, beside those that it always gets; unset, by gRPC: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub headers_to_ext_auth: Vec<String>,
    /// Whether requests go on while it cannot be asked; unset: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_open: Option<bool>,
    /// How long it may take, such as `500ms`, up to a minute; unset: `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: Option<String>,
    /// The status of the answer while it cannot be asked, 400 to 599; unset: 403.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status_on_error: Option<u16>,
}

/// A service that is asked by HTTP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpExtAuth {
    /// The one Service to ask; in another namespace where a ReferenceGrant lets RoutePolicies name it.
    #[schemars(length(min = 1, max = 1))]
    pub backend_refs: Vec<PolicyBackendRef>,
    /// What stands before the path of the request; unset: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// Headers of an answer that lets in, which endpoints get. What clients write into them never passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub headers_to_backend: Vec<String>,
}

/// A service that is asked by gRPC.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcExtAuth {
    /// The one Service to ask; in another namespace where a ReferenceGrant lets RoutePolicies name it.
    #[schemars(length(min = 1, max = 1))]
    pub backend_refs: Vec<PolicyBackendRef>,
}

/// A port of a Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyBackendRef {
    /// Its group; unset: the core's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Its kind; unset: Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; unset: the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The number of the port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}
