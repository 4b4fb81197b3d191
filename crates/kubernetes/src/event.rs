use std::time::Instant;

use serde_json::Value;

use crate::scope::Scope;
use crate::trouble::Trouble;

/// What the task of one scope has heard.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) scope: Scope,
    pub(crate) heard: Instant,
    pub(crate) news: News,
}

/// What there is to know.
#[derive(Debug)]
pub(crate) enum News {
    /// These are all objects of the scope; any others are gone.
    Listed(Vec<Value>),
    /// An object is new or like this now.
    Applied(Value),
    /// The answer to a status that was written over this version of the object.
    Written { over: String, object: Value },
    /// An object is gone; this was its last version.
    Deleted(Value),
    /// The scope cannot be read right now.
    Failed(Trouble),
    /// It can again, and nothing was missed.
    Resumed,
}

impl News {
    /// What is said of the only object of a scope, and that it is not there; none: nothing, so what was heard stays in force.
    pub(crate) fn of_one(&self) -> Option<Option<&Value>> {
        match self {
            Self::Listed(objects) => Some(objects.first()),
            Self::Applied(object) | Self::Written { object, .. } => Some(Some(object)),
            Self::Deleted(_) => Some(None),
            Self::Failed(_) | Self::Resumed => None,
        }
    }
}
