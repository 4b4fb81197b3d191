use std::path::PathBuf;
use std::time::Instant;

use translate::{Loaded, Options};

use crate::source::Source;

/// Reads files and folders once.
pub fn load_once(paths: &[PathBuf], options: Options) -> Loaded {
    Source::new(paths.to_vec(), options).load(&Default::default(), Instant::now())
}
