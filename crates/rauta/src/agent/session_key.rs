//! The key that sessions are written with, from `sessionKeyFile`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A key that is shorter can be guessed.
const BYTES_MIN: usize = 32;
/// Nothing that is longer is a key.
const BYTES_MAX: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionKeyError {
    #[error("cannot read the sessionKeyFile {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the sessionKeyFile {} has {bytes} bytes: it must have {BYTES_MIN} to {BYTES_MAX}; write one with `head -c 32 /dev/urandom`",
        path.display()
    )]
    Size { path: PathBuf, bytes: usize },
}

/// Reads the key; every byte of the file counts, a line's end too.
pub(crate) fn read(path: &Path) -> Result<tls::MacKey, SessionKeyError> {
    let mut secret = Vec::new();
    // One more byte than may be: a device would never end.
    File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut secret))
        .map_err(|source| SessionKeyError::Unreadable { path: path.into(), source })?;
    let is_fit = secret.len() >= BYTES_MIN && secret.len() as u64 <= BYTES_MAX;
    if is_fit {
        Ok(tls::MacKey::new(&secret))
    } else {
        Err(SessionKeyError::Size { path: path.into(), bytes: secret.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_read_and_what_can_be_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = |path: &Path| read(path).unwrap_err().to_string();
        assert_eq!(error(&path), format!("cannot read the sessionKeyFile {}", path.display()));
        fs::write(&path, [1; 31]).unwrap();
        assert!(error(&path).contains("has 31 bytes: it must have 32 to 4096"), "{}", error(&path));
        assert!(error(Path::new("/dev/zero")).contains("has 4097 bytes"));
        fs::write(&path, [1; 32]).unwrap();
        assert_eq!(read(&path).unwrap().tag(&[b"a"]), tls::MacKey::new(&[1; 32]).tag(&[b"a"]));
    }
}
