use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders within folders that are followed; deeper ones are most likely a loop of links.
const DEPTH_MAX: usize = 32;

/// What stands in the given files and folders.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Manifests, in the order of the given paths and then by name.
    pub(crate) files: Vec<Found>,
    /// Folders that were read.
    pub(crate) folders: Vec<PathBuf>,
    /// The same without links.
    pub(crate) real_folders: BTreeSet<PathBuf>,
    /// What could not be read.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
}

/// A manifest.
#[derive(Debug)]
pub(crate) struct Found {
    /// As it was named or found.
    pub(crate) path: PathBuf,
    /// Without links.
    pub(crate) real: PathBuf,
    /// What tells one content from another without reading.
    pub(crate) stamp: Stamp,
}

/// Where a file's bytes are and when they changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len_bytes: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

/// Lists the manifests: each given file whatever its name, and in folders, at any depth, `*.yaml`, `*.yml` and
/// `*.json`. Names that start with a dot are left out; links are followed (so a ConfigMap's `..data` folder is read
/// through the links into it, once); a file that can be reached by two ways is read the first one.
pub(crate) fn scan(roots: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    let mut seen = BTreeSet::new();
    for root in roots {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => scan.folder(root, &mut seen, 0),
            Ok(metadata) => scan.file(root, &metadata, &mut seen),
            Err(error) => scan.unreadable.push((root.clone(), error)),
        }
    }
    scan
}

impl Scan {
    fn folder(&mut self, folder: &Path, seen: &mut BTreeSet<PathBuf>, depth: usize) {
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        if depth > DEPTH_MAX || !seen.insert(real.clone()) {
            return;
        }
        let names = fs::read_dir(folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.unreadable.push((folder.to_owned(), error)),
        };
        self.folders.push(folder.to_owned());
        self.real_folders.insert(real);
        names.sort();
        for name in names {
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(&name);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, seen, depth + 1),
                Ok(metadata) if is_manifest(&path) => self.file(&path, &metadata, seen),
                Ok(_) => {}
                // A link into nowhere is worth a word; a file that was deleted since is not.
                Err(error) if is_manifest(&path) && fs::symlink_metadata(&path).is_ok() => {
                    self.unreadable.push((path, error));
                }
                Err(_) => {}
            }
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata, seen: &mut BTreeSet<PathBuf>) {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if seen.insert(real.clone()) {
            self.files.push(Found { path: path.to_owned(), real, stamp: Stamp::new(metadata) });
        }
    }
}

impl Stamp {
    pub(crate) fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len_bytes: metadata.len(),
            modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(scan: &Scan, root: &Path) -> Vec<String> {
        scan.files.iter().map(|f| f.path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn manifests_are_listed_in_order_without_hidden_and_other_files() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "d.txt", ".hidden.yaml", "sub/e.yaml", ".git/f.yaml"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let scan = scan(&[root.path().to_owned()]);
        assert_eq!(names(&scan, root.path()), ["a.yml", "b.yaml", "c.json", "sub/e.yaml"]);
        assert!(scan.unreadable.is_empty());
    }

    #[test]
    fn loops_of_links_and_files_named_twice_are_read_once() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.yaml");
        fs::write(&file, "").unwrap();
        symlink(root.path(), root.path().join("loop")).unwrap();
        symlink(root.path().join("gone"), root.path().join("z.yaml")).unwrap();
        let scan = scan(&[root.path().to_owned(), file.clone()]);
        assert_eq!(scan.files.len(), 1);
        assert_eq!(scan.unreadable.len(), 1, "the link into nowhere");
    }
}
