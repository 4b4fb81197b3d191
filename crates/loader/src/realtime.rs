//! Whether programs on one CPU may preempt each other.

use nix::sys::utsname::uname;

/// Whether the kernel was built with PREEMPT_RT. There the receiving of packets can be preempted, and since Linux commit
/// 3253cb49cbad (6.18) nothing keeps another packet from being received on the CPU meanwhile: it would write into what the
/// programs leave for each other in `SCRATCH`, one per CPU. Before, they waited for each other; which it is cannot be told from
/// outside, for distributions have taken the commit over, and CONFIG_PREEMPT_RT_NEEDS_BH_LOCK takes it back.
pub(crate) fn is_realtime() -> bool {
    uname().is_ok_and(|name| name.version().to_str().is_some_and(says_so))
}

/// What the build says of itself (scripts/mkcompile_h in the kernel's source).
fn says_so(version: &str) -> bool {
    version.split_whitespace().any(|word| word == "PREEMPT_RT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_build_has_the_word() {
        assert!(says_so("#1 SMP PREEMPT_RT Debian 6.12.57-1 (2025-11-05)"));
        assert!(!says_so("#1 SMP PREEMPT_DYNAMIC Debian 6.12.57-1 (2025-11-05)"));
    }
}
