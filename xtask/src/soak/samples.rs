//! What the agent has at a moment, and whether it grew.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use testkit::Lab;

use crate::agent;

/// What the agent and its maps hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Resident memory of the agent, in KiB.
    rss_kib: u64,
    /// Its open file descriptors.
    descriptors: u64,
    /// Memory of the maps that it has open, in KiB.
    maps_kib: u64,
    flows: u64,
    legs: u64,
    kernel_requests: u64,
    userspace_requests: u64,
}

impl Sample {
    /// What the columns of a printed sample are.
    pub(super) const HEADER: &str = "agent's memory (KiB), its descriptors, memory of the maps (KiB), connections and legs in the kernel:";

    /// Looks at the agent of `lab`, whose process is `pid`.
    ///
    /// # Errors
    /// It has ended, or has no kernel programs.
    pub(super) fn take(lab: &Lab, rauta: &Path, pid: u32) -> Result<Self> {
        let status: Status = serde_json::from_str(&agent::ask(lab, rauta, &["status", "-o", "json"])?)
            .context("rauta status -o json")?;
        let tier =
            status.dataplane.tier.context("the kernel does not route: `./x doctor` says what is missing")?;
        let process = format!("/proc/{pid}");
        let memory = fs::read_to_string(format!("{process}/status")).context("the agent has ended")?;
        Ok(Self {
            rss_kib: number_behind(&memory, "VmRSS:").context("no VmRSS in /proc")?,
            descriptors: u64::try_from(fs::read_dir(format!("{process}/fd"))?.count())?,
            maps_kib: maps_bytes(&process)? / 1024,
            flows: tier.flows,
            legs: tier.legs,
            kernel_requests: tier.requests,
            userspace_requests: status.traffic.requests,
        })
    }

    /// The same, with the requests that `past` has counted: an agent counts from its start.
    pub(super) const fn behind(self, past: &Self) -> Self {
        Self {
            kernel_requests: self.kernel_requests + past.kernel_requests,
            userspace_requests: self.userspace_requests + past.userspace_requests,
            ..self
        }
    }

    /// Connections and legs in the kernel's tables.
    pub(super) fn connections_in_kernel(&self) -> u64 {
        self.flows + self.legs
    }

    /// The kernel's part of the requests since `earlier`, 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "counts of a soak are below 2^52")]
    pub(super) fn kernel_share_since(&self, earlier: &Self) -> f64 {
        let kernel = self.kernel_requests.saturating_sub(earlier.kernel_requests);
        let userspace = self.userspace_requests.saturating_sub(earlier.userspace_requests);
        kernel as f64 / (kernel + userspace).max(1) as f64
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss_kib, descriptors, maps_kib, flows, legs, .. } = self;
        write!(f, "{rss_kib:>8} {descriptors:>6} {maps_kib:>8} {flows:>6} {legs:>6}")
    }
}

/// Medians of an early and a late part of the soak, and what was left at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    early: Sample,
    late: Sample,
    before: Sample,
    after: Sample,
}

impl Verdict {
    /// The early part is the second quarter: caches and pools are filled by then. The late one is the last.
    pub(super) fn of(samples: &[Sample], before: &Sample, after: &Sample) -> Self {
        let quarter = samples.len() / 4;
        let early = samples.get(quarter..2 * quarter).unwrap_or_default();
        let late = samples.get(3 * quarter..).unwrap_or_default();
        Self { early: medians(early), late: medians(late), before: *before, after: *after }
    }

    /// # Errors
    /// Something grew; the error says what.
    pub(super) fn check(&self) -> Result<()> {
        let Self { early, late, before, after } = self;
        let grew = |what, from: u64, to: u64, allowed: u64| {
            ensure!(to <= from + allowed, "{what} grew from {from} to {to}, by more than {allowed}");
            Ok(())
        };
        grew("the agent's memory (KiB)", early.rss_kib, late.rss_kib, early.rss_kib / 50 + 1024)?;
        grew("its descriptors", early.descriptors, late.descriptors, 4)?;
        grew("the memory of the maps (KiB)", early.maps_kib, late.maps_kib, early.maps_kib / 100)?;
        grew("connections in the kernel", early.flows, late.flows, early.flows / 4 + 16)?;
        grew("legs", early.legs, late.legs, early.legs / 4 + 64)?;
        grew("what is left in the tables", 0, after.connections_in_kernel(), 0)?;
        // Userspace keeps a few idle connections to endpoints.
        grew("the descriptors left", before.descriptors, after.descriptors, 16)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "medians, second quarter {}\n        and last quarter {}", self.early, self.late)
    }
}

fn medians(samples: &[Sample]) -> Sample {
    let median = |of: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = samples.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    Sample {
        rss_kib: median(|sample| sample.rss_kib),
        descriptors: median(|sample| sample.descriptors),
        maps_kib: median(|sample| sample.maps_kib),
        flows: median(|sample| sample.flows),
        legs: median(|sample| sample.legs),
        ..Sample::default()
    }
}

/// What the kernel says that the maps behind the process' descriptors take (bpf_map_show_fdinfo of kernel/bpf/syscall.c).
fn maps_bytes(process: &str) -> Result<u64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("{process}/fdinfo"))?.flatten() {
        // Descriptors come and go while we look.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        if let (Some(id), Some(bytes)) = (number_behind(&text, "map_id:"), number_behind(&text, "memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[derive(Deserialize)]
struct Status {
    traffic: Traffic,
    dataplane: Dataplane,
}

#[derive(Deserialize)]
struct Traffic {
    requests: u64,
}

#[derive(Deserialize)]
struct Dataplane {
    tier: Option<Tier>,
}

#[derive(Deserialize)]
struct Tier {
    requests: u64,
    flows: u64,
    legs: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(rss_kib: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |step| Sample {
            rss_kib: rss_kib(step),
            descriptors: descriptors(step),
            maps_kib: 80_000,
            ..Sample::default()
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn what_grows_is_found_and_what_swings_is_not() {
        let before = Sample { rss_kib: 20_000, descriptors: 100, maps_kib: 80_000, ..Sample::default() };
        let check = |samples: &[Sample], after| Verdict::of(samples, &before, after).check();
        let swinging = soak(|step| 30_000 + step % 7 * 400, |step| 120 + step % 3);
        check(&swinging, &before).unwrap();
        // Warm-up is no growth.
        check(&soak(|step| 20_000 + step.min(20) * 1000, |_| 120), &before).unwrap();

        let leak = check(&soak(|step| 30_000 + step * 100, |_| 120), &before).unwrap_err().to_string();
        assert!(leak.contains("memory (KiB) grew from 3"), "{leak}");
        let leak = check(&soak(|_| 30_000, |step| 120 + step), &before).unwrap_err().to_string();
        assert!(leak.contains("descriptors"), "{leak}");
        let left = Sample { legs: 1, ..before };
        let leak = check(&swinging, &left).unwrap_err().to_string();
        assert!(leak.contains("left in the tables"), "{leak}");
    }

    #[test]
    fn numbers_are_read_from_proc() {
        let text = "pos:\t0\nmap_id:\t12\nmemlock:\t4096\n";
        assert_eq!((number_behind(text, "map_id:"), number_behind(text, "memlock:")), (Some(12), Some(4096)));
        assert_eq!(number_behind("VmRSS:\t   10240 kB\n", "VmRSS:"), Some(10240));
        assert_eq!(number_behind(text, "frozen:"), None);
    }
}
