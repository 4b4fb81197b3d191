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

/// `rules[].sessionPersistence` of an HTTPRoute or GRPCRoute (GEP-1619).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RouteRulesSessionPersistence {
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "absoluteTimeout")]
    pub absolute_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "cookieConfig")]
    pub cookie_config: Option<RouteRulesSessionPersistenceCookieConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "idleTimeout")]
    pub idle_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "sessionName")]
    pub session_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub r#type: Option<RouteRulesSessionPersistenceType>,
}

/// `sessionPersistence.type`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRulesSessionPersistenceType {
    Cookie,
    Header,
}

/// `sessionPersistence.cookieConfig`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RouteRulesSessionPersistenceCookieConfig {
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "lifetimeType")]
    pub lifetime_type: Option<RouteRulesSessionPersistenceCookieConfigLifetimeType>,
}

/// `sessionPersistence.cookieConfig.lifetimeType`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRulesSessionPersistenceCookieConfigLifetimeType {
    Permanent,
    Session,
}
