use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a policy of ours is for: an object of its namespace, or a part of one (GEP-713, direct policy attachment).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTargetRef {
    /// The object's API group; empty for Kubernetes' own core.
    #[schemars(length(max = 253))]
    pub group: String,
    /// The object's kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A part of it: a listener of a Gateway, a rule of a route, a port of a Service; unset: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}
