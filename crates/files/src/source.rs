use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use model::{Diagnostic, ObjectRef, Place, Reason, Severity};
use translate::{Object, Options, Store};

use crate::document::{self, Item};
use crate::scan::{self, Found, Scan, Stamp};
use crate::{Loaded, place, yaml};

/// A larger manifest is refused.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The state of all files: what was read of each, and the objects in force.
#[derive(Debug)]
pub(crate) struct Source {
    roots: Vec<PathBuf>,
    /// As events name them.
    absolute_roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, FileState>,
    /// Of each object the version that was last offered to the store, and what it said.
    offered: BTreeMap<ObjectRef, (Object, Vec<Diagnostic>)>,
    store: Store,
    pub(crate) scan: Scan,
}

#[derive(Debug)]
struct FileState {
    stamp: Option<Stamp>,
    text: Arc<str>,
    items: Vec<Item>,
    /// Objects of the version before that this one cannot be asked for, as it has a syntax error.
    kept: Vec<Item>,
    errors: Vec<Diagnostic>,
}

/// Paths whose events say more than a look at the folder would.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// Changed, even if they look the same (real paths).
    pub(crate) changed: BTreeSet<PathBuf>,
    /// Still being written: not to be read yet (real paths).
    pub(crate) unfinished: BTreeSet<PathBuf>,
    /// Without content for so long that it is meant (real paths).
    pub(crate) emptied: BTreeSet<PathBuf>,
    /// No event for a while: every file is what its writer meant it to be.
    pub(crate) is_quiet: bool,
}

impl Source {
    pub(crate) fn new(roots: Vec<PathBuf>, options: Options) -> Self {
        Self {
            absolute_roots: roots.iter().filter_map(|root| std::path::absolute(root).ok()).collect(),
            roots,
            files: BTreeMap::new(),
            offered: BTreeMap::new(),
            store: Store::new(options),
            scan: Scan::default(),
        }
    }

    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Whether an event about a path (and the same without links) can matter: it is in or above what is read.
    pub(crate) fn concerns(&self, path: &Path, real: &Path) -> bool {
        // Events of a folder that was named by a relative path have relative paths.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.absolute_roots.iter().any(|root| absolute.starts_with(root) || root.starts_with(&absolute))
            || real.parent().is_some_and(|folder| self.scan.real_folders.contains(folder))
            || self.scan.files.iter().any(|found| found.real.starts_with(real))
    }

    /// Whether objects were read from a file.
    pub(crate) fn has_objects(&self, real: &Path) -> bool {
        let found = self.scan.files.iter().find(|found| found.real == real);
        found.and_then(|found| self.files.get(&found.path)).is_some_and(|file| !file.items.is_empty())
    }

    /// Whether anything looks different from what was read.
    pub(crate) fn is_stale(&self) -> bool {
        let scan = scan::scan(&self.roots);
        scan.files.len() != self.scan.files.len()
            || scan.unreadable.len() != self.scan.unreadable.len()
            || scan
                .files
                .iter()
                .any(|found| self.files.get(&found.path).is_none_or(|file| file.stamp != Some(found.stamp)))
    }

    /// Reads what changed and builds what it amounts to.
    pub(crate) fn load(&mut self, hints: &Hints, noticed: Instant) -> Loaded {
        let scan = scan::scan(&self.roots);
        let mut diagnostics: Vec<_> = scan.unreadable.iter().map(|(path, e)| unreadable(path, e)).collect();
        self.forget_deleted(&scan);
        for found in &scan.files {
            self.read(found, hints);
        }
        let order = self.order(&scan);
        let offers = self.offers(&order, &mut diagnostics);
        self.offer(offers);
        let built = self.store.build();
        let mut semantic = built.diagnostics;
        semantic.extend(self.offered.values().flat_map(|(_, refused)| refused.iter().cloned()));
        self.find_places(&order, &mut semantic);
        diagnostics.extend(semantic);
        diagnostics.sort_by(|a, b| (&a.place, a).cmp(&(&b.place, b)));
        let objects = order.iter().filter_map(|path| self.files.get(path)).map(|file| file.items.len()).sum();
        self.scan = scan;
        Loaded {
            snapshot: built.snapshot,
            diagnostics,
            files: self.scan.files.len(),
            objects,
            changed_at: SystemTime::now(),
            noticed,
        }
    }

    /// Drops files that are gone; those in a folder that cannot be read right now stay.
    fn forget_deleted(&mut self, scan: &Scan) {
        let present: BTreeSet<_> = scan.files.iter().map(|found| &found.path).collect();
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        self.files.retain(|path, _| {
            let is_hidden =
                scan.unreadable.iter().any(|(hidden, error)| !is_missing(error) && path.starts_with(hidden));
            is_hidden || present.contains(path)
        });
    }

