//! The file systems that pins and cgroup programs need.

use std::fs;

use super::{Report, Row, State};

pub(super) fn check(report: &mut Report) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    report.push(match mounted(&mounts, "bpf") {
        Some(path) => Row::new("mount", "bpf file system", State::Ok, path),
        None => Row::new("mount", "bpf file system", State::Missing, "not mounted")
            .effect("nothing can be pinned: kernel programs stay off")
            .mend("as root: mount -t bpf bpf /sys/fs/bpf"),
    });
    report.push(match mounted(&mounts, "cgroup2") {
        Some(path) => Row::new("mount", "cgroup v2", State::Ok, path),
        None => Row::new("mount", "cgroup v2", State::Missing, "not mounted")
            .effect("no TCP health and no balancing at connect(2), once there")
            .mend("as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified (or boot with the unified hierarchy)"),
    });
}

/// Where the first file system of that type is mounted.
fn mounted<'t>(mounts: &'t str, kind: &str) -> Option<&'t str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == kind).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_mount_by_type_wherever_it_is() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mounted(mounts, "cgroup2"), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounted(mounts, "bpf"), None);
    }
}
