//! What the experimental channel of the same version adds and the gateway serves, written by hand.

use serde::{Deserialize, Serialize};

/// `rules[].retry` of an HTTPRoute (GEP-1731).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct HttpRouteRulesRetry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<i64>>,
}
