//! Load by wrk, read through a script of ours instead of its table.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use testkit::{Netns, exec};

/// What one run of wrk saw.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) requests: u64,
    /// Wall time in microseconds.
    pub(super) duration_us: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Connect, read, write and status (not 2xx or 3xx) errors and timeouts.
    pub(super) errors: u64,
    pub(super) bytes: u64,
}

impl Measured {
    /// Requests per second.
    pub(super) fn rate(&self) -> f64 {
        precise(self.requests) / (precise(self.duration_us) / 1e6)
    }
}

/// A load: what is asked for and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) path: &'static str,
    /// Size of the body, in bytes.
    pub(super) body: u64,
    /// Each request on a connection of its own.
    pub(super) close: bool,
}

const DONE: &str = r#"done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\nJSON {"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"errors":%d,"bytes":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout, summary.bytes))
end
"#;

/// Runs wrk with 2 threads and 32 connections from `netns` for `time`.
///
/// # Errors
/// wrk is missing, or says something unexpected.
pub(super) fn run(
    netns: &Netns,
    folder: &Path,
    address: SocketAddr,
    load: Load,
    time: Duration,
) -> Result<Measured> {
    let script = folder.join("done.lua");
    fs::write(&script, DONE)?;
    let mut command = Command::new("wrk");
    command
        .args(["-t2", "-c32", "--timeout", "5s", "-d"])
        .arg(format!("{}s", time.as_secs().max(1)))
        .arg("-s")
        .arg(&script)
        .args(["-H", "Host: bench.example"]);
    if load.close {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("http://{address}{}", load.path));
    let output = exec(Some(netns), command, time + Duration::from_secs(20))
        .context("the load comes from wrk: install the Debian package wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("JSON ")) {
        Some(json) => Ok(serde_json::from_str(json)?),
        None => bail!("wrk printed no result:\n{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Counts as floating point; those of a bench stay far below 2^52.
#[allow(clippy::cast_precision_loss, reason = "counts of a bench are below 2^52")]
pub(super) fn precise(count: u64) -> f64 {
    count as f64
}
