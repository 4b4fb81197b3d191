//! Facts about the machine, for whoever compares figures.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_mib: u64,
    /// Load average over a minute when the bench began.
    pub(super) load_before: String,
    pub(super) rustc: String,
    pub(super) commit: String,
    pub(super) date: String,
}

impl Machine {
    /// Looks around. What cannot be found out is left empty.
    pub(super) fn look() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
                .unwrap_or_default()
        };
        let memory = field(&file("/proc/meminfo"), "MemTotal");
        Self {
            kernel: file("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            processor: field(&file("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
            load_before: file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            rustc: said("rustc", &["--version"]),
            commit: said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            date: said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
        }
    }
}

/// The first line that `program` prints, on standard output or error; empty if it cannot be run.
pub(super) fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).current_dir(crate::paths::root()).output() else {
        return String::new();
    };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().find(|line| !line.is_empty()).unwrap_or_default().trim().to_owned()
}
