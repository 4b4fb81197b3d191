use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::LabelledCounter;

/// What active health checks do. None of it is counted on the path of a request.
#[derive(Debug)]
pub struct HealthMetrics {
    probes: LabelledCounter,
    unhealthy: AtomicU64,
    out: AtomicU64,
    panicked: AtomicU64,
    panics: AtomicU64,
    ejections: AtomicU64,
    ejections_refused: AtomicU64,
}

impl HealthMetrics {
    pub(crate) fn new() -> Self {
        Self {
            probes: LabelledCounter::new(1),
            unhealthy: AtomicU64::new(0),
            out: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            ejections_refused: AtomicU64::new(0),
        }
    }

    /// Counts a probe by what came of it: `passed`, or why it failed.
    pub fn probed(&self, result: &'static str) {
        self.probes.inc(0, result);
    }

    /// Counts an endpoint that is left out for its answers.
    pub fn ejected(&self) {
        self.ejections.fetch_add(1, Relaxed);
    }

    /// Counts one that would have been, but for as many that are.
    pub fn ejection_refused(&self) {
        self.ejections_refused.fetch_add(1, Relaxed);
    }

    /// Tells how many endpoints fail their check now, how many are left out for their answers, how many backends use all of theirs for too few are healthy, and how
    /// many of those have just begun to.
    pub fn set(&self, unhealthy: usize, ejected: usize, panicked: usize, began: usize) {
        self.unhealthy.store(unhealthy as u64, Relaxed);
        self.out.store(ejected as u64, Relaxed);
        self.panicked.store(panicked as u64, Relaxed);
        self.panics.fetch_add(began as u64, Relaxed);
    }

    /// Every result with its probes, sorted.
    pub fn probes(&self) -> Vec<(&'static str, u64)> {
        self.probes.values()
    }

    pub(crate) fn unhealthy(&self) -> u64 {
        self.unhealthy.load(Relaxed)
    }

    pub(crate) fn ejected_now(&self) -> u64 {
        self.out.load(Relaxed)
    }

    /// Endpoints left out for their answers so far, and those that were not for as many that were.
    pub(crate) fn ejections(&self) -> (u64, u64) {
        (self.ejections.load(Relaxed), self.ejections_refused.load(Relaxed))
    }

    pub(crate) fn panicked(&self) -> u64 {
        self.panicked.load(Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }
}
