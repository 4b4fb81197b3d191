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
    /// By a request for one URL, as ingress-nginx does by `auth_request` of nginx.
    Subrequest(Arc<Subrequest>),
}

impl ExtAuthProtocol {
    /// Headers of its answer that endpoints get, where they are named; what clients write into them never passes.
    pub fn headers_to_backend(&self) -> &[Arc<str>] {
        match self {
            Self::Http { headers_to_backend, .. } => headers_to_backend,
            Self::Subrequest(said) => &said.headers_to_backend,
            Self::Grpc => &[],
        }
    }
}

/// A request for one URL: it has the headers of the request that it is about, and more that say which that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subrequest {
    /// Its method.
    pub method: Arc<str>,
    /// Its `Host`.
    pub host: Arc<str>,
    /// Path and query.
    pub target: Arc<str>,
    /// Headers of the answer that endpoints get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_backend: Vec<Arc<str>>,
    /// Where clients are sent that it answers 401 to; empty: nowhere, they get that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sign_in: Vec<UrlPiece>,
    /// What it has in `X-Auth-Request-Redirect`; empty: path and query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect: Vec<UrlPiece>,
    /// Headers that it has beside all others, and in the place of any other of their names; one without a value is taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(Arc<str>, Vec<UrlPiece>)>,
    /// Whether clients get the cookies of an answer that lets them in with every status, not only with those that tell of a success.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub always_sets_cookies: bool,
}

/// A piece of a URL, or of another text about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UrlPiece {
    /// This.
    Text(Arc<str>),
    /// `http` or `https`, as the request came.
    Scheme,
    /// The host that was asked for, without a port.
    Host,
    /// The same with the port, if the client says one.
    Authority,
    /// Path and query.
    Uri,
    /// The same for the value of a parameter: all but letters, digits and `-._~` percent-encoded.
    EscapedUri,
}
