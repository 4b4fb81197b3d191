//! What probers have found, and requests.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use model::{Backend, BackendId, EndpointCondition, OutlierDetection};
use policy::{Ejection, HealthTrack};
use telemetry::Metrics;
use tokio::sync::Notify;

use super::{Probed, Subject};
use crate::addresses::Addresses;
use crate::connector::Connector;
use crate::dial::Favour;

/// Shared by the probers, who else finds something out, and who asks for it: none is on the path of a request.
pub(crate) struct Board {
    inner: Mutex<Inner>,
    changed: Notify,
    epoch: Instant,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Inner {
    /// What is asked for each endpoint of each backend.
    watched: HashMap<(BackendId, SocketAddr), Subject>,
    tracks: HashMap<Subject, HealthTrack>,
    /// Who is left out for its answers, or was.
    ejections: HashMap<(BackendId, SocketAddr), Ejected>,
    /// Endpoints of two addresses, for as long as somebody connects to them.
    favours: HashMap<Addresses, Weak<Favour>>,
}

struct Ejected {
    ejection: Ejection,
    /// Whether it was left out when it was last asked for.
    is_out: bool,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

/// Probers to come and to go.
pub(super) struct Changes {
    pub(super) start: Vec<(Subject, Option<Arc<Connector>>)>,
    pub(super) stop: Vec<Subject>,
}

impl Board {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { inner: Mutex::default(), changed: Notify::new(), epoch: Instant::now(), metrics }
    }

    /// Takes the place of what was watched before. An endpoint whose check changed stays what it was until probes say otherwise.
    pub(super) fn watch(&self, wanted: &[Probed]) -> Changes {
        let mut inner = self.lock();
        let (old, known) = (std::mem::take(&mut inner.watched), std::mem::take(&mut inner.tracks));
        let mut start = Vec::new();
        for Probed { backend, subject, connector } in wanted {
            let key = (backend.clone(), subject.addresses.name);
            let before = known.get(subject).or_else(|| known.get(old.get(&key)?)).copied();
            if !inner.tracks.contains_key(subject) {
                inner.tracks.insert(subject.clone(), before.unwrap_or_default());
                if !known.contains_key(subject) {
                    start.push((subject.clone(), connector.clone()));
                }
            }
            inner.watched.insert(key, subject.clone());
        }
        let stop = known.into_keys().filter(|subject| !inner.tracks.contains_key(subject)).collect();
        Changes { start, stop }
    }

    /// The endpoints of the backend that are to get nothing new, and why.
    pub(super) fn out(&self, backend: &Backend) -> HashMap<SocketAddr, EndpointCondition> {
        let mut inner = self.lock();
        let Inner { watched, tracks, ejections, .. } = &mut *inner;
        let now_ms = self.now_ms();
        let policy = backend.policy.as_deref();
        let is_checked = policy.is_some_and(|policy| policy.health_check.is_some());
        let is_judged = policy.is_some_and(|policy| policy.outliers.is_some());
        let mut out = |address: SocketAddr| {
            let key = (backend.id.clone(), address);
            let track = watched.get(&key).and_then(|subject| tracks.get(subject));
            let is_ill = is_checked && track.is_some_and(|track| track.is_unhealthy);
            let ejected = ejections.get_mut(&key).filter(|_| is_judged);
            let is_ejected = ejected.is_some_and(|ejected| {
                ejected.is_out = ejected.ejection.until_ms > now_ms;
                ejected.is_out
            });
            match (is_ill, is_ejected) {
                (true, _) => Some((address, EndpointCondition::Unhealthy)),
                (false, true) => Some((address, EndpointCondition::Ejected)),
                (false, false) => None,
            }
        };
        backend.endpoints.iter().filter_map(|endpoint| out(endpoint.address)).collect()
    }