    fn read(&mut self, found: &Found, hints: &Hints) {
        let old = self.files.get(&found.path);
        let is_same = old.is_some_and(|file| file.stamp == Some(found.stamp));
        let is_unfinished = hints.unfinished.contains(&found.real);
        if is_unfinished || (is_same && !hints.changed.contains(&found.real)) {
            return;
        }
        let mut old = self.files.remove(&found.path);
        let text = read_text(&found.path);
        if let (Some(file), Ok(text)) = (&mut old, &text)
            && !hints.is_quiet
            && is_cut_off(text, file, found, hints)
        {
            // Its writer's next event, or the next look, brings the rest.
            file.stamp = None;
            self.files.extend(old.map(|file| (found.path.clone(), file)));
            return;
        }
        let state = match text {
            Ok(text) if old.as_ref().is_some_and(|old| *old.text == *text && old.errors.is_empty()) => {
                old.map(|old| FileState { stamp: Some(found.stamp), ..old })
            }
            Ok(text) => Some(parse(&found.path, text, old, found.stamp)),
            Err(error) => {
                let mut state = old.unwrap_or(FileState {
                    stamp: None,
                    text: "".into(),
                    items: Vec::new(),
                    kept: Vec::new(),
                    errors: Vec::new(),
                });
                // Not remembered: it is tried again at every look.
                state.stamp = None;
                state.errors = vec![unreadable(&found.path, &error)];
                Some(state)
            }
        };
        if let Some(state) = state {
            self.files.insert(found.path.clone(), state);
        }
    }

    /// The files in the order in which the first of two equal objects wins.
    fn order(&self, scan: &Scan) -> Vec<PathBuf> {
        let mut order: Vec<_> = scan.files.iter().map(|found| found.path.clone()).collect();
        let present: BTreeSet<_> = order.iter().cloned().collect();
        order.extend(self.files.keys().filter(|path| !present.contains(*path)).cloned());
        order
    }

