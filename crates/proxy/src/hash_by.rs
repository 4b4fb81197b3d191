//! Consistent hashing over what requests bring.

use std::net::IpAddr;

use http1::RequestHead;
use model::{BackendId, HashBy};

use crate::affinity;

/// Something of a request, or of its client, that chooses among the endpoints of one backend.
pub(crate) struct Hashing {
    by: HashBy,
    subject: u64,
}

impl Hashing {
    pub(crate) fn new(by: HashBy, backend: &BackendId) -> Self {
        Self { by, subject: affinity::subject(backend) }
    }

    /// The hash of it; none: the request does not have it, or has nothing in it.
    pub(crate) fn of(&self, head: &RequestHead, client: IpAddr) -> Option<u64> {
        let value = match &self.by {
            HashBy::SourceAddress => return Some(balance::hash_client(client, self.subject, 0)),
            HashBy::Header(name) => head.values(name).next(),
            HashBy::Cookie(name) => {
                head.values("cookie").flat_map(|line| policy::cookie_values(line, name)).next()
            }
        };
        value.filter(|value| !value.is_empty()).map(balance::hash_value)
    }
}
