use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

/// How often it is asked whether the file is still the one that has its name.
const LOOK: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Appended to this file, which is made if it is not there.
    File(PathBuf),
}

/// Why the access log cannot be written.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error(
        "cannot open the access log {}; set `accessLog.path` to a file in a folder that can be written, or to stdout",
        path.display()
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no thread to write it.
    #[error("cannot start the thread that writes the access log; is the limit of processes reached?")]
    Thread(#[source] io::Error),
}

/// Where lines go, open.
pub(super) enum Output {
    Stdout,
    File { path: PathBuf, file: File, looked: Instant },
}

impl Output {
    pub(super) fn open(target: &Target) -> Result<Self, OpenError> {
        match target {
            Target::Stdout => Ok(Self::Stdout),
            Target::File(path) => {
                let file =
                    append_to(path).map_err(|source| OpenError::File { path: path.clone(), source })?;
                Ok(Self::File { path: path.clone(), file, looked: Instant::now() })
            }
        }
    }

    /// Opens the file again, under its name; the old one stays if that fails.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file, looked } = self {
            *looked = Instant::now();
            *file = append_to(path)?;
        }
        Ok(())
    }

    /// Whether another file has the name now, or none.
    pub(super) fn has_moved(&mut self) -> bool {
        let Self::File { path, file, looked } = self else { return false };
        if looked.elapsed() < LOOK {
            return false;
        }
        *looked = Instant::now();
        let same = |named: std::fs::Metadata, open: std::fs::Metadata| {
            (named.dev(), named.ino()) == (open.dev(), open.ino())
        };
        match (std::fs::metadata(&*path), file.metadata()) {
            (Ok(named), Ok(open)) => !same(named, open),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (_, Err(_)) => false,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::File { file, .. } => file.write_all(bytes),
        }
    }
}

/// Addresses of clients are not for everybody.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
