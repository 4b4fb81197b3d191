//! The pin folder: `<root>/v<layout>/`, mode 0700, locked by the agent that uses it.
//!
//! ```text
//! /sys/fs/bpf/rauta/v7/METRICS                        maps under their own names
//!                      LISTENER_COUNTERS
//!                      rauta_tc_ingress               the programs in use
//!                      rauta_ingress
//!                      links/rauta_tc_ingress@eth0    a link per interface; removing it detaches
//!                      links/rauta_ingress@eth0       another where XDP is used
//! ```

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    sys::statfs::{FsType, statfs},
    unistd::geteuid,
};
use wire::LAYOUT_VERSION;

use crate::{PinError, StartError, bpf::detach_pinned_link, early::XDP_PROGRAM, object::TC_PROGRAM};

const FOLDER_MODE: u32 = 0o700;

/// A bpf file system refuses dots.
const UNFINISHED: &str = "-new";

/// A pin folder, ours alone while this lives.
#[derive(Debug)]
pub(crate) struct PinFolder {
    root: PathBuf,
    path: PathBuf,
    _lock: Lock,
}

impl PinFolder {
    /// Creates or adopts this layout's folder under `root` and locks it.
    ///
    /// # Errors
    ///
    /// Not a bpf file system, another owner, another agent, another layout's pins.
    pub(crate) fn open(root: &Path) -> Result<Self, PinError> {
        if !is_bpffs(root) {
            return Err(PinError::NotBpffs { path: root.to_owned() });
        }
        make_folder(root)?;
        if let Some(path) = versions(root)?.into_iter().find(|path| *path != version_path(root)) {
            return Err(PinError::OtherLayout { path });
        }
        let path = version_path(root);
        make_folder(&path)?;
        make_folder(&path.join("links"))?;
        let lock = lock(&path)?;
        Ok(Self { root: root.to_owned(), path, _lock: lock })
    }

    /// Where a map or program of that name is pinned.
    pub(crate) fn object(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where a map is pinned until it takes the place of another one of that name.
    pub(crate) fn unfinished(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{UNFINISHED}"))
    }

    /// Removes what was pinned so by an exchange that came to nothing. Programs of its may run until they are replaced.
    pub(crate) fn remove_unfinished(&self) -> Result<(), PinError> {
        let is_unfinished = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(UNFINISHED.as_bytes()))
        };
        entries(&self.path)?.iter().filter(|path| is_unfinished(path)).try_for_each(|path| remove_pin(path))
    }

    /// Where the link of the TC program on `interface` is pinned.
    pub(crate) fn link(&self, interface: &str) -> PathBuf {
        self.path.join("links").join(link_name(TC_PROGRAM, interface))
    }

    /// Where the link of the XDP program on `interface` is pinned.
    pub(crate) fn early_link(&self, interface: &str) -> PathBuf {
        early_link(&self.root, interface)
    }

    /// Removes every pin, which detaches every link, and the folders; the root stays if others use it.
    pub(crate) fn remove(self) -> Result<(), PinError> {
        remove_version(&self.path)?;
        // Fails while the root holds anything else, which then is not ours to remove.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }
}

/// Where an agent with pins under `root` has the link of the XDP program on `interface`.
pub(crate) fn early_link(root: &Path, interface: &str) -> PathBuf {
    version_path(root).join("links").join(link_name(XDP_PROGRAM, interface))
}

/// Removes the pins of every layout under `root`. Returns the interfaces that had a link, with its pin.
pub(crate) fn remove_all(root: &Path) -> Result<Vec<(String, PathBuf)>, PinError> {
    let mut links = Vec::new();
    for version in versions(root)? {
        let _lock = lock(&version)?;
        for pin in entries(&version.join("links"))? {
            if let Some(interface) = pin.file_name().and_then(|name| name.to_str()).and_then(link_interface) {
                links.push((interface, pin));
            }
        }
        remove_version(&version)?;
    }
    let _ = fs::remove_dir(root);
    Ok(links)
}

/// Removes the pin at `path`, if there is one.
pub(crate) fn remove_pin(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(folder_error(path)(error)),
        _ => Ok(()),
    }
}

/// Detaches the link pinned at `path`, if there is one, and removes the pin.
pub(crate) fn remove_link(path: &Path) -> Result<(), PinError> {
    // A link that cannot be detached, its interface being gone, goes with its pin.
    let _ = detach_pinned_link(path);
    remove_pin(path)
}

