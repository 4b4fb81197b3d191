use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{Diagnostic, Snapshot};
use translate::Options;

use crate::source::Source;

/// What the files amount to at one moment.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is good of them.
    pub snapshot: Arc<Snapshot>,
    /// All that is not served as written, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Manifests read.
    pub files: usize,
    /// Objects in them, good and bad.
    pub objects: usize,
    /// When the change was noticed that led here, for people.
    pub changed_at: SystemTime,
    /// The same for measuring.
    pub noticed: Instant,
    /// Where the time went since then.
    pub steps: Steps,
}

/// What a change waited for on its way to a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Until its events ceased.
    pub waited: Duration,
    /// Finding out which files changed, reading them, and telling objects apart.
    pub read: Duration,
    /// Translating objects to a snapshot.
    pub translated: Duration,
}

/// Reads files and folders once.
pub fn load_once(paths: &[PathBuf], options: Options) -> Loaded {
    Source::new(paths.to_vec(), options).load(&Default::default(), Instant::now())
}
