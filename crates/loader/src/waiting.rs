//! Waiting for programs that run.
//!
//! Programs run where nothing preempts them and within one section of readers (RCU) from the first part of the engine to the last.
//! `membarrier(2)` with MEMBARRIER_CMD_GLOBAL returns when all such sections have ended that had begun before (`synchronize_rcu`,
//! kernel/sched/membarrier.c). With one CPU it returns at once: a program that had begun has ended if anybody else runs.

use std::io;

/// `enum membarrier_cmd` (include/uapi/linux/membarrier.h).
const QUERY: libc::c_int = 0;
const GLOBAL: libc::c_int = 1;

/// Whether [`wait_for_programs`] works here. Kernels with CPUs that are left to one task (`nohz_full`) do not have it.
pub fn can_wait_for_programs() -> bool {
    membarrier(QUERY).is_ok_and(|commands| commands & libc::c_long::from(GLOBAL) != 0)
}

/// Returns when no program runs any more that began before: some tens of milliseconds.
///
/// # Errors
/// The kernel's answer.
pub fn wait_for_programs() -> io::Result<()> {
    membarrier(GLOBAL).map(drop)
}

fn membarrier(command: libc::c_int) -> io::Result<libc::c_long> {
    // SAFETY: three numbers; the call touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_succeeds_where_it_is_said_to() {
        assert_eq!(wait_for_programs().is_ok(), can_wait_for_programs());
    }

    #[test]
    fn an_unknown_command_is_an_error() {
        assert_eq!(membarrier(1 << 30).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
