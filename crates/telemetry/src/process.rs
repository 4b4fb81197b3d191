//! What `/proc/self` says about the agent. A value that cannot be read is left out.

use std::fs;

/// Ticks per second of the times in `/proc`: fixed by the kernel's ABI on every architecture we build for.
const USER_HZ: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessStats {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) start_unix_seconds: Option<f64>,
}

/// The agent's resident memory in bytes; none if `/proc` cannot be read.
pub fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

pub(crate) fn read() -> ProcessStats {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = field(&kernel, "btime").and_then(|text| text.parse::<f64>().ok());
    ProcessStats {
        // proc_pid_stat(5): fields 14 (utime), 15 (stime) and 22 (starttime), counted from 1.
        cpu_seconds: stat_field(&stat, 14)
            .zip(stat_field(&stat, 15))
            .map(|(user, sys)| (user + sys) / USER_HZ),
        resident_bytes: resident(&status),
        threads: field(&status, "Threads:").and_then(|text| text.parse().ok()),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        max_fds: field(&limits, "Max open files").and_then(|text| text.parse().ok()),
        start_unix_seconds: boot.zip(stat_field(&stat, 22)).map(|(boot, ticks)| boot + ticks / USER_HZ),
    }
}

fn resident(status: &str) -> Option<u64> {
    field(status, "VmRSS:")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Field `number` of `/proc/PID/stat`. The command name (field 2) may hold spaces and brackets: count after the last.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The first word after `name` on the line that begins with it.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0 4200 1 2";
        assert_eq!(stat_field(stat, 14), Some(150.0));
        assert_eq!(stat_field(stat, 15), Some(50.0));
        assert_eq!(stat_field(stat, 22), Some(4200.0));
    }

    #[test]
    fn this_process_can_be_read() {
        let stats = read();
        assert!(stats.resident_bytes.unwrap() > 100_000);
        assert!(stats.open_fds.unwrap() >= 3);
        assert!(stats.threads.unwrap() >= 1);
        assert!(stats.start_unix_seconds.unwrap() > 1e9);
        assert!(stats.cpu_seconds.is_some() && stats.max_fds.is_some());
    }
}
