use std::sync::Arc;

use serde::Serialize;

use crate::{BackendTarget, HostPattern, ListenerId, RouteId};

/// One rule of a TCPRoute, TLSRoute or UDPRoute: which connections or sessions of which listeners, and where they go.
///
/// Of several that fit the one with the most specific host counts, then the first in [`crate::Snapshot::l4_routes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct L4Route {
    /// Which one.
    pub id: RouteId,
    /// Its parents: the listeners it serves on.
    pub listeners: Vec<ListenerId>,
    /// The names that clients ask for in TLS (SNI); empty: every name, and none.
    pub hosts: Vec<HostPattern>,
    /// Where a connection goes, drawn by weight. One that draws what cannot be followed is refused.
    pub backends: Vec<L4BackendRef>,
    /// When the object was made, in seconds since 1970; none for objects from files. The older route wins a tie.
    pub created_unix_s: Option<i64>,
}

/// A share of the connections of an [`L4Route`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct L4BackendRef {
    /// The share, relative to the others; 0: none.
    pub weight: u32,
    /// Where it goes.
    pub target: BackendTarget,
}

impl L4Route {
    /// The order among routes that fit equally well: the oldest, then namespace and name, then the first rule.
    pub(crate) fn precedence(&self) -> (i64, Arc<str>, Arc<str>, crate::ObjectKind, u32) {
        let object = &self.id.object;
        let age = self.created_unix_s.unwrap_or(i64::MAX);
        (age, Arc::clone(&object.namespace), Arc::clone(&object.name), object.kind, self.id.rule)
    }
}