    /// Leaves an endpoint out for its answers, one of `all` of the backend, unless as many are as may be.
    pub(crate) fn eject(
        &self,
        backend: &BackendId,
        endpoint: SocketAddr,
        said: &OutlierDetection,
        all: usize,
    ) {
        let now_ms = self.now_ms();
        let mut inner = self.lock();
        let is_out = |ejected: &Ejected| ejected.ejection.until_ms > now_ms;
        let of_backend = inner.ejections.iter().filter(|((of, _), _)| of == backend);
        let out = of_backend.filter(|(_, ejected)| is_out(ejected)).count();
        let key = (backend.clone(), endpoint);
        let before = inner.ejections.get(&key);
        // Requests that were under way when it was left out.
        if before.is_some_and(is_out) {
            return;
        }
        if !policy::may_eject(out, all, said.max_percent) {
            self.metrics.health().ejection_refused();
            return;
        }
        let ejection = Ejection::new(before.map(|ejected| ejected.ejection), said, now_ms);
        inner.ejections.insert(key, Ejected { ejection, is_out: true });
        drop(inner);
        self.metrics.health().ejected();
        let for_ms = ejection.until_ms - now_ms;
        tracing::warn!(%backend, %endpoint, for_ms, "an endpoint failed too many requests in a row: it gets no new ones for a while");
        self.changed.notify_one();
    }

    /// Which of its addresses an endpoint is to be reached by first: the same record for all who ask.
    pub(crate) fn favour(self: &Arc<Self>, addresses: Addresses) -> Arc<Favour> {
        if addresses.other.is_none() {
            return Arc::default();
        }
        let mut inner = self.lock();
        if let Some(known) = inner.favours.get(&addresses).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Favour::new(Some(self.clone())));
        inner.favours.insert(addresses, Arc::downgrade(&new));
        new
    }

    /// Takes in that an endpoint answers by another of its addresses than before.
    pub(crate) fn favour_changed(&self) {
        self.changed.notify_one();
    }

