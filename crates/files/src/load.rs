use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

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
}

/// Reads files and folders once.
pub fn load_once(paths: &[PathBuf], options: Options) -> Loaded {
    Source::new(paths.to_vec(), options).load(&Default::default(), Instant::now())
}
