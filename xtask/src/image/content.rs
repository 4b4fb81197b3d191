//! What is in the image: the program, the libraries that it is linked with, authorities, and little else.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::paths::root;
use crate::tree::{Entry, Tree, put, put_libraries, read, text};

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
pub(super) fn layers(program: &Path, sbom: &str) -> Result<[Tree; 2]> {
    let mut below = Tree::new();
    // Places where runtimes mount something, and the agent's own.
    for folder in ["dev", "proc", "run", "sys", "etc/rauta"] {
        put(&mut below, folder, Entry::Folder(0o755));
    }
    put(&mut below, "tmp", Entry::Folder(0o1777));
    put(&mut below, "etc/passwd", text("root:x:0:0:root:/:/sbin/nologin\n"));
    put(&mut below, "etc/group", text("root:x:0:\n"));
    put_libraries(&mut below, program)?;
    match fs::read(Path::new("/").join(AUTHORITIES)) {
        Ok(content) => put(&mut below, AUTHORITIES, Entry::File(0o644, content)),
        Err(_) => eprintln!(
            "image: /{AUTHORITIES} is not there: BackendTLSPolicies that trust the system's authorities will trust nobody"
        ),
    }
    let mut above = Tree::new();
    put(&mut above, PROGRAM, Entry::File(0o755, read(program)?));
    for licence in LICENCES {
        let path = format!("usr/share/doc/rauta/{licence}");
        put(&mut above, &path, Entry::File(0o644, read(&root().join(licence))?));
    }
    put(&mut above, "usr/share/doc/rauta/sbom.cdx.json", text(sbom));
    Ok([below, above])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_all_licences_are_in_the_image() {
        let [_, above] = layers(Path::new("/bin/ls"), "{}").unwrap();
        let overview = fs::read_to_string(root().join("LICENSE")).unwrap();
        let named = overview.split(['(', ')', ',', ' ']).filter(|word| word.starts_with("LICENSE-"));
        for name in named.chain(["LICENSE"]) {
            assert!(above.contains_key(&format!("usr/share/doc/rauta/{name}")), "{name}");
        }
    }
}
