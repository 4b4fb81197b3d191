use std::collections::{BTreeMap, BTreeSet};
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
    /// The same without links, each with its name and the place of the path given that it was found by.
    pub(crate) real_folders: BTreeMap<PathBuf, (PathBuf, usize)>,
    /// Whether a file can be told by its folder and name: no links, every path given is a folder.
    is_plain: bool,
    /// What could not be read.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
}

/// A manifest.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As it was named or found.
    pub(crate) path: PathBuf,
    /// Without links.
    pub(crate) real: PathBuf,
    /// The place of the path given that it was found by.
    pub(crate) root: usize,
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
    let mut scan = Scan { is_plain: true, ..Scan::default() };
    let mut seen = BTreeSet::new();
    for (at, root) in roots.iter().enumerate() {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => scan.folder(root, at, &mut seen, 0),
            Ok(metadata) => {
                scan.is_plain = false;
                scan.file(root, real(root), at, &metadata, &mut seen);
            }
            Err(error) => scan.unreadable.push((root.clone(), error)),
        }
    }
    scan
}

impl Scan {
    fn folder(&mut self, folder: &Path, root: usize, seen: &mut BTreeSet<PathBuf>, depth: usize) {
        let real_folder = real(folder);
        if depth > DEPTH_MAX || !seen.insert(real_folder.clone()) {
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
        self.real_folders.insert(real_folder.clone(), (folder.to_owned(), root));
        names.sort();
        for name in names {
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(&name);
            let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
            self.is_plain &= !is_link;
            let real_file = || if is_link { real(&path) } else { real_folder.join(&name) };
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, root, seen, depth + 1),
                Ok(metadata) if is_manifest(&path) => self.file(&path, real_file(), root, &metadata, seen),
                Ok(_) => {}
                // A link into nowhere is worth a word; a file that was deleted since is not.
                Err(error) if is_manifest(&path) && fs::symlink_metadata(&path).is_ok() => {
                    self.unreadable.push((path, error));
                }
                Err(_) => {}
            }
        }
    }

    fn file(
        &mut self,
        path: &Path,
        real: PathBuf,
        root: usize,
        metadata: &Metadata,
        seen: &mut BTreeSet<PathBuf>,
    ) {
        if seen.insert(real.clone()) {
            self.files.push(Found { path: path.to_owned(), real, root, stamp: Stamp::new(metadata) });
        }
    }

    /// The manifest of that name.
    pub(crate) fn found(&self, root: usize, path: &Path) -> Option<&Found> {
        self.files.get(self.place(root, path).ok()?)
    }

    /// Takes in what became of these paths (without links), as a new scan would find it: the names of the manifests
    /// among them, and the places of the paths given that they are found by. None if only a new scan can tell.
    pub(crate) fn refresh(&mut self, changed: &BTreeSet<PathBuf>) -> Option<Vec<(PathBuf, usize)>> {
        if !self.is_plain || !self.unreadable.is_empty() {
            return None;
        }
        let mut names = Vec::new();
        for real in changed {
            let (folder, root) =
                self.real_folders.get(real.parent()?).filter(|_| !self.real_folders.contains_key(real))?;
            let (path, root) = (folder.join(real.file_name()?), *root);
            let is_hidden = real.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            match fs::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_file() => return None,
                _ if is_hidden || !is_manifest(&path) => continue,
                Ok(metadata) => {
                    let found =
                        Found { path: path.clone(), real: real.clone(), root, stamp: Stamp::new(&metadata) };
                    match self.place(root, &path) {
                        Ok(at) => self.files.get_mut(at).into_iter().for_each(|old| *old = found.clone()),
                        Err(at) => self.files.insert(at, found),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if let Ok(at) = self.place(root, &path) {
                        self.files.remove(at);
                    }
                }
                Err(_) => return None,
            }
            names.push((path, root));
        }
        Some(names)
    }

    /// The place of a file, or where it would be: names of folders and files are sorted together.
    fn place(&self, root: usize, path: &Path) -> Result<usize, usize> {
        self.files.binary_search_by(|found| (found.root, found.path.as_path()).cmp(&(root, path)))
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

/// The path without links.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
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
