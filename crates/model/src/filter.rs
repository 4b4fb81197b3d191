use std::sync::Arc;

use serde::Serialize;

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
}

impl Filters {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
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

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderLine {
    /// As it is sent.
    pub name: Arc<str>,
    /// Without control characters but tabs.
    pub value: Arc<str>,
}
