//! Builds the programs of the cluster lab with Go, once for each machine and version.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::programs::{CONFORMANCE, Program, cache, folder, source};

/// What the API server says of itself; without it, v0.0.0.
const KUBERNETES: &str = "v1.36.4";

/// The module whose `config/crd` holds the definitions.
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api";

/// Builds those of `programs` that are not there yet, and says so. Cold it takes minutes; two runs at once build once.
///
/// # Errors
/// Go is missing or too old, no module proxy answers, a program does not build.
pub fn build(programs: &[Program]) -> Result<()> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    for &program in programs {
        if program.place()?.exists() {
            continue;
        }
        let _lock = lock(&cache.join("lock"))?;
        if !program.place()?.exists() {
            build_one(program)?;
        }
    }
    Ok(())
}

/// The folder with the definitions of the Gateway API, experimental channel, as the pinned module has them.
///
/// # Errors
/// As [`build`].
pub(super) fn gateway_api_crds() -> Result<PathBuf> {
    let to = folder(CONFORMANCE)?.join("crds");
    if to.exists() {
        return Ok(to);
    }
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Not the one of the programs, which is held for minutes.
    let _lock = lock(&cache.join("crds.lock"))?;
    if to.exists() {
        return Ok(to);
    }
    let output = go(CONFORMANCE)
        .args(["mod", "download", "-json", GATEWAY_API])
        .output()
        .context("cannot run go: ./x setup cluster")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(module) = answer["Dir"].as_str() else {
        bail!(
            "cannot fetch {GATEWAY_API}: {}{}",
            answer["Error"].as_str().unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    };
    let new = to.with_extension("new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(&new)?;
    let from = Path::new(module).join("config/crd/experimental");
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        // The list of the others, for kustomize.
        if name != "kustomization.yaml" {
            fs::write(new.join(name), fs::read(&path)?)?;
        }
    }
    // Last: its presence says that all is there.
    fs::rename(&new, &to)?;
    Ok(to)
}

fn build_one(program: Program) -> Result<()> {
    let place = program.place()?;
    let (name, new) = (program.name(), place.with_extension("new"));
    eprintln!("cluster: building {name} into {} (cold: minutes)", place.display());
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut command = go(program.module());
    match program {
        Program::Conformance => command.args(["test", "-c"]),
        _ => command.arg("build"),
    };
    let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}");
    command.args(["-trimpath", "-buildvcs=false", "-ldflags", &flags, "-o"]).arg(&new).arg(program.package());
    let status = command
        .status()
        .context("cannot run go, which builds the cluster's programs: ./x setup cluster installs it")?;
    ensure!(
        status.success(),
        "{name} did not build ({status}): Go 1.26 or newer and a Go module proxy are needed (go env GOPROXY)"
    );
    fs::rename(&new, &place).with_context(|| format!("cannot write {}", place.display()))
}

/// Go in the folder of `module`, behind everybody else: it takes minutes of all cores.
fn go(module: &str) -> Command {
    let mut command = Command::new("nice");
    command
        .args(["-n", "10"])
        .arg(std::env::var_os("RAUTA_GO").unwrap_or_else(|| "go".into()))
        .current_dir(source(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly");
    command
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
