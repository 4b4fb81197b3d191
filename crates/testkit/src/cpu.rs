use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time spent, as the kernel accounts it (ticks of 10 ms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In programs.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// Both together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was spent since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// What process `root` and those below it have spent (`/proc/PID/stat`, fields 14 and 15, proc(5)).
///
/// # Errors
/// `/proc` cannot be read.
pub fn tree_cpu(root: u32) -> Result<CpuTime> {
    let mut times: HashMap<u32, (u32, u64, u64)> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes come and go while we look.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parsed) = parse_stat(&stat) {
            times.insert(pid, parsed);
        }
    }
    let is_below = |mut pid: u32| loop {
        if pid == root {
            return true;
        }
        match times.get(&pid) {
            Some(&(parent, ..)) if parent != 0 => pid = parent,
            _ => return false,
        }
    };
    let (mut user, mut system) = (0, 0);
    for (&pid, &(_, user_ticks, system_ticks)) in &times {
        if is_below(pid) {
            user += user_ticks;
            system += system_ticks;
        }
    }
    Ok(CpuTime { user: ticks(user), system: ticks(system) })
}

/// What the whole machine has spent outside idling and waiting for disks (`/proc/stat`).
///
/// # Errors
/// `/proc/stat` cannot be read.
pub fn machine_cpu() -> Result<CpuTime> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("empty /proc/stat")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(fields.len() >= 7, "unexpected /proc/stat: {line}");
    Ok(CpuTime { user: ticks(fields[0] + fields[1]), system: ticks(fields[2] + fields[5] + fields[6]) })
}

/// Parent, user ticks and system ticks from `/proc/PID/stat`; the command in brackets may hold anything.
fn parse_stat(stat: &str) -> Option<(u32, u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?))
}

fn ticks(count: u64) -> Duration {
    // USER_HZ is 100 on every architecture we run on.
    Duration::from_millis(count * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_whatever_the_program_is_called() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 1 0 100 1 1";
        assert_eq!(parse_stat(stat), Some((7, 150, 25)));
    }

    #[test]
    fn own_work_is_seen() {
        let before = tree_cpu(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while tree_cpu(std::process::id()).unwrap().since(before).total().is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(machine_cpu().unwrap().total() >= before.total());
    }
}
