//! A backend made ready: its endpoints, balancers and limits, shared with the state before where they are the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use model::{Backend, Balancing, Speaks};

use crate::addresses::Addresses;
use crate::breaker::Breaker;
use crate::endpoint::Endpoint;
use crate::group::Group;
use crate::health::Board;
use crate::outliers::Outliers;
use crate::session::Names;
use crate::session_key::SessionKey;

/// A backend of a state.
pub(crate) struct BackendState {
    pub(crate) source: Arc<Backend>,
    endpoints: Arc<[Arc<Endpoint>]>,
    /// Since when each of them is new to a running service; none: it is not.
    warming_since: Vec<Option<Instant>>,
    balancers: BTreeMap<Balancing, Arc<Group>>,
    /// Where a route asks for session persistence.
    names: Option<Arc<Names>>,
    /// Where its policy asks for it.
    pub(crate) outliers: Option<Arc<Outliers>>,
    pub(crate) breaker: Option<Arc<Breaker>>,
}

impl BackendState {
    /// Makes `source` ready. `known` knows endpoints of the state before, `endpoints` collects those of this one.
    pub(crate) fn new(
        source: &Arc<Backend>,
        before: Option<&Self>,
        threads: usize,
        board: &Arc<Board>,
        mut shared: impl FnMut(Addresses) -> Arc<Endpoint>,
    ) -> Self {
        // Of the same record all stays, also what no route asks for any more.
        let same = before.filter(|before| Arc::ptr_eq(&before.source, source));
        let policy = source.policy.as_deref();
        let outliers = policy.and_then(|policy| policy.outliers.as_ref()).map(|said| {
            let before = before.and_then(|before| before.outliers.as_ref());
            let same = before.filter(|outliers| outliers.is_for(source, said));
            same.cloned().unwrap_or_else(|| Arc::new(Outliers::new(source, said.clone(), board.clone())))
        });
        let breaker = policy.and_then(|policy| policy.limits).map(|limits| {
            let same =
                before.and_then(|before| before.breaker.as_ref()).filter(|breaker| breaker.limits == limits);
            same.cloned().unwrap_or_else(|| Arc::new(Breaker::new(limits, threads)))
        });
        let before = before.map(|before| (&*before.source, &*before.warming_since));
        Self {
            source: source.clone(),
            warming_since: policy::warming_since(source, before, Instant::now()),
            endpoints: source.endpoints.iter().map(|endpoint| shared(endpoint.into())).collect(),
            balancers: same.map(|before| before.balancers.clone()).unwrap_or_default(),
            names: same.and_then(|before| before.names.clone()),
            outliers,
            breaker,
        }
    }

    /// Its balancer of this kind, from this state, else from the one before if its endpoints are the same.
    pub(crate) fn group(
        &mut self,
        balancing: Balancing,
        before: Option<&Self>,
        threads: usize,
    ) -> Arc<Group> {
        if let Some(group) = self.balancers.get(&balancing) {
            return group.clone();
        }
        let asks = |state: &Self| {
            state.source.policy.as_ref().map(|policy| (policy.slow_start, policy.hash_by.clone()))
        };
        let same = before
            .filter(|before| before.source.endpoints == self.source.endpoints && asks(before) == asks(self));
        let reused = same.and_then(|before| before.balancers.get(&balancing).cloned());
        let group = reused.unwrap_or_else(|| {
            let endpoints = self.endpoints.clone();
            Arc::new(Group::new(&self.source, endpoints, &self.warming_since, balancing, threads))
        });
        self.balancers.insert(balancing, group.clone());
        group
    }

    /// What sessions call its endpoints, from the state before if they are the same.
    pub(crate) fn names(&mut self, before: Option<&Self>, key: &SessionKey) -> Arc<Names> {
        let same = before.filter(|before| before.source.endpoints == self.source.endpoints);
        let known = self.names.clone().or_else(|| same?.names.clone());
        let names = known.unwrap_or_else(|| Arc::new(Names::new(&self.source, key)));
        self.names = Some(names.clone());
        names
    }
}

/// The endpoints of a state, by how they are spoken to, too: one that fails in one way may be good in another, and is not passed over
/// there.
pub(crate) type Endpoints = HashMap<(Addresses, Option<Arc<Speaks>>), Arc<Endpoint>>;
