//! Where RAUTA's time goes: perf over its process while small requests come in.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::{Offloads, exec};

use super::contenders::{self, Stage};
use super::load::{self, Load};

/// How many symbols are shown.
const SYMBOLS: usize = 30;

/// Records five seconds and prints the top symbols.
pub(super) fn run(rauta: &Path, load: Load) -> Result<()> {
    let stage = Stage::new(Offloads::ON, &[load])?;
    let lab = &stage.lab;
    let rauta = contenders::start_rauta(lab, rauta, contenders::Tier::Userspace)?;
    let address = rauta.takes(load).context("RAUTA does not take this load")?;
    let pid = rauta.process.as_ref().context("RAUTA has no process")?.pid().to_string();
    let data = lab.folder().join("perf.data");
    let mut record = Command::new("perf");
    record.args(["record", "-q", "-F", "997", "-p", &pid, "-o"]).arg(&data).args(["--", "sleep", "5"]);
    let seconds = Duration::from_secs(7);
    let (recorded, seen) = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(lab, address, load, seconds));
        // perf starts while the load does: its first moments are part of it.
        let recorded = exec(None, record, Duration::from_secs(30));
        (recorded, load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let recorded = recorded.context("the profile comes from perf: install the Debian package linux-perf")?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr).trim());
    let seen = seen?;
    for (title, keys) in [("by part", "dso"), ("by function", "symbol,dso")] {
        let mut report = Command::new("perf");
        report
            .args(["report", "--stdio", "-q", "--no-children", "--percent-limit", "0.5", "-s", keys, "-i"])
            .arg(&data);
        let output = exec(None, report, Duration::from_secs(60))?;
        ensure!(output.status.success(), "perf report: {}", String::from_utf8_lossy(&output.stderr).trim());
        println!("\n{title}");
        for line in
            String::from_utf8_lossy(&output.stdout).lines().filter(|l| !l.trim().is_empty()).take(SYMBOLS)
        {
            println!("  {}", line.trim_end());
        }
    }
    println!("\n{:.0} requests a second while measured (997 samples a second)", seen.rate());
    Ok(())
}
