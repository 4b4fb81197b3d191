//! What becomes of a connection, planned when a snapshot is taken up.

use std::collections::BTreeMap;
use std::sync::Arc;

use balance::WeightedChoice;
use model::{BackendId, BackendSecurity, BackendTarget, Balancing, L4Route, ProxyProtocol};

use crate::affinity::Kept;
use crate::backend::BackendState;
use crate::group::Group;

/// What becomes of a connection.
pub(crate) struct L4Action {
    pub(crate) choice: WeightedChoice,
    /// None: the reference cannot be resolved.
    pub(crate) targets: Vec<Option<L4Target>>,
}

/// A backend of connections.
pub(crate) struct L4Target {
    pub(crate) group: Arc<Group>,
    /// Whether clients keep their endpoint.
    pub(crate) kept: Option<Kept>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    /// Its endpoints are to be spoken to over TLS: not with what came over TLS that ended here.
    pub(crate) wants_tls: bool,
}

impl L4Action {
    /// Connections go by Maglev on the flow: the same client comes to the same endpoint from every gateway.
    pub(crate) fn new(
        route: &L4Route,
        backends: &mut BTreeMap<BackendId, BackendState>,
        before: &BTreeMap<BackendId, BackendState>,
        threads: usize,
    ) -> Self {
        let weights: Vec<u32> = route.backends.iter().map(|backend| backend.weight).collect();
        let targets = route.backends.iter().map(|reference| {
            let BackendTarget::Backend(id) = &reference.target else { return None };
            let backend = backends.get_mut(id)?;
            let kept = backend.source.affinity.map(|asked| Kept::new(id, asked));
            let group = backend.group(Balancing::default(), before.get(id), threads);
            let wants_tls = backend.source.security != BackendSecurity::Cleartext;
            Some(L4Target { group, kept, proxy_protocol: backend.source.proxy_protocol, wants_tls })
        });
        Self { targets: targets.collect(), choice: WeightedChoice::new(&weights) }
    }
}
