//! What `cargo metadata` says, as far as the checks read it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::run::cargo;

/// The packages of a lock file and which of them are ours.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Every package.
    pub(crate) packages: Vec<Package>,
    /// The ids of ours.
    pub(crate) workspace_members: Vec<String>,
    /// The folder of the lock file.
    pub(crate) workspace_root: String,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression.
    pub(crate) license: Option<String>,
    /// None for packages on disk.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One declared dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None: an ordinary one; `dev`, `build`.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo about the workspace of `manifest`.
    pub(crate) fn of(manifest: &Path) -> Result<Self> {
        let mut command = cargo(&["metadata", "--format-version", "1", "--locked", "--manifest-path"]);
        let output = command.arg(manifest).output().context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!(
                "cargo metadata of {}: {}",
                manifest.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata does not speak its format 1")
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}
