use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use thiserror::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Why the control socket could not be made.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error(
        "another agent is running{}: it holds the control socket {}; stop it, or give this one its own with `--socket`",
        pid.as_deref().map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
        /// The other agent, if it said.
        pid: Option<String>,
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {} for the control socket; give another place with `--socket`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others could replace the socket.
    #[error(
        "the folder {} of the control socket belongs to another user or lets others write: remove it, or give another \
         place with `--socket`",
        path.display()
    )]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A unix socket's path has at most 107 bytes.
    #[error("the control socket's path {} is too long (107 bytes at most); give a shorter one with `--socket`", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// There is something else at the path.
    #[error("{} exists and is no socket: remove it, or give another place with `--socket`", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot make the control socket {}; give another place with `--socket`", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound control socket; removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    lock: Lock,
}

/// Who holds the lock beside the socket.
#[derive(Debug)]
enum Lock {
    /// This agent, as long as it lives: the kernel lets go of it however the agent ends.
    Held(Flock<File>),
    /// The agent that shared it, yet.
    Shared(File),
    /// Another agent, by now.
    Left,
}

/// A control socket for another process, with the lock that goes with it.
#[derive(Debug)]
pub struct SharedControlSocket {
    /// What clients connect to.
    pub listener: OwnedFd,
    /// Locked: both processes hold the lock until the last one is gone.
    pub lock: OwnedFd,
}

impl ControlSocket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Other descriptors of socket and lock, for the agent that takes over.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn share(&self) -> io::Result<SharedControlSocket> {
        let Lock::Held(lock) = &self.lock else { return Err(io::ErrorKind::NotConnected.into()) };
        Ok(SharedControlSocket {
            listener: self.listener.try_clone()?.into(),
            lock: lock.try_clone()?.into(),
        })
    }

    /// What another agent shared. Path and lock are still its own: [`ControlSocket::claim`] them when it leaves.
    ///
    /// # Errors
    /// [`BindError`] if it is no such socket.
    pub fn take_over(path: &Path, shared: SharedControlSocket) -> Result<Self, BindError> {
        let listener = UnixListener::from(shared.listener);
        listener.set_nonblocking(true).map_err(|source| BindError::Io { path: path.into(), source })?;
        Ok(Self { listener, path: path.into(), lock: Lock::Shared(File::from(shared.lock)) })
    }

    /// Makes path and lock this agent's, which the other one has left; they are already where it did not take over.
    ///
    /// # Errors
    /// [`BindError::InUse`] if the lock is not the one that the other agent held.
    pub fn claim(&mut self) -> Result<(), BindError> {
        match std::mem::replace(&mut self.lock, Lock::Left) {
            Lock::Shared(file) => self.lock = Lock::Held(lock_file(file, &self.path)?),
            other => self.lock = other,
        }
        Ok(())
    }

    /// Leaves socket, path and lock to the agent that has taken over.
    pub fn leave(mut self) {
        // Unlocking would unlock the other one's too; what is closed with the process does not.
        std::mem::forget(std::mem::replace(&mut self.lock, Lock::Left));
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // While the lock is held the path is ours. It may be gone already.
        if matches!(self.lock, Lock::Held(_)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the control socket at `path` with mode 0600, and its folder with mode 0700 if there is none.
///
/// The socket of an agent that is gone is replaced.
///
/// # Errors
/// [`BindError`]; [`BindError::InUse`] while another agent holds it.
pub fn bind(path: &Path) -> Result<ControlSocket, BindError> {
    let address = UnixAddr::new(path).map_err(|_| BindError::TooLong { path: path.into() })?;
    make_folder(path)?;
    let lock = lock(path)?;
    remove_stale(path)?;
    let io = |errno: Errno| BindError::Io { path: path.into(), source: errno.into() };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(io)?;
    // unix_bind_bsd (net/unix/af_unix.c) takes the file's mode from the unbound socket's inode: the file never exists
    // with another one, and the umask, which belongs to all threads, stays alone.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(io)?;
    socket::bind(fd.as_raw_fd(), &address).map_err(io)?;
    let socket =
        ControlSocket { listener: UnixListener::from(fd), path: path.into(), lock: Lock::Held(lock) };
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|source| BindError::Io { path: path.into(), source })?;
    let backlog = Backlog::new(BACKLOG).map_err(io)?;
    socket::listen(&socket.listener, backlog).map_err(io)?;
    Ok(socket)
}

fn make_folder(path: &Path) -> Result<(), BindError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let failed = |source| BindError::Folder { path: folder.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let found = fs::metadata(folder).map_err(failed)?;
    let trusted = found.uid() == geteuid().as_raw() || found.uid() == 0;
    // Group and others may write only where the sticky bit keeps them off each other's files.
    let closed = found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0;
    if trusted && closed { Ok(()) } else { Err(BindError::UnsafeFolder { path: folder.into() }) }
}

/// Takes the lock beside the socket, which tells a live agent from a dead one's socket without a race.
fn lock(path: &Path) -> Result<Flock<File>, BindError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let io = |source| BindError::Io { path: path.into(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(&lock_path)
        .map_err(io)?;
    lock_file(file, path)
}

/// Locks `file` for the socket at `path`.
fn lock_file(file: File, path: &Path) -> Result<Flock<File>, BindError> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            // For the other agent's error message only: failing to write it harms nothing.
            let _ = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| write!(*lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.is_empty();
            Err(BindError::InUse { path: path.into(), pid: known.then_some(pid) })
        }
        Err((_, errno)) => Err(BindError::Io { path: path.into(), source: errno.into() }),
    }
}

/// Removes the socket of an agent that is gone.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Io { path: path.into(), source }),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    // Whoever answers without holding the lock is not ours to remove.
    if UnixStream::connect(path).is_ok() {
        return Err(BindError::InUse { path: path.into(), pid: None });
    }
    fs::remove_file(path).map_err(|source| BindError::Io { path: path.into(), source })
}
