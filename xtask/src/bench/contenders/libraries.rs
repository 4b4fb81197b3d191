//! Proxies made of other libraries: a plain one of hyper, on runtimes of two kinds, and one of Pingora. `xtask/peers` holds and builds them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use testkit::{Addresses, Lab};

use super::certificate::Certificate;
use super::{Contender, Ports, launch};
use crate::paths::{root, target};
use crate::run::{cargo, pass};

/// Builds them, and starts them.
///
/// # Errors
/// One does not build or start.
pub(super) fn start<'l>(lab: &'l Lab, certificate: &Certificate) -> Result<[Contender<'l>; 3]> {
    let programs = build()?;
    let hyper = |runtimes: &str, plain: u16, secured: u16| {
        let mut command = Command::new(programs.join("hyper-proxy"));
        command.args([
            runtimes,
            &plain.to_string(),
            &Addresses::backend_socket(0).to_string(),
            &secured.to_string(),
        ]);
        command.arg(&certificate.chain).arg(&certificate.key).arg(Addresses::backend_socket(1).to_string());
        (Ports { plain, secured: Some(secured) }, command)
    };
    let (shared, per_core) = (hyper("shared", 8084, 8447), hyper("per-core", 8086, 8448));
    let mut pingora = Command::new(programs.join("pingora-proxy"));
    pingora.arg("8085").arg(Addresses::backend_socket(0).to_string());
    Ok([
        launch(lab, "hyper", version("hyper")?, shared.0, shared.1)?,
        launch(lab, "hyper per core", version("hyper")?, per_core.0, per_core.1)?,
        launch(lab, "Pingora", version("pingora-proxy")?, Ports { plain: 8085, secured: None }, pingora)?,
    ])
}

/// The folder of the programs.
fn build() -> Result<PathBuf> {
    let folder = target().join("peers");
    let manifest = "xtask/peers/Cargo.toml";
    let mut command = cargo(&["build", "-q", "--release", "--locked", "--manifest-path", manifest]);
    command.arg("--target-dir").arg(&folder);
    pass(command)?;
    Ok(folder.join("release"))
}

/// The version in the lock file.
fn version(package: &str) -> Result<String> {
    let lock = std::fs::read_to_string(root().join("xtask/peers/Cargo.lock"))?;
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\"")).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(format!("{package}/{}", version.with_context(|| format!("no {package} in xtask/peers/Cargo.lock"))?))
}
