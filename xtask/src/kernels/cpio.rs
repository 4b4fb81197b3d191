//! Archives that the kernel unpacks into its first root: "newc" (Documentation/driver-api/early-userspace/buffer-format.rst). One may
//! follow another.

use anyhow::{Context, Result};

use crate::tree::{Entry, Tree};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// An archive of `tree`, all of it root's.
///
/// # Errors
/// A file is too long for the format.
pub(super) fn cpio(tree: &Tree) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (inode, (path, entry)) in (1..).zip(tree) {
        let (mode, content): (_, &[u8]) = match entry {
            Entry::Folder(mode) => (FOLDER | mode, &[]),
            Entry::File(mode, content) => (FILE | mode, content),
        };
        push(&mut archive, inode, path, mode, content)
            .with_context(|| format!("{path} does not fit into an archive"))?;
    }
    push(&mut archive, 0, "TRAILER!!!", 0, &[])?;
    Ok(archive)
}

/// A header, the path and the content, each padded to four bytes.
fn push(archive: &mut Vec<u8>, inode: u32, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let (size, name_size) = (u32::try_from(content.len())?, u32::try_from(path.len() + 1)?);
    archive.extend(b"070701");
    // Inode, mode, user, group, links, time, size, device and the device that it is (two each), length of the name, sum.
    for field in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        archive.extend(format!("{field:08x}").as_bytes());
    }
    archive.extend(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_a_trailer_ends_them() {
        let tree = Tree::from([
            ("a".to_owned(), Entry::Folder(0o755)),
            ("a/bc".to_owned(), Entry::File(0o600, b"12345".to_vec())),
        ]);
        let archive = String::from_utf8(cpio(&tree).unwrap()).unwrap();
        let zeros = |count: usize| "00000000".repeat(count);
        let folder = format!("07070100000001000041ed{}00000001{}0000000200000000a\0", zeros(2), zeros(6));
        let file = format!(
            "07070100000002000081800000000000000000000000010000000000000005{}0000000500000000a/bc\0\0",
            zeros(4)
        );
        assert!(archive.starts_with(&(folder.clone() + &file)), "{archive:?}");
        assert_eq!(&archive[folder.len() + file.len()..][..14], "12345\x00\x00\x00070701");
        assert!(archive.contains("0000000b00000000TRAILER!!!\0"), "{archive:?}");
        assert_eq!(archive.len() % 4, 0);
    }
}
