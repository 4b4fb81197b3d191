//! Active health checks: one prober for each endpoint and check, however many routes, backends and threads use it.
//!
//! ```text
//!  snapshot ──> State (who is probed) ──> Health::watch ──> a task each, on a thread of their own
//!     ^                                                        │ passes, fails
//!     └── Gateway::with_health (policy::with_health) <── Board ┘
//! ```
//!
//! What is found is not asked on the path of a request: it becomes part of the snapshot that all tiers serve.

mod board;
mod grpc;
mod probe;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use model::{
    AppProtocol, Backend, BackendId, BackendKind, BackendPolicy, EndpointCondition, HealthCheck,
    OtherAddress, Probe, Snapshot,
};
use telemetry::Metrics;

use crate::addresses::Addresses;
use crate::connector::{Connector, ConnectorId, Connectors};
pub(crate) use board::Board;
use thread::Thread;

/// What a prober asks: those who ask the same of the same endpoint in the same way share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    addresses: Addresses,
    /// None: TCP alone.
    connector: Option<ConnectorId>,
    check: HealthCheck,
}

/// An endpoint of a backend that is to be probed.
pub(crate) struct Probed {
    backend: BackendId,
    subject: Subject,
    connector: Option<Arc<Connector>>,
}

/// Who is probed for a snapshot.
pub(crate) fn probed(snapshot: &Snapshot, connectors: &mut Connectors, before: &Connectors) -> Vec<Probed> {
    let mut probed = Vec::new();
    for backend in snapshot.backends.values() {
        let Some(check) = backend.policy.as_ref().and_then(|policy| policy.health_check.as_ref()) else {
            continue;
        };
        let Some(connector) = connector(backend, &check.probe, snapshot, connectors, before) else {
            continue;
        };
        // Who drains gets nothing new anyway.
        let endpoints = backend.endpoints.iter().filter(|e| e.condition != EndpointCondition::Draining);
        probed.extend(endpoints.map(|endpoint| Probed {
            backend: backend.id.clone(),
            subject: Subject {
                addresses: endpoint.into(),
                connector: connector.as_ref().map(|connector| connector.id),
                check: check.clone(),
            },
            connector: connector.clone(),
        }));
    }
    probed
}

/// How probes reach the endpoints; none: they cannot be, and their requests get 500.
#[expect(clippy::option_option, reason = "the inner one says that TCP is enough")]
fn connector(
    backend: &Backend,
    probe: &Probe,
    snapshot: &Snapshot,
    connectors: &mut Connectors,
    before: &Connectors,
) -> Option<Option<Arc<Connector>>> {
    let protocol = match probe {
        _ if backend.id.kind == BackendKind::UdpService => return None,
        Probe::Tcp => return Some(None),
        Probe::Http { .. } => backend.protocol,
        Probe::Grpc { .. } => AppProtocol::Http2,
    };
    // Probes belong to no Gateway: any certificate that one of them shows to endpoints will do.
    let shown = snapshot.listeners.values().find_map(|listener| listener.backend_certificate.as_ref());
    connectors.get(backend, protocol, shown, snapshot, before).map(Some)
}

/// The health checks of a gateway.
pub(crate) struct Health {
    board: Arc<Board>,
    /// None until something is to be probed.
    thread: Mutex<Option<Thread>>,
    limits: http1::Limits,
    /// What the thread does before anything else.
    on_thread: fn(),
    last: Mutex<Last>,
}

/// What [`Health::overlay`] gave last.
#[derive(Default)]
struct Last {
    /// From which, and what.
    snapshots: Option<(Arc<Snapshot>, Arc<Snapshot>)>,
    panicked: BTreeSet<BackendId>,
}

impl Health {
    /// What endpoints that fail requests are reported to.
    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub(crate) fn new(metrics: Arc<Metrics>, limits: http1::Limits, on_thread: fn()) -> Self {
        Self {
            board: Arc::new(Board::new(metrics)),
            thread: Mutex::default(),
            limits,
            on_thread,
            last: Mutex::default(),
        }
    }

