use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::BackendId;

/// A service that decides about requests before they go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtAuth {
    /// Who is asked.
    pub backend: BackendId,
    /// What is said to it.
    pub protocol: ExtAuthProtocol,
    /// Headers of requests that it gets, in lower case, beside those that it always gets. None, by gRPC: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_ext_auth: Vec<Arc<str>>,
    /// Whether requests go on while it cannot be asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fails_open: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// The status of the answer while it cannot be asked.
    pub status_on_error: u16,
}

/// How a service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ExtAuthProtocol {
    /// By a request like the one that it is about.
    #[serde(rename_all = "camelCase")]
    Http {
        /// What its path begins with; may be empty.
        path: Arc<str>,
        /// Headers of its answer that endpoints get; what clients write into them never passes.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers_to_backend: Vec<Arc<str>>,
    },
    /// By `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}
