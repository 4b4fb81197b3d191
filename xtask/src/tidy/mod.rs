//! `./x tidy`: what the compiler does not check. Everything it says names the file and the way out.

mod files;
mod layers;
mod licences;
mod metadata;
mod versions;

use anyhow::{Result, bail};

use crate::paths::root;
use metadata::Metadata;

/// Runs every check and prints what it finds.
///
/// # Errors
/// Something was found, or cargo or git cannot be asked.
pub(crate) fn run() -> Result<()> {
    let mut findings = files::check(root())?;
    let mut packages = 0;
    // The kernel programs have their own lock file.
    for manifest in ["Cargo.toml", "crates/ebpf/Cargo.toml"] {
        let manifest = root().join(manifest);
        if !manifest.exists() {
            continue;
        }
        let metadata = Metadata::of(&manifest)?;
        packages += metadata.packages.len();
        findings.extend(layers::check(&metadata));
        findings.extend(licences::check(&metadata));
        findings.extend(versions::check(&metadata));
    }
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: {packages} packages and all files are in order");
    Ok(())
}
