//! Proxies made of other libraries: a plain one of hyper, and one of Pingora. `xtask/peers` holds and builds them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::{Addresses, Lab};

use super::certificate::Certificate;
use super::{Contender, Ports, launch};
use crate::paths::{root, target};

/// Builds both, and starts them.
///
/// # Errors
/// One does not build or start.
pub(super) fn start<'l>(lab: &'l Lab, certificate: &Certificate) -> Result<[Contender<'l>; 2]> {
    let programs = build()?;
    let mut hyper = Command::new(programs.join("hyper-proxy"));
    hyper.arg("8084").arg(Addresses::backend_socket(0).to_string()).arg("8447");
    hyper.arg(&certificate.chain).arg(&certificate.key).arg(Addresses::backend_socket(1).to_string());
    let mut pingora = Command::new(programs.join("pingora-proxy"));
    pingora.arg("8085").arg(Addresses::backend_socket(0).to_string());
    Ok([
        launch(lab, "hyper", version("hyper")?, Ports { plain: 8084, secured: Some(8447) }, hyper)?,
        launch(lab, "Pingora", version("pingora-proxy")?, Ports { plain: 8085, secured: None }, pingora)?,
    ])
}

/// The folder of the programs.
fn build() -> Result<PathBuf> {
    let folder = target().join("peers");
    let status = Command::new("cargo")
        .args(["build", "-q", "--release", "--locked", "--manifest-path"])
        .arg(root().join("xtask/peers/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .status()
        .context("cargo cannot be run")?;
    ensure!(status.success(), "the proxies in xtask/peers did not build");
    Ok(folder.join("release"))
}

/// The version in the lock file.
fn version(package: &str) -> Result<String> {
    let lock = std::fs::read_to_string(root().join("xtask/peers/Cargo.lock"))?;
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\"")).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(format!("{package}/{}", version.with_context(|| format!("no {package} in xtask/peers/Cargo.lock"))?))
}
