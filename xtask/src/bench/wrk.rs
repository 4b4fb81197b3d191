//! Load by wrk, read through a script of ours instead of its table.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::{Lab, exec};

use super::load::{Load, Measured};

const DONE: &str = r#"done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\nJSON {"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"errors":%d,"bytes":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout, summary.bytes))
end
"#;

/// Runs wrk with 2 threads (one for a single connection) from the lab's client for `time`.
///
/// # Errors
/// wrk is missing, or says something unexpected.
pub(super) fn run(lab: &Lab, address: SocketAddr, load: Load, time: Duration) -> Result<Measured> {
    let script = lab.folder().join("done.lua");
    fs::write(&script, DONE)?;
    let mut command = Command::new("wrk");
    command
        .arg(format!("-t{}", load.connections.min(2)))
        .arg(format!("-c{}", load.connections))
        .args(["--timeout", "5s", "-d"])
        .arg(format!("{}s", time.as_secs().max(1)))
        .arg("-s")
        .arg(&script)
        .args(["-H", "Host: bench.example"]);
    if load.close {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!(
        "{}://{address}{}",
        if load.protocol.is_secured() { "https" } else { "http" },
        load.path
    ));
    let output = exec(Some(lab.client()), command, time + Duration::from_secs(20))
        .context("the load comes from wrk: install the Debian package wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("JSON ")) {
        Some(json) => Ok(serde_json::from_str(json)?),
        None => bail!("wrk printed no result:\n{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}
