//! Taking labs away: those of dead runs, and named ones.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::path_of;

/// Where a lab mounts its BPF file system, in its folder.
pub(super) const BPFFS: &str = "bpffs";

/// Removes every `rauta-PID-…` namespace and folder whose process is dead. Returns how many namespaces.
pub(super) fn sweep() -> Result<usize> {
    let mut removed = 0;
    for name in names()? {
        if owner_of(&name).is_some_and(|pid| !is_alive(pid)) {
            delete(&name);
            removed += 1;
        }
    }
    sweep_folders();
    Ok(removed)
}

/// Removes every namespace whose name is `prefix-ROLE`.
pub(crate) fn remove(prefix: &str) -> Result<bool> {
    let mine = format!("{prefix}-");
    let names: Vec<String> = names()?.into_iter().filter(|name| name.starts_with(&mine)).collect();
    for name in &names {
        delete(name);
    }
    Ok(!names.is_empty())
}

/// Ends the processes in namespace `name` and removes it. What fails is reported on standard error: this runs while
/// unwinding, too.
pub(crate) fn delete(name: &str) {
    for pid in processes_in(name) {
        // Already gone is as good.
        let _ = kill(pid, Signal::SIGKILL);
    }
    let removed = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::piped()).output();
    match removed {
        Ok(output) if output.status.success() || !path_of(name).exists() => {}
        Ok(output) => {
            eprintln!(
                "lab: cannot remove namespace {name}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Err(error) => eprintln!("lab: cannot remove namespace {name}: {error}"),
    }
}

/// Unmounts what the lab with this folder has mounted. Nothing mounted is fine.
pub(super) fn unmount(folder: &Path) {
    let bpffs = folder.join(BPFFS);
    if bpffs.exists() {
        let _ = nix::mount::umount2(&bpffs, nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(bpffs);
    }
}

/// Folders that killed runs left. What cannot be removed waits for the next sweep.
fn sweep_folders() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(owner_of).is_some_and(|pid| !is_alive(pid)) {
            unmount(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn names() -> Result<Vec<String>> {
    match fs::read_dir("/run/netns") {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The process that made `rauta-PID-N-ROLE`; none for labs with a name.
fn owner_of(name: &str) -> Option<i32> {
    name.strip_prefix("rauta-")?.split('-').next()?.parse().ok()
}

fn is_alive(pid: i32) -> bool {
    // EPERM means alive, too.
    !matches!(kill(Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

fn processes_in(name: &str) -> Vec<Pid> {
    let own = nix::unistd::getpid();
    let Ok(output) = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| *pid != own)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_labs_have_an_owner() {
        assert_eq!(owner_of("rauta-123-0-gateway"), Some(123));
        assert_eq!(owner_of("rauta-lab-gateway"), None);
        assert_eq!(owner_of("other-123-0-gateway"), None);
    }
}
