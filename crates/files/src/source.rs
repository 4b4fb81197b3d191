use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use model::{Diagnostic, ObjectRef};
use translate::{Object, Options, Store};

use crate::claims::{Claim, Claims};
use crate::file::{FileState, read_text};
use crate::scan::{self, Found, Scan, Stamp};
use crate::{Loaded, Steps, sayings};

/// The state of all files: what was read of each, and the objects in force.
///
/// A change costs what it changes: files that events do not name are not looked at, documents whose text stays are not
/// read again, and only objects whose places changed are offered to the store.
#[derive(Debug)]
pub(crate) struct Source {
    roots: Vec<PathBuf>,
    /// As events name them.
    absolute_roots: Vec<PathBuf>,
    pub(crate) files: BTreeMap<PathBuf, FileState>,
    /// Files that something is to be said about.
    pub(crate) noisy: BTreeSet<PathBuf>,
    pub(crate) claims: Claims,
    /// Of each object the version that was last offered to the store.
    offered: HashMap<ObjectRef, Object>,
    /// What the store said of those that it did not take.
    pub(crate) refused: BTreeMap<ObjectRef, Vec<Diagnostic>>,
    pub(crate) store: Store,
    pub(crate) scan: Scan,
    /// Whether folders were looked through since that was asked last.
    has_scanned: bool,
}

/// Paths whose events say more than a look at the folder would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    /// Changed, even if they look the same (real paths).
    pub(crate) changed: BTreeSet<PathBuf>,
    /// Still being written: not to be read yet (real paths).
    pub(crate) unfinished: BTreeSet<PathBuf>,
    /// Without content for so long that it is meant (real paths).
    pub(crate) emptied: BTreeSet<PathBuf>,
    /// No event for a while: every file is what its writer meant it to be.
    pub(crate) is_quiet: bool,
    /// Whether nothing else changed.
    pub(crate) is_all: bool,
}

impl Source {
    pub(crate) fn new(roots: Vec<PathBuf>, options: Options) -> Self {
        Self {
            absolute_roots: roots.iter().filter_map(|root| std::path::absolute(root).ok()).collect(),
            roots,
            files: BTreeMap::new(),
            noisy: BTreeSet::new(),
            claims: Claims::default(),
            offered: HashMap::new(),
            refused: BTreeMap::new(),
            store: Store::new(options),
            scan: Scan::default(),
            has_scanned: false,
        }
    }

    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Whether folders were looked through since this was asked last, so that there may be new ones.
    pub(crate) fn take_has_scanned(&mut self) -> bool {
        std::mem::take(&mut self.has_scanned)
    }

    /// Whether an event about a path (and the same without links) can matter: it is in or above what is read.
    pub(crate) fn concerns(&self, path: &Path, real: &Path) -> bool {
        // Events of a folder that was named by a relative path have relative paths.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.absolute_roots.iter().any(|root| absolute.starts_with(root) || root.starts_with(&absolute))
            || real.parent().is_some_and(|folder| self.scan.real_folders.contains_key(folder))
            || self.scan.files.iter().any(|found| found.real.starts_with(real))
    }

    /// Whether objects were read from a file.
    pub(crate) fn has_objects(&self, real: &Path) -> bool {
        let found = self.scan.files.iter().find(|found| found.real == real);
        found.and_then(|found| self.files.get(&found.path)).is_some_and(FileState::has_objects)
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
        let started = Instant::now();
        let named = if hints.is_all { self.scan.refresh(&hints.changed) } else { None };
        match named {
            Some(paths) => self.look_at(&paths, hints),
            None => self.look_at_all(hints),
        }
        self.offer();
        let read = Instant::now();
        let built = self.store.build();
        let translated = read.elapsed();
        Loaded {
            snapshot: built.snapshot,
            diagnostics: sayings::diagnostics(self, built.diagnostics),
            files: self.scan.files.len(),
            objects: self.claims.objects(),
            changed_at: SystemTime::now(),
            noticed,
            steps: Steps {
                waited: started.duration_since(noticed),
                read: read.duration_since(started),
                translated,
            },
        }
    }