/// Pins a program in use under its whole name, in place of the one before.
pub(crate) fn pin_program(
    pins: &PinFolder,
    name: &str,
    pin: impl FnOnce(&Path) -> Result<(), aya::pin::PinError>,
) -> Result<(), StartError> {
    let path = pins.object(name);
    remove_pin(&path)?;
    pin(&path).map_err(|error| StartError::Pin(not_pinned(path, error)))
}

/// What aya says of pinning something at `path`.
pub(crate) fn not_pinned(path: PathBuf, error: aya::pin::PinError) -> PinError {
    let source = match error {
        aya::pin::PinError::SyscallError(error) => error.io_error,
        _ => io::ErrorKind::InvalidInput.into(),
    };
    PinError::Folder { path, source }
}

/// Whether `path`, or the nearest folder above it that exists, is on a bpf file system.
pub(crate) fn is_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find(|folder| folder.exists())
        .and_then(|folder| statfs(folder).ok())
        .is_some_and(|found| found.filesystem_type() == FsType(libc::BPF_FS_MAGIC))
}

/// Links first, so that nothing runs on maps whose pins are gone.
fn remove_version(path: &Path) -> Result<(), PinError> {
    let links = path.join("links");
    let mut pinned = entries(&links)?;
    // That of XDP first: it leaves packets to that of TC.
    let is_early =
        |pin: &PathBuf| pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with(XDP_PROGRAM));
    pinned.sort_by_key(|pin| !is_early(pin));
    for pin in pinned {
        remove_link(&pin)?;
    }
    if links.exists() {
        fs::remove_dir(&links).map_err(folder_error(&links))?;
    }
    for pin in entries(path)? {
        remove_pin(&pin)?;
    }
    fs::remove_dir(path).map_err(folder_error(path))
}

fn make_folder(path: &Path) -> Result<(), PinError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => adopt_folder(path),
        Err(error) => Err(folder_error(path)(error)),
    }
}

fn adopt_folder(path: &Path) -> Result<(), PinError> {
    let found = fs::symlink_metadata(path).map_err(folder_error(path))?;
    if !found.is_dir() {
        return Err(PinError::Foreign { path: path.to_owned(), what: "not a folder" });
    }
    if found.uid() != geteuid().as_raw() {
        return Err(PinError::Owner { path: path.to_owned(), uid: found.uid() });
    }
    if found.mode() & 0o777 != FOLDER_MODE {
        fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE)).map_err(folder_error(path))?;
    }
    Ok(())
}

/// A lock on a folder: gone with the process, however it ends.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to closing: a child between fork and exec still has the descriptor, and with it the lock.
        let _ = self.0.unlock();
    }
}

fn lock(path: &Path) -> Result<Lock, PinError> {
    let folder = File::open(path).map_err(folder_error(path))?;
    match folder.try_lock() {
        Ok(()) => Ok(Lock(folder)),
        Err(TryLockError::WouldBlock) => Err(PinError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(folder_error(path)(error)),
    }
}

fn version_path(root: &Path) -> PathBuf {
    root.join(format!("v{LAYOUT_VERSION}"))
}

/// The folders `v<number>` under `root`.
fn versions(root: &Path) -> Result<Vec<PathBuf>, PinError> {
    let is_version = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
    };
    Ok(entries(root)?.into_iter().filter(is_version).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinError> {
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(folder_error(folder)(error)),
    };
    let paths: Result<Vec<_>, _> = found.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(folder_error(folder))
}

fn folder_error(path: &Path) -> impl FnOnce(io::Error) -> PinError {
    let path = path.to_owned();
    move |source| PinError::Folder { path, source }
}

/// `rauta_tc_ingress@eth0`. A bpf file system refuses dots, which interface names may have (`eth0.100`).
fn link_name(program: &str, interface: &str) -> String {
    format!("{program}@{}", interface.replace('%', "%25").replace('.', "%2e"))
}

fn link_interface(name: &str) -> Option<String> {
    Some(name.strip_prefix(TC_PROGRAM)?.strip_prefix('@')?.replace("%2e", ".").replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_hold_no_dot_and_read_back() {
        for interface in ["eth0", "eth0.100", "odd%2e", "a.b.c"] {
            let name = link_name(TC_PROGRAM, interface);
            assert!(!name.contains('.'), "{name}");
            assert_eq!(link_interface(&name).as_deref(), Some(interface));
        }
        assert_eq!(link_interface("METRICS"), None);
    }

    #[test]
    fn a_folder_elsewhere_is_refused_before_anything_is_made() {
        let path = Path::new("/proc/rauta-pins");
        assert!(matches!(PinFolder::open(path), Err(PinError::NotBpffs { .. })));
    }
}
