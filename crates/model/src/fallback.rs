use std::sync::Arc;

use serde::Serialize;

use crate::{BackendId, HeaderLine};

/// Who answers where a route's endpoints do not, or not well.
///
/// A request that no endpoint can serve goes to it as it is. In place of an error it is asked for `/` with the headers of the request.
/// Both say in `X-Code` which status it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Who.
    pub backend: BackendId,
    /// Statuses in whose place it is asked, from 300 to 599.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Whether that is for errors of the gateway alone: what endpoints answer stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keeps_answers: bool,
    /// Headers that say whose request it is, whatever the client says; one without a value is there for none.
    pub lines: Arc<[HeaderLine]>,
}