    /// Those of `backends` with endpoints that answer by the address which is not preferred: connections are to begin there.
    pub(super) fn other_first<'b>(
        &self,
        backends: impl Iterator<Item = &'b Arc<Backend>>,
    ) -> HashMap<BackendId, HashSet<SocketAddr>> {
        let mut inner = self.lock();
        let mut found: HashMap<BackendId, HashSet<SocketAddr>> = HashMap::new();
        inner.favours.retain(|_, favour| favour.strong_count() > 0);
        let is_for_other =
            |favour: &Weak<Favour>| favour.upgrade().is_some_and(|favour| favour.is_for_other());
        let other_first = inner.favours.iter().filter(|(_, favour)| is_for_other(favour));
        let other_first: HashSet<Addresses> = other_first.map(|(addresses, _)| *addresses).collect();
        drop(inner);
        // Mostly there are none, and backends are many.
        if other_first.is_empty() {
            return found;
        }
        for backend in backends {
            for endpoint in backend.endpoints.iter().filter(|endpoint| endpoint.other.is_some()) {
                if other_first.contains(&endpoint.into()) {
                    found.entry(backend.id.clone()).or_default().insert(endpoint.address);
                }
            }
        }
        found
    }

    /// Forgets those ejected whom nobody judges any more: [`Board::out`] would never see them come back.
    pub(super) fn forget(&self, is_known: impl Fn(&BackendId, SocketAddr) -> bool) {
        self.lock().ejections.retain(|(backend, address), _| is_known(backend, *address));
    }

    /// Takes in what a probe found: nothing, or a few words on why it failed.
    pub(super) fn note(&self, subject: &Subject, found: Result<(), &'static str>) {
        self.metrics.health().probed(found.err().unwrap_or("passed"));
        let mut inner = self.lock();
        // Gone in between.
        let Some(track) = inner.tracks.get_mut(subject) else { return };
        let before = track.is_unhealthy;
        *track = track.with(found.is_ok(), &subject.check);
        if track.is_unhealthy == before {
            return;
        }
        drop(inner);
        let endpoint = subject.addresses.name;
        match found {
            Ok(()) => tracing::info!(%endpoint, "an endpoint is healthy again"),
            Err(why) => {
                tracing::warn!(%endpoint, why, "an endpoint fails its health check: it gets no new requests")
            }
        }
        self.changed.notify_one();
    }

    /// Waits until [`Board::out`] may say something else: something was found, or a time is over.
    pub(super) async fn changed(&self) {
        let ends = {
            let (inner, now_ms) = (self.lock(), self.now_ms());
            let out = inner.ejections.values().filter(|ejected| ejected.is_out);
            let out =
                out.map(|ejected| Duration::from_millis(ejected.ejection.until_ms.saturating_sub(now_ms)));
            let favoured = inner.favours.values().filter_map(|favour| favour.upgrade()?.left());
            out.chain(favoured).min()
        };
        let Some(left) = ends else { return self.changed.notified().await };
        // Over is over: the other result is as good.
        let _ = tokio::time::timeout(left, self.changed.notified()).await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use model::{HealthCheck, Probe};

    use super::*;

    fn probed(backend: &str, last: u8, interval_s: u64) -> Probed {
        let (interval, timeout) = (Duration::from_secs(interval_s), Duration::from_secs(1));
        let check =
            HealthCheck { probe: Probe::Tcp, interval, timeout, healthy_after: 1, unhealthy_after: 1 };
        let subject =
            Subject { addresses: SocketAddr::from(([10, 0, 0, last], 80)).into(), connector: None, check };
        Probed { backend: BackendId::service("a", backend, 80), subject, connector: None }
    }

    fn unhealthy(board: &Board, backend: &str) -> usize {
        let endpoint = model::Endpoint {
            address: ([10, 0, 0, 1], 80).into(),
            other: None,
            weight: 1,
            condition: model::EndpointCondition::Ready,
        };
        let backend = Backend {
            id: BackendId::service("a", backend, 80),
            protocol: Default::default(),
            security: Default::default(),
            proxy_protocol: None,
            endpoints: vec![endpoint],
            affinity: None,
            policy: Some(Arc::new(model::BackendPolicy {
                health_check: Some(probed("x", 1, 1).subject.check),
                ..Default::default()
            })),
        };
        board.out(&backend).len()
    }

    #[test]
    fn backends_that_ask_the_same_of_an_endpoint_share_a_prober() {
        let board = Board::new(Metrics::new(1));
        let changes =
            board.watch(&[probed("x", 1, 3), probed("y", 1, 3), probed("z", 1, 5), probed("x", 2, 3)]);
        assert_eq!(changes.start.len(), 3);
        board.note(&probed("x", 1, 3).subject, Err("refused"));
        assert_eq!(["x", "y", "z"].map(|backend| unhealthy(&board, backend)), [1, 1, 0]);
        let changes = board.watch(&[probed("x", 1, 3), probed("y", 1, 3)]);
        assert_eq!((changes.start.len(), changes.stop.len()), (0, 2));
        assert_eq!(unhealthy(&board, "y"), 1, "what stays is known");
    }

    #[test]
    fn another_check_does_not_make_an_endpoint_well() {
        let board = Board::new(Metrics::new(1));
        board.watch(&[probed("x", 1, 3)]);
        board.note(&probed("x", 1, 3).subject, Err("refused"));
        let changes = board.watch(&[probed("x", 1, 7)]);
        assert_eq!((changes.start.len(), changes.stop.len()), (1, 1));
        assert_eq!(unhealthy(&board, "x"), 1);
        board.note(&probed("x", 1, 3).subject, Ok(()));
        assert_eq!(unhealthy(&board, "x"), 1, "a prober that has gone says nothing");
        board.note(&probed("x", 1, 7).subject, Ok(()));
        assert_eq!(unhealthy(&board, "x"), 0);
    }
}
