//! What all parts of the agent share.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use model::{ListenerId, Severity, Snapshot};
use proxy::Gateway;
use telemetry::Metrics;
use translate::Loaded;

use super::{Differences, Kernel};
use crate::settings::Settings;

/// Where the agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing has been applied yet.
    Starting,
    /// It serves.
    Serving,
    /// It takes nothing new.
    Draining,
}

/// A listening address that could not be had.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) listeners: Vec<ListenerId>,
    pub(crate) text: String,
}

/// When a snapshot was in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// In userspace.
    pub(crate) swapped: Instant,
    /// In the kernel, too.
    pub(crate) in_kernel: Instant,
    /// Whether it is another one than before.
    pub(crate) is_new: bool,
}

/// The running agent.
pub(crate) struct Agent {
    pub(crate) gateway: Gateway,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) kernel: Kernel,
    pub(crate) started: Instant,
    pub(crate) threads: usize,
    pub(crate) sources: Vec<String>,
    loaded: ArcSwapOption<Loaded>,
    /// The version of the snapshot that was served last.
    version: AtomicU64,
    problems: Mutex<Arc<[Problem]>>,
    phase: AtomicU8,
}

impl Agent {
    pub(crate) fn new(
        settings: &Settings,
        gateway: Gateway,
        metrics: Arc<Metrics>,
        kernel: Kernel,
        sources: Vec<String>,
    ) -> Self {
        Self {
            gateway,
            metrics,
            kernel,
            started: Instant::now(),
            threads: settings.proxy.threads,
            sources,
            loaded: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            problems: Mutex::new(Arc::new([])),
            phase: AtomicU8::new(Phase::Starting as u8),
        }
    }

    /// Serves what was loaded.
    pub(crate) fn apply(&self, loaded: Arc<Loaded>, differences: &mut Differences) -> Done {
        let count = |severity| loaded.diagnostics.iter().filter(|found| found.severity == severity).count();
        self.metrics.set_diagnostics(count(Severity::Error), count(Severity::Warning));
        let snapshot = Arc::clone(&loaded.snapshot);
        self.loaded.store(Some(loaded));
        let done = self.serve(&snapshot, differences);
        if self.phase() == Phase::Starting {
            self.set_phase(Phase::Serving);
        }
        done
    }

    /// Applies the latest snapshot again: opens what could not be opened before, and follows the health of endpoints.
    pub(crate) fn again(&self, differences: &mut Differences) {
        if let Some(loaded) = self.loaded.load_full() {
            self.serve(&loaded.snapshot, differences);
        }
    }

    /// `snapshot` is what was loaded: without the endpoints that fail their health check it is served, in both tiers.
    fn serve(&self, snapshot: &Arc<Snapshot>, differences: &mut Differences) -> Done {
        let started = Instant::now();
        let snapshot = &self.gateway.with_health(snapshot);
        let is_new = self.version.swap(snapshot.version, Relaxed) != snapshot.version;
        let problems = self.gateway.apply(Arc::clone(snapshot));
        let swapped = Instant::now();
        self.kernel.apply(snapshot, &problems);
        let in_kernel = Instant::now();
        differences.log_problems(&problems);
        if is_new {
            self.metrics.config_applied(snapshot.version, started.elapsed(), problems.len());
        } else {
            self.metrics.set_listener_problems(problems.len());
        }
        let problems =
            problems.into_iter().map(|p| Problem { text: p.to_string(), listeners: p.listeners }).collect();
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
        Done { swapped, in_kernel, is_new }
    }

    /// What was loaded last.
    pub(crate) fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded.load_full()
    }

    /// Addresses that could not be had.
    pub(crate) fn problems(&self) -> Arc<[Problem]> {
        Arc::clone(&self.problems.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn has_problems(&self) -> bool {
        !self.problems().is_empty()
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            phase if phase == Phase::Starting as u8 => Phase::Starting,
            phase if phase == Phase::Serving as u8 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Why the agent takes no traffic; none when it does.
    ///
    /// An address that cannot be had does not stop the others: the agent is ready as long as one listens.
    pub(crate) fn not_ready(&self) -> Option<String> {
        match self.phase() {
            Phase::Starting => Some("the first configuration is not applied yet".to_owned()),
            Phase::Draining => Some("draining".to_owned()),
            Phase::Serving if self.gateway.listening().is_empty() => {
                self.problems().first().map(|problem| problem.text.clone())
            }
            Phase::Serving => None,
        }
    }
}