    /// Probes these from now on, and no others.
    ///
    /// # Errors
    /// The system refuses a thread for it.
    pub(crate) fn watch(&self, wanted: &[Probed]) -> io::Result<()> {
        let changes = self.board.watch(wanted);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() && !changes.start.is_empty() {
            *thread = Some(Thread::start(self.board.clone(), self.limits, self.on_thread)?);
        }
        if let Some(thread) = &*thread {
            thread.tell(changes);
        }
        Ok(())
    }

    /// Waits until an endpoint's health is another.
    pub(crate) async fn changed(&self) {
        self.board.changed().await;
    }

    /// The snapshot with what is known of its endpoints; itself if nothing speaks against any.
    pub(crate) fn overlay(&self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        let mut changed: BTreeMap<BackendId, Arc<Backend>> = BTreeMap::new();
        let wants = |policy: &BackendPolicy| policy.health_check.is_some() || policy.outliers.is_some();
        let of_interest =
            snapshot.backends.values().filter(|backend| backend.policy.as_deref().is_some_and(wants));
        for backend in of_interest {
            let out = self.board.out(backend);
            let with = policy::with_health(backend, |address| out.get(&address).copied());
            changed.extend(with.map(|with| (with.id.clone(), Arc::new(with))));
        }
        for (id, other_first) in self.board.other_first(snapshot.backends.values()) {
            let Some(backend) = changed.get(&id).or_else(|| snapshot.backends.get(&id)) else { continue };
            let mut with = (**backend).clone();
            for endpoint in with.endpoints.iter_mut().filter(|e| other_first.contains(&e.address)) {
                endpoint.other = endpoint.other.map(|other| OtherAddress { is_first: true, ..other });
            }
            changed.insert(id, Arc::new(with));
        }
        self.board.forget(|id, address| {
            let judged = snapshot
                .backends
                .get(id)
                .filter(|backend| backend.policy.as_ref().is_some_and(|policy| policy.outliers.is_some()));
            judged.is_some_and(|backend| backend.endpoints.iter().any(|e| e.address == address))
        });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(changed.values().map(|backend| &**backend), &mut last.panicked);
        if changed.is_empty() {
            last.snapshots = None;
            return snapshot.clone();
        }
        let mut with = (**snapshot).clone();
        with.backends.extend(changed);
        // The same again is the same record: nothing is compiled anew.
        match &last.snapshots {
            Some((from, same)) if Arc::ptr_eq(from, snapshot) && same.backends == with.backends => {
                same.clone()
            }
            _ => {
                let with = Arc::new(with);
                last.snapshots = Some((snapshot.clone(), with.clone()));
                with
            }
        }
    }

    /// Tells metrics and log who is left out, and where nobody can be.
    fn count<'b>(
        &self,
        changed: impl Iterator<Item = &'b Backend> + Clone,
        panicked_before: &mut BTreeSet<BackendId>,
    ) {
        let of = |backend: &Backend, condition| {
            backend.endpoints.iter().filter(|e| e.condition == condition).count()
        };
        let all = |condition| -> usize { changed.clone().map(|backend| of(backend, condition)).sum() };
        let unhealthy = all(EndpointCondition::Unhealthy) + all(EndpointCondition::Panicked);
        let panicked: BTreeSet<BackendId> = changed
            .clone()
            .filter(|backend| of(backend, EndpointCondition::Panicked) > 0)
            .map(|backend| backend.id.clone())
            .collect();
        for backend in panicked.difference(panicked_before) {
            tracing::warn!(%backend, "fewer endpoints are healthy than panicThreshold asks for: all are used");
        }
        let began = panicked.difference(panicked_before).count();
        self.board.metrics.health().set(unhealthy, all(EndpointCondition::Ejected), panicked.len(), began);
        *panicked_before = panicked;
    }
}
