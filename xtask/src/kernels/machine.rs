//! A virtual machine with one processor, which qemu plays: it needs no rights, and no virtualization of the processor's.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use testkit::{Process, Signal};

/// What the guest says when its own programs begin, and with the status of the last when they have ended.
pub(super) const READY: &str = "@@ ready";
pub(super) const ENDED: &str = "@@ ended";

/// Until then the guest's programs run, and until the other they have ended: many times what a machine with nothing else to do takes.
const BOOT_LIMIT: Duration = Duration::from_secs(240);
const LIMIT: Duration = Duration::from_secs(1800);
/// A boot that does not come so far is tried again: the machine is only played. What fails later is a finding.
const BOOTS: u32 = 3;
const MEMORY_MIB: &str = "1536";

/// Without `cx16`: played by qemu 7.2, one in some boots of a kernel that uses that instruction (its allocator does) fails right behind it,
/// with flags that are a part of an address.
const PROCESSOR: &str = "max,-cx16";

/// The guest's time passes by 2 ns an instruction, and at once where it waits: limits in it are the same however busy the host is.
const CLOCK: &str = "shift=1,sleep=off";

/// An oops is the guest's end.
const PARAMETERS: &str = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off";

/// Boots `kernel` with `root` as its first root; what the guest printed. `folder`, which is new, is for that.
///
/// # Errors
/// It never reaches its programs, or they do not come to an end.
pub(super) fn boot(kernel: &Path, root: &Path, folder: &Path) -> Result<String> {
    let mut boots = 0;
    loop {
        boots += 1;
        let mut machine = Process::spawn(None, &format!("boot-{boots}"), qemu(kernel, root), folder)?;
        let log = machine.log_path().to_owned();
        let ready = machine.wait_for(BOOT_LIMIT, "the guest's programs to begin", || {
            fs::read_to_string(&log).ok()?.contains(READY).then_some(())
        });
        match ready {
            Ok(()) => {}
            Err(error) if boots < BOOTS => {
                println!("kernels: booting again: {error:#}");
                continue;
            }
            Err(error) => return Err(error),
        }
        machine.wait(LIMIT).context("the guest's programs have not ended")?;
        return Ok(machine.log().replace('\r', ""));
    }
}

fn qemu(kernel: &Path, root: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    // It does not outlive us, however we end.
    // SAFETY: prctl(2) is a single system call; nothing is allocated or locked after fork.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)) };
    command.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.args(["-accel", "tcg", "-cpu", PROCESSOR, "-smp", "1", "-m", MEMORY_MIB, "-icount", CLOCK]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(root).args(["-append", PARAMETERS]);
    command
}

/// What the guest's programs printed, if the last of them succeeded.
///
/// # Errors
/// It failed, or the guest ended before it did.
pub(super) fn said(log: &str) -> Result<&str> {
    let (_, rest) = log.split_once(READY).context("the guest's programs have not begun")?;
    let (said, status) = rest.split_once(ENDED).context("the guest ended before its programs")?;
    let status = status.lines().next().unwrap_or_default().trim();
    ensure!(status == "0", "the cases failed (status {status})");
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_that_came_to_a_good_end_have_said_something() {
        assert_eq!(said("kernel\n@@ ready\nhello\n@@ ended 0\nPower down").unwrap(), "\nhello\n");
        for (log, complaint) in [
            ("Kernel panic", "not begun"),
            ("@@ ready\nKernel panic", "before its programs"),
            ("@@ ready\n@@ ended 101\n", "status 101"),
            ("@@ ready\n@@ ended", "status"),
        ] {
            assert!(said(log).unwrap_err().to_string().contains(complaint), "{log}");
        }
    }
}
