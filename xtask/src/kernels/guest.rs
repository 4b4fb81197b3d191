//! What a guest has for a first root: the cases, the programs that they run, and a script that does it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cpio::cpio;
use super::machine::{ENDED, READY};
use crate::run::cargo;
use crate::tree::{Entry, Tree, put, put_libraries, read};

/// What the cases run, beside `rauta`.
const PROGRAMS: &[&str] = &["ip", "ethtool", "nginx"];
/// The test target, and the module in it whose cases run.
const TARGET: &str = "kernel";
const CASES: &str = "each_kernel::";
const TESTS: &str = "cases";
const MODULES: &str = "modules";

/// The archive of what is the same in all guests.
///
/// # Errors
/// It does not build, or a program is not there.
pub(super) fn common() -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for folder in ["dev", "proc", "run", "sys", "etc", MODULES, "var/log/nginx", "var/lib/nginx"] {
        put(&mut tree, folder, Entry::Folder(0o755));
    }
    put(&mut tree, "tmp", Entry::Folder(0o1777));
    put(&mut tree, "etc/passwd", Entry::File(0o644, b"root:x:0:0:root:/:/bin/false\n".to_vec()));
    put(&mut tree, "etc/group", Entry::File(0o644, b"root:x:0:\n".to_vec()));
    let built = Built::build()?;
    for (from, to) in [(&built.tests, Path::new(TESTS)), (&built.rauta, &built.rauta)] {
        put_program(&mut tree, &stripped(from)?, from, to)?;
    }
    for name in PROGRAMS.iter().chain(&["busybox"]) {
        let program = find(name)?;
        put_program(&mut tree, &read(&program)?, &program, &Path::new("bin").join(name))?;
    }
    put(&mut tree, "init", Entry::File(0o755, script(&built.rauta).into_bytes()));
    cpio(&tree)
}

/// The archive of a kernel's modules.
///
/// # Errors
/// One cannot be read.
pub(super) fn modules(files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for (number, file) in (0_u8..).zip(files) {
        put(&mut tree, &format!("{MODULES}/{number:02}.ko"), Entry::File(0o644, unpacked(file)?));
    }
    cpio(&tree)
}

fn script(rauta: &Path) -> String {
    format!(
        "#!/bin/busybox sh
export PATH=/bin HOME=/ NO_COLOR=1
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
busybox mount -t tmpfs tmpfs /run
for module in /{MODULES}/*; do busybox insmod $module; done
busybox echo \"{READY}: $(busybox uname -r)\"
{rauta} doctor
/{TESTS} {CASES} --nocapture --test-threads 1
busybox echo \"{ENDED} $?\"
busybox poweroff -f
",
        rauta = rauta.display()
    )
}

/// What `./x test` builds, too.
struct Built {
    tests: PathBuf,
    /// The program that the cases run, by this path.
    rauta: PathBuf,
}

impl Built {
    fn build() -> Result<Self> {
        let mut command = cargo(&["test", "--locked", "--workspace", "--no-run", "--test", TARGET]);
        command.arg("--message-format=json-render-diagnostics").env("RAUTA_EBPF", "required");
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "the cases do not build ({})", output.status);
        let messages: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context("cargo's messages")?;
        let built = |kind: &str, name: &str| {
            let found = messages.iter().find_map(|message| executable(message, kind, name));
            found.with_context(|| format!("cargo built no {kind} {name}"))
        };
        Ok(Self { tests: built("test", TARGET)?, rauta: built("bin", "rauta")? })
    }
}

/// The program of a message `compiler-artifact` (Cargo book, "External tools"), if it is this target's.
fn executable(message: &Value, kind: &str, name: &str) -> Option<PathBuf> {
    let target = &message["target"];
    let is_kind = target["kind"].as_array()?.iter().any(|of| of == kind);
    (is_kind && target["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// Puts `content`, which is `program`'s, at `to`, and its libraries beside.
fn put_program(tree: &mut Tree, content: &[u8], program: &Path, to: &Path) -> Result<()> {
    let to = to.to_string_lossy();
    put(tree, to.trim_start_matches('/'), Entry::File(0o755, content.to_vec()));
    put_libraries(tree, program)
}

/// A program of ours without what debuggers need: most of its size.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("stripped");
    let output = Command::new("strip").arg("-o").arg(&to).arg(program).output();
    let output = output.context("cannot run strip (Debian: binutils)")?;
    ensure!(output.status.success(), "strip: {}", String::from_utf8_lossy(&output.stderr).trim());
    read(&to)
}

/// Where the path has `name`.
fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(is_program);
    found.with_context(|| format!("there is no {name}: `./x kernels` installs it"))
}

/// A module as `insmod` takes it.
fn unpacked(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|kind| kind != "xz") {
        return read(file);
    }
    let output = Command::new("busybox").arg("xzcat").arg(file).output().context("cannot run busybox")?;
    ensure!(
        output.status.success(),
        "xzcat {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_found_among_cargo_s_messages() {
        let message = |kind: &str, name: &str, executable: Value| serde_json::json!({"reason": "compiler-artifact", "target": {"kind": [kind], "name": name}, "executable": executable});
        let found = |message: &Value| executable(message, "bin", "rauta");
        assert_eq!(found(&message("bin", "rauta", "/t/rauta".into())), Some("/t/rauta".into()));
        assert_eq!(found(&message("lib", "rauta", "/t/rauta".into())), None);
        assert_eq!(found(&message("bin", "other", "/t/other".into())), None);
        assert_eq!(found(&message("bin", "rauta", Value::Null)), None);
        assert_eq!(found(&serde_json::json!({"reason": "build-finished", "success": true})), None);
    }
}
