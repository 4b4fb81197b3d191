use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use crate::{ListenerId, ObjectRef};

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
    /// The answer to all requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_response: Option<DirectResponse>,
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
