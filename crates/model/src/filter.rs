use std::sync::Arc;

use serde::Serialize;

use crate::{BackendId, RegexPattern};

/// What is done to a request on its way, and to the response on its way back: the filters of a rule or of one of its
/// backends (Gateway API, HTTPRouteFilter), each kind at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filters {
    /// Changes in the request's head.
    #[serde(skip_serializing_if = "HeaderModifier::is_empty")]
    pub request_headers: HeaderModifier,
    /// Changes in the head of the final response.
    #[serde(skip_serializing_if = "HeaderModifier::is_empty")]
    pub response_headers: HeaderModifier,
    /// Another host and path for the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<UrlRewrite>,
    /// What the path and, behind a `?`, the beginning of the query become; before [`UrlRewrite::path`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captures: Option<CaptureRewrite>,
    /// Which pages of other origins may read answers; of rules only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Who gets copies of requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// What endpoints say of places, in the words of clients; of rules only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Box<AnswerRewrites>>,
    /// Where requests are sent that did not come over HTTPS, neither to this gateway nor to a trusted proxy before it; of rules only, and
    /// before everything that might ask for a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_redirect: Option<Box<Redirect>>,
}

impl Filters {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.only_copy() && self.mirrors.is_empty()
    }

    /// Whether they do nothing but to copy requests, or nothing.
    pub fn only_copy(&self) -> bool {
        // Every route is asked at every change: nothing is made to compare with.
        let Self {
            request_headers,
            response_headers,
            url_rewrite,
            captures,
            cors,
            mirrors: _,
            answers,
            https_redirect,
        } = self;
        let changes_heads = !request_headers.is_empty() || !response_headers.is_empty();
        let changes_places = url_rewrite.is_some() || captures.is_some() || answers.is_some();
        !changes_heads && !changes_places && cors.is_none() && https_redirect.is_none()
    }
}

/// Header lines to take out, to put in place of others, and to put beside others; in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderModifier {
    /// Names; compared without regard to case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Arc<str>>,
    /// Instead of all lines of the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderLine>,
    /// Behind those of the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderLine>,
}

impl HeaderModifier {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// What becomes of places that answers name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerRewrites {
    /// The beginning of `Location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Replacement>,
    /// The beginning of the path of cookies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie_path: Option<Replacement>,
    /// The domain of cookies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie_domain: Option<Replacement>,
}

impl AnswerRewrites {
    /// Whether they stay as they are.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One text in the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replacement {
    /// What is replaced.
    pub from: Arc<str>,
    /// By what.
    pub to: Arc<str>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderLine {
    /// As it is sent.
    pub name: Arc<str>,
    /// Without control characters but tabs.
    pub value: Arc<str>,
}

/// A path that groups of the old one are put into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaptureRewrite {
    /// What the path matches.
    pub pattern: RegexPattern,
    /// `$1` to `$9` stand for its groups; one that matched nothing is empty.
    pub replacement: Arc<str>,
}

/// What the endpoint is asked for instead; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UrlRewrite {
    /// The value of `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

/// Another path (Gateway API, HTTPPathModifier).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathRewrite {
    /// This one, whatever the request's is.
    Full(Arc<str>),
    /// The prefix that matched gives way to another; what is behind it stays.
    Prefix {
        /// Without its trailing slash, as in [`crate::PathMatch::Prefix`]; empty stands for `/`.
        matched: Arc<str>,
        /// As the user wrote it; may be empty.
        replacement: Arc<str>,
    },
}

/// Sends the client elsewhere (Gateway API, HTTPRequestRedirectFilter); what is none stays as in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// The scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Arc<str>>,
    /// The port; none: that of `scheme`, else the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Whether clients are told the path alone, where nothing before that changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_relative: bool,
}

impl Redirect {
    /// One to where the request came to, with this status.
    pub fn new(status: u16) -> Self {
        Self { scheme: None, hostname: None, port: None, path: None, status, is_relative: false }
    }
}

/// What a URL of a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL need not name (RFC 9110 section 4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What scripts of other origins may do (Gateway API, HTTPCORSFilter; Fetch standard section 3.3). `*` alone in a list
/// stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// `*`, or `scheme://host[:port]` where the host may be `*` or begin with `*.`.
    pub allow_origins: Vec<Arc<str>>,
    /// Methods beside GET, HEAD and POST.
    pub allow_methods: Vec<Arc<str>>,
    /// Headers of requests.
    pub allow_headers: Vec<Arc<str>>,
    /// Headers of responses.
    pub expose_headers: Vec<Arc<str>>,
    /// Whether requests may bring cookies and authorization.
    pub allow_credentials: bool,
    /// For how many seconds the answer to a preflight may be kept.
    pub max_age_s: u32,
}

/// A backend that gets a copy of some requests; its answers are thrown away (Gateway API, HTTPRequestMirrorFilter).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Which one; the snapshot holds it.
    pub backend: BackendId,
    /// Of `denominator` requests so many are copied.
    pub numerator: u32,
    /// At least 1, and not below `numerator`.
    pub denominator: u32,
    /// What copies are made of; none: the request as its endpoint gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Box<CopyForm>>,
}

/// A copy of the request as it came, whatever its rule changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyForm {
    /// The value of `Host`.
    pub host: Arc<str>,
    /// Another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// Whether it has the body.
    pub has_body: bool,
}
