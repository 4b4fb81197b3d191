//! What the kernel tier takes: entries of its tables, time of its programs.

use std::{collections::BTreeMap, fs, os::fd::AsFd, time::Duration};

use crate::{
    Datapath, MapError,
    bpf::{fdinfo, field},
    maps::RawMap,
};

/// How full the tables of connections are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InUse {
    /// Client connections.
    pub flows: u64,
    /// Room for client connections.
    pub flows_max: u32,
    /// Legs to endpoints, those included that were given up and are still answered for.
    pub legs: u64,
    /// Room for legs.
    pub legs_max: u32,
    /// Legs without a client, that wait for the next.
    pub waiting: u64,
}

/// How long the programs ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunTime {
    /// Whether the kernel measures now (`kernel.bpf_stats_enabled`).
    pub is_measured: bool,
    /// Time in the programs while it was measured.
    pub total: Duration,
    /// Packets meanwhile, ours or not: each is one run.
    pub packets: u64,
}

/// What a map takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapUsage {
    /// Its name.
    pub map: String,
    /// How many entries it has room for.
    pub entries: u32,
    /// The kernel's own figure of its memory, in bytes.
    pub bytes: u64,
}

impl MapUsage {
    /// Whether it is one of those that hold connections: their number is a setting, and most of the memory theirs.
    pub fn is_of_connections(&self) -> bool {
        matches!(self.map.as_str(), "FLOWS" | "LEGS" | "CLOSED")
    }
}

impl Datapath {
    /// What each map takes.
    pub fn memory(&self) -> Vec<MapUsage> {
        let usage = |map: &RawMap| MapUsage {
            map: map.shape().name.clone(),
            entries: map.capacity(),
            bytes: map.bytes().unwrap_or(0),
        };
        self.maps.all().map(usage).collect()
    }

    /// How many entries each table of routes has room for, by name.
    pub fn table_sizes(&self) -> BTreeMap<&'static str, u32> {
        self.maps.table_sizes()
    }

    /// How full the tables of connections are. Reads every entry.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the maps.
    pub fn in_use(&self) -> Result<InUse, MapError> {
        self.maps.in_use()
    }

    /// How long the programs ran since they were loaded; `None` if the kernel does not say.
    ///
    /// From fdinfo (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c, Linux 5.1). What a program goes on to by a tail call counts as
    /// its own time.
    pub fn run_time(&self) -> Option<RunTime> {
        let info = fdinfo(self.entry_program()?.fd().ok()?.as_fd()).ok()?;
        let switch = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap_or_default();
        run_time(&info, switch.trim() == "1")
    }
}

fn run_time(info: &str, is_measured: bool) -> Option<RunTime> {
    let total = Duration::from_nanos(field(info, "run_time_ns")?.parse().ok()?);
    Some(RunTime { is_measured, total, packets: field(info, "run_cnt")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_times_are_read_from_what_the_kernel_shows() {
        let info = "prog_type:\t3\nprog_jited:\t1\nrun_time_ns:\t5000\nrun_cnt:\t10\nrecursion_misses:\t0\n";
        let expected = RunTime { is_measured: true, total: Duration::from_micros(5), packets: 10 };
        assert_eq!(run_time(info, true), Some(expected));
        assert_eq!(run_time("prog_type:\t3\n", true), None, "before Linux 5.1");
    }
}
