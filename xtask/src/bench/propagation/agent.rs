//! The agent that is measured, and what it says of each change.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use testkit::{Gateway, GatewayBuilder, Lab};

/// A change may take so long.
const LIMIT: Duration = Duration::from_secs(20);

/// Where the time of one change went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Change {
    /// From the end of the write to the maps.
    pub(super) total: f64,
    /// Until events ceased.
    pub(super) waited: f64,
    /// Files read, objects told apart.
    pub(super) read: f64,
    /// Objects translated.
    pub(super) translated: f64,
    /// Userspace's state built and swapped.
    pub(super) swapped: f64,
    /// Ways to endpoints looked up.
    pub(super) facts: f64,
    /// The kernel's tables compiled.
    pub(super) compiled: f64,
    /// Compared with what the maps hold.
    pub(super) compared: f64,
    /// Written.
    pub(super) written: f64,
    /// Writes.
    pub(super) writes: f64,
}

/// A running agent that logs what it does.
pub(super) struct Agent {
    gateway: Gateway,
    log: File,
    /// What was read of the log behind the last whole line.
    rest: String,
    has_kernel: bool,
}

impl Agent {
    /// Starts it, and waits until what it found is in force.
    pub(super) fn start(lab: &Lab, program: &Path, hook: &str, manifests: &Path) -> Result<Self> {
        let arguments = ["--threads", "2", "--log-format", "json", "--log-level", "info,rauta=debug"];
        let builder = GatewayBuilder::new(program, manifests).arguments(&arguments).hook(hook);
        let mut gateway = builder.start(lab)?;
        let log = File::open(gateway.process().log_path())?;
        let mut agent = Self { gateway, log, rest: String::new(), has_kernel: hook != "off" };
        // Devices and names of the first snapshot come into the tables a moment later, and memory goes back.
        std::thread::sleep(Duration::from_secs(7));
        agent.log.seek(SeekFrom::End(0))?;
        Ok(agent)
    }

    /// Waits until the change that was written at that time is in force.
    pub(super) fn wait_for_change(&mut self, written: SystemTime) -> Result<Change> {
        let mut change = Change::default();
        // When the maps had it.
        let mut in_maps = None;
        loop {
            let line = self.line()?;
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            let ms = |name: &str| line[name].as_f64().unwrap_or(f64::NAN) / 1e3;
            match line["message"].as_str() {
                Some("kernel tables are up to date") => {
                    in_maps = Some(line["timestamp"].clone());
                    change.facts = ms("facts_us");
                    change.compiled = ms("compiled_us");
                    change.compared = ms("compared_us");
                    change.written = ms("written_us");
                    change.writes = line["writes"].as_f64().unwrap_or(f64::NAN);
                }
                Some("a change is in force") => {
                    let is_missing = self.has_kernel && in_maps.is_none();
                    ensure!(
                        !is_missing,
                        "the kernel did not get the change; the log:\n{}",
                        self.gateway.log()
                    );
                    let done = in_maps.unwrap_or_else(|| line["timestamp"].clone());
                    change.waited = ms("waited_us");
                    change.read = ms("read_us");
                    change.translated = ms("translated_us");
                    change.swapped = ms("swapped_us");
                    let at = done.as_str().and_then(time_of_day).context("a log line has no time")?;
                    let begun = written.duration_since(UNIX_EPOCH)?.as_secs_f64() % DAY;
                    change.total = (at - begun).rem_euclid(DAY) * 1e3;
                    return Ok(change);
                }
                _ => {}
            }
        }
    }

    /// Resident memory.
    pub(super) fn memory_kib(&mut self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.process().pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }

    /// The next line of the log.
    fn line(&mut self) -> Result<String> {
        let deadline = std::time::Instant::now() + LIMIT;
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let line = line.to_owned();
                self.rest = rest.to_owned();
                return Ok(line);
            }
            let read = self.log.read_to_string(&mut self.rest)?;
            ensure!(
                std::time::Instant::now() < deadline,
                "a change is not in force; the log:\n{}",
                self.gateway.log()
            );
            if read == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// The seconds since midnight of a time such as `2026-11-21T08:30:00.123456Z`.
fn time_of_day(text: &str) -> Option<f64> {
    let mut parts =
        text.strip_suffix('Z')?.split_once('T')?.1.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_log_lines_are_read_to_the_microsecond() {
        let time = time_of_day("2026-11-21T08:30:01.250001Z").unwrap();
        assert!((time - 30_601.250_001).abs() < 1e-7, "{time}");
        assert_eq!(time_of_day("now"), None);
    }
}
