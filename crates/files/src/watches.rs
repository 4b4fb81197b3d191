use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::scan::Scan;

/// The folders whose events are heard.
///
/// Folders, never files: editors replace a file by renaming another one over it, and a watch on a file would follow the
/// old one. Each folder by itself, as links must be followed and hidden ones left out; and each once, as inotify(7) has
/// one watch for a folder whatever its names, which ends for all of them.
#[derive(Debug)]
pub(crate) struct Watches {
    watcher: RecommendedWatcher,
    /// What is watched, under which name.
    watched: BTreeMap<Identity, PathBuf>,
    /// Folders that could not be watched, so that it is said once.
    refused: BTreeSet<PathBuf>,
}

/// A folder whatever it is called: device, inode, and when it was made, for inodes are used again.
type Identity = (u64, u64, Option<SystemTime>);

impl Watches {
    pub(crate) fn new(watcher: RecommendedWatcher) -> Self {
        Self { watcher, watched: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// Watches what `scan` found and the folders around it; whether any folder is new.
    pub(crate) fn sync(&mut self, roots: &[PathBuf], scan: &Scan) -> bool {
        let wanted = wanted(roots, scan);
        let is_kept = |(identity, name): (&Identity, &PathBuf)| wanted.get(identity) == Some(name);
        let gone: Vec<_> =
            self.watched.iter().filter(|entry| !is_kept(*entry)).map(|(identity, _)| *identity).collect();
        for name in gone.iter().filter_map(|identity| self.watched.remove(identity)) {
            // Fails for folders that are gone, which is what is wanted.
            let _ = self.watcher.unwatch(&name);
        }
        let mut added = false;
        for (identity, folder) in wanted {
            if self.watched.contains_key(&identity) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(identity, folder);
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
}

/// The folders to watch, each under the first of its names: as it was given, rather than without links.
fn wanted(roots: &[PathBuf], scan: &Scan) -> BTreeMap<Identity, PathBuf> {
    let given = roots.iter().map(|root| folder_of(root)).chain(scan.folders.iter().cloned());
    let given = given.chain(scan.files.iter().map(|found| folder_of(&found.path)));
    let real = roots.iter().filter_map(|root| fs::canonicalize(root).ok()).map(|real| folder_of(&real));
    let real = real.chain(scan.files.iter().map(|found| folder_of(&found.real)));
    // Of the many files in a folder each gives the same name: it is looked at once.
    let mut seen = BTreeSet::new();
    let mut wanted = BTreeMap::new();
    for name in given.chain(real) {
        if seen.insert(name.clone())
            && let Some(identity) = identity(&name)
        {
            wanted.entry(identity).or_insert(name);
        }
    }
    wanted
}

fn identity(folder: &Path) -> Option<Identity> {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// The folder that a path stands in.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    #[test]
    fn a_folder_is_watched_once_under_the_name_that_was_given() {
        let root = tempfile::tempdir_in(".").unwrap();
        let here = Path::new(".").join(root.path().file_name().unwrap());
        let roots = [here.join("manifests")];
        let names = || wanted(&roots, &scan(&roots)).into_values().collect::<BTreeSet<_>>();
        assert_eq!(names(), BTreeSet::from([here.clone()]), "waits for it to appear");
        fs::create_dir(&roots[0]).unwrap();
        fs::write(roots[0].join("a.yaml"), "").unwrap();
        let linked = root.path().join("linked");
        std::os::unix::fs::symlink(&linked, roots[0].join("b.yaml")).unwrap();
        fs::write(&linked, "").unwrap();
        assert_eq!(names(), BTreeSet::from([here.clone(), roots[0].clone()]));
    }

    #[test]
    fn a_folder_that_was_replaced_is_another() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a");
        fs::create_dir(&folder).unwrap();
        let first = identity(&folder);
        fs::rename(&folder, root.path().join("b")).unwrap();
        assert_eq!(identity(&folder), None);
        fs::create_dir(&folder).unwrap();
        assert_ne!(identity(&folder), first);
        assert_eq!(identity(&root.path().join("b")), first);
    }
}