    /// The order of files, in which the first of two equal objects counts; of files that are hidden now it is behind all.
    pub(crate) fn order(&self) -> impl Fn(&Claim) -> (usize, usize) + '_ {
        let is_asked = self.claims.contested().next().is_some();
        let files = self.scan.files.iter().filter(move |_| is_asked).enumerate();
        let ranks: HashMap<&Path, usize> = files.map(|(rank, found)| (found.path.as_path(), rank)).collect();
        let hidden = ranks.len();
        move |claim| {
            let rank = ranks.get(&*claim.file).copied().unwrap_or(hidden);
            let file = self.files.get(&*claim.file);
            let place = file.and_then(|file| {
                let parts = if claim.is_kept { &file.kept } else { &file.parts };
                parts.iter().position(|part| Arc::ptr_eq(part, &claim.part))
            });
            (rank, place.unwrap_or(usize::MAX))
        }
    }

    /// Reads the files that events named, and drops those that are gone.
    fn look_at(&mut self, paths: &[(PathBuf, usize)], hints: &Hints) {
        for (path, root) in paths {
            match self.scan.found(*root, path).cloned() {
                Some(found) => self.read(&found, hints),
                None => self.exchange(path, None),
            }
        }
    }

    fn look_at_all(&mut self, hints: &Hints) {
        let scan = scan::scan(&self.roots);
        self.forget_deleted(&scan);
        for found in &scan.files {
            self.read(found, hints);
        }
        self.scan = scan;
        self.has_scanned = true;
        self.claims.reordered();
    }

    /// Drops files that are gone; those in a folder that cannot be read right now stay.
    fn forget_deleted(&mut self, scan: &Scan) {
        let present: BTreeSet<_> = scan.files.iter().map(|found| &found.path).collect();
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let is_gone = |path: &PathBuf| {
            let is_hidden =
                scan.unreadable.iter().any(|(hidden, error)| !is_missing(error) && path.starts_with(hidden));
            !is_hidden && !present.contains(path)
        };
        let gone: Vec<_> = self.files.keys().filter(|path| is_gone(path)).cloned().collect();
        for path in gone {
            self.exchange(&path, None);
        }
    }

    fn read(&mut self, found: &Found, hints: &Hints) {
        let old = self.files.get_mut(&found.path);
        let is_same = old.as_ref().is_some_and(|file| file.stamp == Some(found.stamp));
        let is_unfinished = hints.unfinished.contains(&found.real);
        if is_unfinished || (is_same && !hints.changed.contains(&found.real)) {
            return;
        }
        let text = read_text(&found.path);
        if let (Some(file), Ok(text)) = (old, &text)
            && !hints.is_quiet
            && is_cut_off(text, file, found, hints)
        {
            // Its writer's next event, or the next look, brings the rest.
            file.stamp = None;
            return;
        }
        let unknown = FileState::new(&found.path);
        let old = self.files.get(&found.path).unwrap_or(&unknown);
        let new = match text {
            Ok(text) => old.with_text(&text, found.stamp),
            Err(error) => old.with_error(&error),
        };
        self.exchange(&found.path, Some(new));
    }

    /// Puts what was read of a file in the place of what was known of it.
    fn exchange(&mut self, path: &Path, new: Option<FileState>) {
        let old = self.files.remove(path);
        let Some(file) = new.as_ref().or(old.as_ref()).map(|file| Arc::clone(&file.path)) else { return };
        let parts = |file: &Option<FileState>| file.as_ref().map_or(vec![], |file| file.parts.clone());
        let kept = |file: &Option<FileState>| file.as_ref().map_or(vec![], |file| file.kept.clone());
        self.claims.exchange(&file, &parts(&old), &parts(&new), false);
        self.claims.exchange(&file, &kept(&old), &kept(&new), true);
        self.noisy.remove(path);
        if let Some(new) = new {
            if new.is_noisy() {
                self.noisy.insert(path.to_owned());
            }
            self.files.insert(path.to_owned(), new);
        }
    }

    /// Offers the store what the files now say of the objects whose places changed; nothing where that cannot be read.
    fn offer(&mut self) {
        let changed = self.claims.take_changed();
        let order = self.order();
        let first =
            |key: &ObjectRef| self.claims.of(key, &order).first().map(|claim| claim.object().cloned());
        let offers: Vec<_> = changed.into_iter().map(|key| (first(&key), key)).collect();
        drop(order);
        for (object, key) in offers {
            match object {
                None => {
                    self.offered.remove(&key);
                    self.refused.remove(&key);
                    self.store.remove(&key);
                }
                Some(Some(object)) if self.offered.get(&key) != Some(&object) => {
                    match self.store.apply(object.clone()) {
                        Ok(()) => drop(self.refused.remove(&key)),
                        Err(refused) => drop(self.refused.insert(key.clone(), refused)),
                    }
                    self.offered.insert(key, object);
                }
                Some(_) => {}
            }
        }
    }
}

/// Whether a writer has cut the file and not yet written it again, as far as that can be told: its events may still be
/// on their way.
fn is_cut_off(text: &str, old: &FileState, found: &Found, hints: &Hints) -> bool {
    let has_lost_all = text.trim().is_empty() && old.has_objects() && !hints.emptied.contains(&found.real);
    let stamp_now = std::fs::metadata(&found.path).ok().map(|metadata| Stamp::new(&metadata));
    has_lost_all || stamp_now != Some(found.stamp)
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
