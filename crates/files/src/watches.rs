use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::scan::Scan;

/// The folders whose events are heard.
///
/// Folders, never files: editors replace a file by renaming another one over it, and a watch on a file would follow the
/// old one. Each folder by itself, as links must be followed and hidden ones left out.
#[derive(Debug)]
pub(crate) struct Watches {
    watcher: RecommendedWatcher,
    /// With the identity of what was there: a folder that was replaced must be watched anew.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// Folders that could not be watched, so that it is said once.
    refused: BTreeSet<PathBuf>,
}

impl Watches {
    pub(crate) fn new(watcher: RecommendedWatcher) -> Self {
        Self { watcher, watched: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// Watches what `scan` found and the folders around it; whether any folder is new.
    pub(crate) fn sync(&mut self, roots: &[PathBuf], scan: &Scan) -> bool {
        let mut wanted: BTreeSet<PathBuf> = scan.folders.iter().cloned().collect();
        for root in roots {
            wanted.insert(folder_of(root));
            wanted.extend(fs::canonicalize(root).ok().map(|real| folder_of(&real)));
        }
        for found in &scan.files {
            wanted.insert(folder_of(&found.path));
            wanted.insert(folder_of(&found.real));
        }
        let gone: Vec<_> = self.watched.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in gone {
            self.unwatch(&folder);
        }
        let mut added = false;
        for folder in wanted {
            let Ok(metadata) = fs::metadata(&folder) else { continue };
            let identity = (metadata.dev(), metadata.ino());
            match self.watched.get(&folder) {
                Some(known) if *known == identity => continue,
                Some(_) => self.unwatch(&folder),
                None => {}
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, identity);
                    added = true;
                }
                Err(error) if self.refused.insert(folder.clone()) => tracing::warn!(
                    folder = %folder.display(),
                    %error,
                    "cannot watch a folder for changes; it is looked at every two seconds instead \
                     (sysctl fs.inotify.max_user_watches is the usual limit)"
                ),
                Err(_) => {}
            }
        }
        added
    }

    fn unwatch(&mut self, folder: &Path) {
        // Fails for folders that are gone, which is what is wanted.
        let _ = self.watcher.unwatch(folder);
        self.watched.remove(folder);
    }
}

/// The folder that a path stands in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}
