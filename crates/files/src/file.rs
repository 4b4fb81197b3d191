use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use model::{Diagnostic, Place, Reason, Severity};

use crate::parts::{self, Part};
use crate::scan::Stamp;

/// A larger manifest is refused.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What was read of a file.
#[derive(Debug)]
pub(crate) struct FileState {
    pub(crate) path: Arc<Path>,
    /// None: it is to be read at the next look, whatever it looks like.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) parts: Vec<Arc<Part>>,
    /// Parts of versions before that this one cannot be asked for, as it is no YAML.
    pub(crate) kept: Vec<Arc<Part>>,
    /// Why it cannot be read.
    pub(crate) error: Option<Box<Diagnostic>>,
}

impl FileState {
    /// Of which nothing is known.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.into(), stamp: None, parts: Vec::new(), kept: Vec::new(), error: None }
    }

    /// Whether objects were read from it.
    pub(crate) fn has_objects(&self) -> bool {
        self.parts.iter().any(|part| !part.items.is_empty())
    }

    /// Whether there is something to say about it.
    pub(crate) fn is_noisy(&self) -> bool {
        self.error.is_some() || self.parts.iter().any(|part| part.is_noisy())
    }

    /// The same with another text.
    pub(crate) fn with_text(&self, text: &str, stamp: Stamp) -> Self {
        let parts = parts::read(text, &self.parts);
        let is_whole = parts.iter().all(|part| part.errors.is_empty());
        let kept = if is_whole { Vec::new() } else { latest(self.parts.iter().chain(&self.kept)) };
        Self { path: Arc::clone(&self.path), stamp: Some(stamp), parts, kept, error: None }
    }

    /// The same, which cannot be read. It is tried again at every look.
    pub(crate) fn with_error(&self, error: &io::Error) -> Self {
        let error = Some(Box::new(unreadable(&self.path, error)));
        let (parts, kept) = (self.parts.clone(), self.kept.clone());
        Self { path: Arc::clone(&self.path), stamp: None, parts, kept, error }
    }
}

/// The parts with the first version of some object.
fn latest<'p>(parts: impl Iterator<Item = &'p Arc<Part>>) -> Vec<Arc<Part>> {
    let mut seen = BTreeSet::new();
    let mut is_first = |part: &Part| {
        let keys = part.items.iter().filter_map(|item| item.key.as_ref());
        keys.filter(|key| seen.insert((*key).clone())).count() > 0
    };
    parts.filter(|part| is_first(part)).cloned().collect()
}

/// The text of a manifest.
///
/// # Errors
/// It is gone, no regular file, too large, or no UTF-8; or this may not read it.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    // Before it is opened: opening a named pipe waits for a writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(invalid("is no regular file".to_owned()));
    }
    let length = usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(invalid(format!("is larger than {} MiB: split it", FILE_BYTES_MAX >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        invalid(format!("is no UTF-8 text from byte {at} on"))
    })
}

/// Says why a file or folder cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => ": write it, or correct the path",
        io::ErrorKind::PermissionDenied => {
            ": let the gateway's user read it; what it held before stays in force"
        }
        _ => "; what it held before stays in force",
    };
    Diagnostic {
        severity: Severity::Error,
        reason: Reason::Unreadable,
        object: None,
        field: String::new(),
        place: Some(Place { file: Arc::new(path.to_owned()), line: 1, column: 0 }),
        message: format!("cannot be read: {error}{advice}"),
    }
}