    /// Of each object the first version in the files; none where that one cannot be read.
    fn offers(
        &self,
        order: &[PathBuf],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> BTreeMap<ObjectRef, Option<Object>> {
        let mut offers: BTreeMap<ObjectRef, Option<Object>> = BTreeMap::new();
        let mut first: BTreeMap<&ObjectRef, &Path> = BTreeMap::new();
        for (path, file) in order.iter().filter_map(|path| Some((path, self.files.get(path)?))) {
            diagnostics.extend(file.errors.iter().cloned());
            for item in &file.items {
                let Some(key) = &item.key else {
                    diagnostics.extend(item.diagnostics.iter().cloned());
                    continue;
                };
                if let Some(first) = first.get(key) {
                    let message =
                        format!("stands in {} already, and that one is used: remove one", first.display());
                    diagnostics.push(self.placed(
                        path,
                        file,
                        item,
                        Diagnostic::error(Reason::DuplicateObject, key, "", message),
                    ));
                    continue;
                }
                first.insert(key, path);
                let outcome = if self.store.contains(key) {
                    "the version before it stays in force"
                } else {
                    "nothing of it is served"
                };
                diagnostics.extend(item.diagnostics.iter().cloned().map(|diagnostic| Diagnostic {
                    message: format!("{}; {outcome}", diagnostic.message),
                    ..diagnostic
                }));
                offers.insert(key.clone(), item.object.clone());
            }
        }
        // What a file held before it became unreadable as YAML, unless it stands elsewhere now.
        for (path, file) in order.iter().filter_map(|path| Some((path, self.files.get(path)?))) {
            for item in &file.kept {
                if let Some(key) = &item.key
                    && !first.contains_key(key)
                {
                    first.insert(key, path);
                    offers.insert(key.clone(), item.object.clone());
                }
            }
        }
        offers
    }

    fn offer(&mut self, offers: BTreeMap<ObjectRef, Option<Object>>) {
        let gone: Vec<_> = self.offered.keys().filter(|key| !offers.contains_key(*key)).cloned().collect();
        for key in gone {
            self.offered.remove(&key);
            self.store.remove(&key);
        }
        for (key, object) in offers {
            let Some(object) = object else { continue };
            if self.offered.get(&key).is_some_and(|(last, _)| *last == object) {
                continue;
            }
            let refused = self.store.apply(object.clone()).err().unwrap_or_default();
            self.offered.insert(key, (object, refused));
        }
    }

    /// Gives diagnostics about objects their places in the files.
    fn find_places(&self, order: &[PathBuf], diagnostics: &mut [Diagnostic]) {
        let wanted: BTreeSet<_> =
            diagnostics.iter().filter(|d| d.place.is_none()).filter_map(|d| d.object.clone()).collect();
        if wanted.is_empty() {
            return;
        }
        let mut places: BTreeMap<&ObjectRef, (&PathBuf, &Item)> = BTreeMap::new();
        for (path, file) in order.iter().filter_map(|path| Some((path, self.files.get(path)?))) {
            for item in &file.items {
                if let Some(key) = item.key.as_ref().filter(|key| wanted.contains(*key)) {
                    places.entry(key).or_insert((path, item));
                }
            }
        }
        // The texts are kept, not their trees: those are made again for the few that are asked for.
        let mut trees: BTreeMap<&PathBuf, (Arc<PathBuf>, Vec<Option<yaml::Node>>)> = BTreeMap::new();
        for diagnostic in diagnostics.iter_mut().filter(|d| d.place.is_none()) {
            let Some((path, item)) = diagnostic.object.as_ref().and_then(|key| places.get(key).copied())
            else {
                continue;
            };
            let Some(file) = self.files.get(path) else { continue };
            let (name, tree) = trees.entry(path).or_insert_with(|| {
                (Arc::new(path.clone()), yaml::documents(&file.text).into_iter().map(Result::ok).collect())
            });
            if let Some(Some(node)) = tree.get(item.document) {
                diagnostic.place = Some(place_in(node, item, &diagnostic.field, name));
            }
        }
    }

    fn placed(&self, path: &Path, file: &FileState, item: &Item, diagnostic: Diagnostic) -> Diagnostic {
        let documents = yaml::documents(&file.text);
        match documents.get(item.document) {
            Some(Ok(node)) => {
                let place = place_in(node, item, &diagnostic.field, &Arc::new(path.to_owned()));
                diagnostic.at(place)
            }
            _ => diagnostic,
        }
    }
}

fn place_in(node: &yaml::Node, item: &Item, field: &str, file: &Arc<PathBuf>) -> Place {
    let field = match (item.prefix.is_empty(), field.is_empty()) {
        (true, _) => field.to_owned(),
        (false, true) => item.prefix.clone(),
        (false, false) => format!("{}.{field}", item.prefix),
    };
    let (line, column) = place::find(node, &field);
    Place { file: Arc::clone(file), line, column }
}

/// Whether a writer has cut the file and not yet written it again, as far as that can be told: its events may still be
/// on their way.
fn is_cut_off(text: &str, old: &FileState, found: &Found, hints: &Hints) -> bool {
    let has_lost_all =
        text.trim().is_empty() && !old.items.is_empty() && !hints.emptied.contains(&found.real);
    let stamp_now = std::fs::metadata(&found.path).ok().map(|metadata| Stamp::new(&metadata));
    has_lost_all || stamp_now != Some(found.stamp)
}

fn parse(path: &Path, text: String, old: Option<FileState>, stamp: Stamp) -> FileState {
    let file = Arc::new(path.to_owned());
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for (i, document) in yaml::documents(&text).into_iter().enumerate() {
        match document {
            Ok(node) => items.extend(document::items(&node, i, &file)),
            Err(error) => errors.push(Diagnostic {
                severity: Severity::Error,
                reason: Reason::Malformed,
                object: None,
                field: String::new(),
                place: Some(Place { file: Arc::clone(&file), line: error.line, column: error.column }),
                message: format!(
                    "is no YAML: {}; what this file held before and can no longer be read stays in force",
                    error.message
                ),
            }),
        }
    }
    let kept = if errors.is_empty() {
        Vec::new()
    } else {
        old.map(|old| old.items.into_iter().chain(old.kept).collect()).unwrap_or_default()
    };
    FileState { stamp: Some(stamp), text: text.into(), items, kept, errors }
}

fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    // Before it is opened: opening a named pipe waits for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(invalid("is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(invalid(format!("is larger than {} MiB: split it", FILE_BYTES_MAX >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        invalid(format!("is no UTF-8 text from byte {at} on"))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_by_the_name_of_their_folder_also_where_it_is_relative() {
        let here = std::env::current_dir().unwrap();
        for root in [Path::new("manifests/a").to_owned(), here.join("manifests/a")] {
            let source = Source::new(vec![root], Options::for_files());
            for path in ["./manifests", "manifests/a", "./manifests/a/b.yaml"] {
                for path in [Path::new(path).to_owned(), std::path::absolute(path).unwrap()] {
                    assert!(source.concerns(&path, &here.join(&path)), "{path:?} {source:?}");
                }
            }
            for path in ["./other", "manifests/b"] {
                assert!(!source.concerns(Path::new(path), &here.join(path)), "{path}");
            }
        }
    }
}
