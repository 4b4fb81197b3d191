//! `./x kernels`: Debian's kernels in virtual machines. In each `crates/rauta/tests/kernel/each_kernel.rs` sends requests through an
//! agent; what the kernel did is compared with what is known of its series.

mod cpio;
mod guest;
mod machine;
mod newest;
mod pins;
mod store;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::paths;
use store::Kernel;

/// Options of `./x kernels`.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these series: `6.1 6.12` [default: all]
    #[arg(value_name = "VERSION")]
    versions: Vec<String>,
    /// The newest kernel that Debian has of each series, instead of the pinned one; says what to pin.
    #[arg(long)]
    newest: bool,
}

/// Kernels with the same features.
struct Series {
    name: &'static str,
    /// What the cases must have printed: who served, and how the programs were attached.
    serves: &'static [&'static str],
}

/// The hand-off came with 6.9, tcx with 6.6.
const SERIES: &[Series] = &[
    Series { name: "5.10", serves: BY_USERSPACE },
    Series { name: "6.1", serves: BY_USERSPACE },
    Series { name: "6.12", serves: BY_KERNEL },
    Series { name: "7.2", serves: BY_KERNEL },
];
const BY_USERSPACE: &[&str] = &["userspace, clsact"];
const BY_KERNEL: &[&str] = &["kernel, tcx", "kernel, clsact", "kernel, xdp"];

/// So many are booted at a time.
const AT_ONCE: usize = 2;

/// The case's word for it.
const SERVED_BY: &str = "served by: ";

/// Runs the cases on each kernel.
///
/// # Errors
/// A kernel cannot be had or booted, a case fails, or a kernel serves otherwise than its series should.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are Debian's for amd64, and so must be the programs that they run"
    );
    let mirror = std::env::var("RAUTA_DEBIAN_MIRROR")
        .context("RAUTA_DEBIAN_MIRROR is not set: `./x kernels` sets it")?;
    let chosen = choose(&options.versions)?;
    let kernels: Vec<_> = chosen
        .iter()
        .map(|series| store::kernel(series.name, &mirror, options.newest))
        .collect::<Result<_>>()?;
    let common = guest::common()?;
    let logs = paths::target().join("kernels");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let lock = File::create(logs.join("lock"))?;
    lock.lock().context("cannot lock the folder of the logs")?;
    let all: Vec<(&Series, &Kernel)> = chosen.iter().copied().zip(&kernels).collect();
    let mut failures = Vec::new();
    for some in all.chunks(AT_ONCE) {
        // Each takes one processor.
        let outcomes: Vec<Result<()>> = thread::scope(|scope| {
            let (common, logs) = (&common, &logs);
            let boot = |(series, kernel)| scope.spawn(move || try_kernel(series, kernel, common, logs));
            let threads: Vec<_> = some.iter().copied().map(boot).collect();
            let join =
                |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(join).collect()
        });
        for ((series, _), outcome) in some.iter().zip(outcomes) {
            failures.extend(outcome.err().map(|error| format!("Linux {}: {error:#}", series.name)));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

/// Boots a kernel, judges what it did, and prints what the cases said.
fn try_kernel(series: &Series, kernel: &Kernel, common: &[u8], logs: &Path) -> Result<()> {
    let (start, folder) = (Instant::now(), logs.join(series.name));
    store::new_folder(&folder)?;
    let root = folder.join("root.cpio");
    fs::write(&root, [common, &guest::modules(&kernel.modules)?].concat())?;
    let log = machine::boot(&kernel.image, &root, &folder)?;
    fs::remove_file(&root)?;
    let path = logs.join(format!("{}.log", series.name));
    fs::write(&path, &log).with_context(|| format!("cannot write {}", path.display()))?;
    let judged = machine::said(&log).and_then(|said| judge(series, said).map(|()| cases(said)));
    // In one piece: another one may print, too.
    println!(
        "kernels: Linux {} ({}), {} s, log {}\n{}\n",
        series.name,
        kernel.release(),
        start.elapsed().as_secs(),
        path.display(),
        judged.as_ref().map_or(log.as_str(), |cases| cases)
    );
    judged.map(drop)
}

fn choose(versions: &[String]) -> Result<Vec<&'static Series>> {
    if versions.is_empty() {
        return Ok(SERIES.iter().collect());
    }
    let known = |version: &String| SERIES.iter().find(|series| series.name == version);
    versions
        .iter()
        .map(|version| match known(version) {
            Some(series) => Ok(series),
            None => {
                let names: Vec<&str> = SERIES.iter().map(|series| series.name).collect();
                bail!("{version} is none of the kernels known here: {}", names.join(", "))
            }
        })
        .collect()
}

/// Whether the cases say what must be said of this series: no more, no less.
fn judge(series: &Series, said: &str) -> Result<()> {
    let found: BTreeSet<&str> =
        said.lines().filter_map(|line| Some(line.split_once(SERVED_BY)?.1.trim())).collect();
    let wanted: BTreeSet<&str> = series.serves.iter().copied().collect();
    ensure!(found == wanted, "requests are served by {found:?}, and should be by {wanted:?}");
    Ok(())
}

/// The part of what the guest said that is the cases'.
fn cases(said: &str) -> &str {
    said.find("\nrunning ").map_or(said, |at| &said[at..]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> &'static Series {
        choose(&[name.to_owned()]).unwrap()[0]
    }

    #[test]
    fn a_kernel_must_serve_as_its_series_does() {
        let all = "running 4 tests\nserved by: kernel, tcx\nserved by: kernel, tcx\nserved by: kernel, clsact\nserved by: kernel, xdp\n";
        judge(series("6.12"), all).unwrap();
        let error = judge(series("6.1"), all).unwrap_err().to_string();
        assert!(error.contains("userspace, clsact") && error.contains("kernel, tcx"), "{error}");
        // No kernel programs, one hook alone, nothing at all.
        for said in ["served by: userspace, tcx\n", "served by: kernel, tcx\n", "0 passed"] {
            assert!(judge(series("7.2"), said).is_err(), "{said}");
        }
        judge(series("5.10"), "served by: userspace, clsact\nserved by: userspace, clsact\n").unwrap();
    }

    #[test]
    fn series_are_named_or_all() {
        let names = |versions: &[&str]| {
            let versions: Vec<String> = versions.iter().map(|&version| version.to_owned()).collect();
            choose(&versions).map(|all| all.iter().map(|series| series.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["7.2", "6.1"]).unwrap(), ["7.2", "6.1"]);
        assert_eq!(names(&[]).unwrap().len(), SERIES.len());
        assert!(names(&["6.10"]).unwrap_err().to_string().contains("5.10, 6.1, 6.12, 7.2"));
    }

    #[test]
    fn the_cases_are_shown_without_the_doctor() {
        assert_eq!(cases(": 6.1\nAREA ITEM\n\nrunning 3 tests\nok\n"), "running 3 tests\nok");
    }
}
