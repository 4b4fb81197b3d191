//! Files to be packed into an archive.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Paths, relative to the root, and what is there. A folder comes before what it holds.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A folder with its mode.
    Folder(u32),
    /// A file with its mode and content.
    File(u32, Vec<u8>),
}

/// Adds an entry, and the folders above it.
pub(crate) fn put(tree: &mut Tree, path: &str, entry: Entry) {
    for (at, _) in path.match_indices('/') {
        tree.entry(path[..at].to_owned()).or_insert(Entry::Folder(0o755));
    }
    tree.insert(path.to_owned(), entry);
}

/// A file for everybody to read.
pub(crate) fn text(text: &str) -> Entry {
    Entry::File(0o644, text.as_bytes().to_vec())
}

/// The content of a file of this machine.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Adds the shared libraries that `program` needs, where they are here.
///
/// # Errors
/// One of them is not there.
pub(crate) fn put_libraries(tree: &mut Tree, program: &Path) -> Result<()> {
    for library in libraries(program)? {
        put(tree, library.trim_start_matches('/'), Entry::File(0o755, read(Path::new(&library))?));
    }
    Ok(())
}

/// Paths of the shared libraries of `program`, the dynamic linker among them; none if it is linked statically.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd (Debian: libc-bin)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            error.contains("not a dynamic executable"),
            "ldd {}: {}{}",
            program.display(),
            said.trim(),
            error.trim()
        );
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for line in said.lines() {
        found.extend(library(line).with_context(|| format!("{} lacks a library", program.display()))?);
    }
    found.sort();
    Ok(found)
}

/// The path in a line of `ldd`: `libm.so.6 => /lib/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`. The kernel's own has none.
fn library(line: &str) -> Result<Option<String>> {
    if line.contains("not found") {
        bail!("{}", line.trim());
    }
    let path = line.split_once("=> ").map_or(line, |(_, path)| path).trim();
    let path = path.split(" (").next().unwrap_or(path);
    Ok(path.starts_with('/').then(|| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd_name_libraries() {
        for (line, path) in [
            ("\tlinux-vdso.so.1 (0x00007fff)", None),
            (
                "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)",
                Some("/lib/x86_64-linux-gnu/libm.so.6"),
            ),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tstatically linked", None),
        ] {
            assert_eq!(library(line).unwrap().as_deref(), path, "{line}");
        }
        assert!(library("\tlibx.so => not found").unwrap_err().to_string().contains("libx.so"));
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let mut tree = Tree::new();
        put(&mut tree, "a/b/c", text("c"));
        put(&mut tree, "a/b", Entry::Folder(0o700));
        let paths: Vec<_> = tree.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c"]);
        assert_eq!(tree["a/b"], Entry::Folder(0o700));
    }
}
