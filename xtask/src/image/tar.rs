//! Archives of POSIX.1-1988 (ustar): names of up to 100 bytes, no times, all of it root's.

use anyhow::{Result, ensure};

use crate::tree::Entry;

const BLOCK: usize = 512;

/// An archive of `entries`, each with its path: relative, without `/` at its end.
///
/// # Errors
/// A path or a file is too long for the format.
pub(super) fn tar<'e>(entries: impl IntoIterator<Item = (&'e str, &'e Entry)>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (path, entry) in entries {
        let (path, mode, kind, content): (_, _, _, &[u8]) = match entry {
            Entry::Folder(mode) => (format!("{path}/"), mode, b'5', &[]),
            Entry::File(mode, content) => (path.to_owned(), mode, b'0', content),
        };
        archive.extend(header(&path, *mode, kind, content.len())?);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end it.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// `struct header_old_tar` with what ustar adds (tar(5)).
fn header(path: &str, mode: u32, kind: u8, size: usize) -> Result<[u8; BLOCK]> {
    ensure!(path.len() <= 100, "{path}: a path of {} bytes does not fit into an archive", path.len());
    ensure!(size < 1 << 33, "{path}: {size} bytes do not fit into an archive");
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    // User, group.
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    // When it was changed.
    put(136, b"00000000000");
    // The sum is over the header with spaces in its own place.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_unpacks_what_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [
            ("a", Entry::Folder(0o750)),
            ("a/empty", Entry::File(0o600, Vec::new())),
            ("a/file", Entry::File(0o755, vec![7; 1000])),
        ];
        let archive = tar(entries.iter().map(|(path, entry)| (*path, entry))).unwrap();
        let mut command = Command::new("tar");
        command.args(["--extract", "--preserve-permissions", "--directory"]).arg(folder.path());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read(folder.path().join("a/file")).unwrap(), vec![7; 1000]);
        for (path, mode) in [("a", 0o750), ("a/empty", 0o600), ("a/file", 0o755)] {
            let found = std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode, "{path}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let long = "x".repeat(101);
        let error = tar([(long.as_str(), &Entry::Folder(0o755))]).unwrap_err();
        assert!(error.to_string().contains("does not fit into an archive"), "{error}");
    }
}
