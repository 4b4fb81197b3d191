//! Builds the kernel programs (crates/ebpf) and leaves the object for `src/object.rs` to embed.
//!
//! Where the toolchain for them is missing, the object is empty and the agent says so when it starts;
//! `RAUTA_EBPF=required` makes that an error instead.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const LINKER_VERSION: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";

fn main() -> ExitCode {
    let crates = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    for input in [
        "ebpf/src",
        "ebpf/Cargo.toml",
        "ebpf/Cargo.lock",
        "ebpf/.cargo/config.toml",
        "wire/src",
        "wire/Cargo.toml",
        "dataplane/src",
        "dataplane/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={}", crates.join(input).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let object = out.join("rauta.o");
    match build(&crates.join("ebpf"), &out).and_then(|built| copy_if_changed(&built, &object)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) if env::var("RAUTA_EBPF").is_ok_and(|value| value == "required") => {
            watch_for_the_toolchain();
            println!("cargo::error=kernel programs: {reason}; ./x setup installs what they need");
            ExitCode::FAILURE
        }
        Err(reason) => {
            println!(
                "cargo::warning=built without the kernel programs: {reason}; ./x setup installs what they need"
            );
            watch_for_the_toolchain();
            match fs::write(&object, []) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Runs cargo on crates/ebpf; returns the object's path.
fn build(folder: &Path, out: &Path) -> Result<PathBuf, String> {
    let linker = linker().ok_or_else(|| format!("no bpf-linker {LINKER_VERSION}"))?;
    println!("cargo::rerun-if-changed={}", linker.display());
    if !has_core_source() {
        return Err("the compiler's rust-src component is missing".into());
    }
    let target_dir = out.join("ebpf");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(folder)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    cargo.arg("--config").arg(format!("target.{TARGET}.linker={:?}", linker.display().to_string()));
    // `-Z build-std` (in .cargo/config.toml) on the stable compiler.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    // What cargo set for the host build must not reach this one.
    for variable in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        for line in log.lines() {
            println!("cargo::warning=ebpf: {line}");
        }
        return Err("they do not compile (see the warnings above)".into());
    }
    Ok(target_dir.join(TARGET).join("release").join("rauta"))
}

/// Keeps the file's time when nothing changed.
fn copy_if_changed(from: &Path, to: &Path) -> Result<(), String> {
    let read =
        |path: &Path| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let new = read(from)?;
    if read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).map_err(|error| format!("cannot write {}: {error}", to.display()))
}

/// `RAUTA_BPF_LINKER`, else what `./x setup` installed for this compiler, else bpf-linker on the path.
fn linker() -> Option<PathBuf> {
    let named = env::var_os("RAUTA_BPF_LINKER").map(PathBuf::from);
    let installed = cache().and_then(|cache| Some(cache.join(linker_folder()?).join("bpf-linker")));
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("bpf-linker"))
        .collect::<Vec<_>>();
    named.into_iter().chain(installed).chain(on_path).find(|path| path.is_file())
}

/// Compiler, its LLVM and the linker are one pin: the folder's name holds the compiler's version and commit.
fn linker_folder() -> Option<String> {
    let version = rustc(&["-vV"])?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let commit = field("commit-hash:")?.get(..9)?.to_owned();
    Some(format!("bpf-linker-{LINKER_VERSION}-rustc-{}-{commit}", field("release:")?))
}

fn cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    base.map(|base| base.join("rauta"))
}

fn has_core_source() -> bool {
    rustc(&["--print", "sysroot"])
        .is_some_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn rustc(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// So that a later `./x setup` leads to a build with the programs: its folder, or the nearest above that exists.
fn watch_for_the_toolchain() {
    println!("cargo::rerun-if-env-changed=RAUTA_EBPF");
    println!("cargo::rerun-if-env-changed=RAUTA_BPF_LINKER");
    let watched =
        cache().and_then(|cache| cache.ancestors().find(|path| path.is_dir()).map(Path::to_path_buf));
    if let Some(folder) = watched {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}
