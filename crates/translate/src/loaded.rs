use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{Diagnostic, Snapshot};

/// What a source amounts to at one moment.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is good of them.
    pub snapshot: Arc<Snapshot>,
    /// All that is not served as written, sorted by place, if they have one.
    pub diagnostics: Vec<Diagnostic>,
    /// Manifests read; 0 for an API server.
    pub files: usize,
    /// Objects read, good and bad.
    pub objects: usize,
    /// When the change was noticed that led here, for people.
    pub changed_at: SystemTime,
    /// The same for measuring.
    pub noticed: Instant,
    /// Where the time went since then.
    pub steps: Steps,
}

impl Loaded {
    /// Whether it serves differently from `last`, or says something else.
    pub fn differs_from(&self, last: &Self) -> bool {
        !Arc::ptr_eq(&last.snapshot, &self.snapshot)
            || last.diagnostics != self.diagnostics
            || (last.files, last.objects) != (self.files, self.objects)
    }
}

/// What a change waited for on its way to a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Until its events ceased.
    pub waited: Duration,
    /// Finding out which objects changed, and reading them.
    pub read: Duration,
    /// Translating objects to a snapshot.
    pub translated: Duration,
}
