//! What is in the image: the program, the libraries that it is linked with, authorities, and little else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::tar::Entry;
use crate::paths::root;

/// Paths, relative to the root, and what is there. A folder comes before what it holds.
pub(super) type Layer = BTreeMap<String, Entry>;

/// Where the program is.
pub(super) const PROGRAM: &str = "usr/bin/rauta";

/// Of BackendTLSPolicies that trust the system's authorities.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Which licence is for what, and their texts: the program has its part for the kernel in it.
const LICENCES: [&str; 4] = ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT", "LICENSE-GPL-2.0"];

/// What changes seldom, then what changes with every version.
///
/// # Errors
/// `program` cannot be read, or a library of it is not there.
pub(super) fn layers(program: &Path, sbom: &str) -> Result<[Layer; 2]> {
    let mut below = Layer::new();
    // Places where runtimes mount something, and the agent's own.
    for folder in ["dev", "proc", "run", "sys", "etc/rauta"] {
        put(&mut below, folder, Entry::Folder(0o755));
    }
    put(&mut below, "tmp", Entry::Folder(0o1777));
    put(&mut below, "etc/passwd", text("root:x:0:0:root:/:/sbin/nologin\n"));
    put(&mut below, "etc/group", text("root:x:0:\n"));
    for library in libraries(program)? {
        let content = read(Path::new(&library))?;
        put(&mut below, library.trim_start_matches('/'), Entry::File(0o755, content));
    }
    match fs::read(Path::new("/").join(AUTHORITIES)) {
        Ok(content) => put(&mut below, AUTHORITIES, Entry::File(0o644, content)),
        Err(_) => eprintln!(
            "image: /{AUTHORITIES} is not there: BackendTLSPolicies that trust the system's authorities will trust nobody"
        ),
    }
    let mut above = Layer::new();
    put(&mut above, PROGRAM, Entry::File(0o755, read(program)?));
    for licence in LICENCES {
        let path = format!("usr/share/doc/rauta/{licence}");
        put(&mut above, &path, Entry::File(0o644, read(&root().join(licence))?));
    }
    put(&mut above, "usr/share/doc/rauta/sbom.cdx.json", text(sbom));
    Ok([below, above])
}

/// Adds an entry, and the folders above it.
fn put(layer: &mut Layer, path: &str, entry: Entry) {
    for (at, _) in path.match_indices('/') {
        layer.entry(path[..at].to_owned()).or_insert(Entry::Folder(0o755));
    }
    layer.insert(path.to_owned(), entry);
}

fn text(text: &str) -> Entry {
    Entry::File(0o644, text.as_bytes().to_vec())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
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
    fn the_texts_of_all_licences_are_in_the_image() {
        let [_, above] = layers(Path::new("/bin/ls"), "{}").unwrap();
        let overview = fs::read_to_string(root().join("LICENSE")).unwrap();
        let named = overview.split(['(', ')', ',', ' ']).filter(|word| word.starts_with("LICENSE-"));
        for name in named.chain(["LICENSE"]) {
            assert!(above.contains_key(&format!("usr/share/doc/rauta/{name}")), "{name}");
        }
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let mut layer = Layer::new();
        put(&mut layer, "a/b/c", text("c"));
        put(&mut layer, "a/b", Entry::Folder(0o700));
        let paths: Vec<_> = layer.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c"]);
        assert_eq!(layer["a/b"], Entry::Folder(0o700));
    }
}
