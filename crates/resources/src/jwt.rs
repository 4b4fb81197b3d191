use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Signed tokens (RFC 7519). Names are those of Envoy Gateway's SecurityPolicy where it has them.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwt {
    /// Whether clients without any token may ask, too; one that is not good is refused all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
    /// Who issues tokens; one of them must have issued the client's.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = (
        "self.all(one, self.exists_one(other, other.name == one.name))",
        "two providers have the same name"
    ))]
    pub providers: Vec<JwtProvider>,
}

/// Who issues tokens, and what is asked of them.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "has(self.localJWKS)",
    "localJWKS must be set: signatures are checked with its keys"
))]
pub struct JwtProvider {
    /// Its name in this policy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What the claim `iss` must be; unset: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub issuer: Option<String>,
    /// What the claim `aud` must have one of; unset: anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 1024)))]
    pub audiences: Vec<String>,
    /// The keys that check signatures.
    #[serde(default, rename = "localJWKS", skip_serializing_if = "Option::is_none")]
    pub local_jwks: Option<LocalJwks>,
    /// Where tokens are; unset: `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract_from: Option<JwtExtractor>,
    /// Whether endpoints get the token; unset: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<bool>,
    /// Headers that endpoints get from claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub claim_to_headers: Vec<ClaimToHeader>,
    /// What a token must say; others get 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub required_claims: Vec<RequiredClaim>,
    /// How far clocks may be apart, such as `30s`; unset: `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub clock_skew: Option<String>,
}

/// A JWK set (RFC 7517) here.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "has(self.inline) != has(self.valueRef)",
    "exactly one of inline and valueRef must be set"
))]
#[x_kube(validation = (
    "!has(self.type) || (self.type == 'Inline') == has(self.inline)",
    "inline goes with type Inline, valueRef with type ValueRef"
))]
pub struct LocalJwks {
    /// Where it is; unset: what is there.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<LocalJwksType>,
    /// Its JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub inline: Option<String>,
    /// A ConfigMap or Secret of the policy's namespace: its entry `jwks`, or its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_ref: Option<LocalObjectRef>,
}

/// Where a JWK set is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalJwksType {
    /// In the policy.
    Inline,
    /// In another object.
    ValueRef,
}

/// An object of the policy's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalObjectRef {
    /// Its group; unset: the core's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Its kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where tokens are looked for: in headers, then cookies, then parameters of the query.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtExtractor {
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers: Vec<JwtHeader>,
    /// Names of cookies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 256)))]
    pub cookies: Vec<String>,
    /// Names of parameters of the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 256)))]
    pub params: Vec<String>,
}

/// A header with a token.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtHeader {
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// What stands before the token, such as `Bearer `; unset: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub value_prefix: Option<String>,
}

/// A header that endpoints get.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimToHeader {
    /// Its name. What clients write into it never passes.
    #[schemars(length(min = 1, max = 256))]
    pub header: String,
    /// The claim's name, or the way to one inside others: `realm_access.roles`.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,
}

/// A claim that a token must have.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredClaim {
    /// Its name, or the way to it.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// One of which it must be, or have in its list; unset: anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 4096)))]
    pub values: Vec<String>,
}
