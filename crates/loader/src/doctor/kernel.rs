//! The kernel itself: release, type information, compiler, the one kernel function we call.

use std::fs;

use nix::sys::utsname::uname;

use super::{Report, Row, State};
use crate::realtime;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const HAND_OFF: &str = "bpf_sk_assign_tcp_reqsk";

pub(super) fn check(report: &mut Report) {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_else(|_| "unknown".into());
    report.push(Row::new("kernel", "release", State::Info, release));
    let btf = fs::read(BTF).ok();
    report.push(btf_row(btf.as_deref()));
    report.push(jit());
    report.push(hand_off(btf.as_deref()));
    report.push(preemption(realtime::is_realtime()));
}

fn btf_row(btf: Option<&[u8]>) -> Row {
    match btf {
        Some(bytes) => Row::new("kernel", "BTF", State::Ok, format!("{BTF}, {} KiB", bytes.len() / 1024)),
        None => Row::new("kernel", "BTF", State::Missing, format!("{BTF} cannot be read"))
            .effect("kernel functions cannot be found: no hand-off, so no kernel tiers")
            .mend("use a kernel built with CONFIG_DEBUG_INFO_BTF"),
    }
}

fn jit() -> Row {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok().as_deref().map(str::trim) {
        Some("0") => Row::new("kernel", "BPF compiler", State::Degraded, "net.core.bpf_jit_enable = 0")
            .effect("programs are interpreted, several times slower")
            .mend("sysctl -w net.core.bpf_jit_enable=1"),
        Some(value) => {
            Row::new("kernel", "BPF compiler", State::Ok, format!("net.core.bpf_jit_enable = {value}"))
        }
        None => {
            Row::new("kernel", "BPF compiler", State::Degraded, "net.core.bpf_jit_enable cannot be read here")
                .effect("unknown")
        }
    }
}

/// The kernel function that gives a connection answered in the kernel to a listening socket (Linux 6.9).
fn hand_off(btf: Option<&[u8]>) -> Row {
    let item = format!("kfunc {HAND_OFF}");
    match btf {
        Some(bytes) if names(bytes, HAND_OFF) => Row::new("kernel", item, State::Ok, "in the kernel's BTF"),
        Some(_) => Row::new("kernel", item, State::Missing, "not in the kernel's BTF")
            .effect("no hand-off to userspace: kernel tiers stay off, every request is served by Tier 3")
            .mend("use Linux 6.9 or later, if the kernel tiers are wanted"),
        None => Row::new("kernel", item, State::Degraded, "not visible without BTF").effect("unknown"),
    }
}

/// Whether the programs have a CPU to themselves while they run.
fn preemption(is_realtime: bool) -> Row {
    if !is_realtime {
        return Row::new("kernel", "preemption", State::Ok, "not while packets are received");
    }
    Row::new("kernel", "preemption", State::Missing, "PREEMPT_RT: packets can overtake each other on a CPU")
        .effect("the programs share memory there: kernel tiers stay off, every request is served by Tier 3")
        .mend("use a kernel without PREEMPT_RT, if the kernel tiers are wanted")
}

/// Whether the string section of `btf` holds `name`; its strings are separated by zero bytes.
fn names(btf: &[u8], name: &str) -> bool {
    btf.split(|byte| *byte == 0).any(|string| string == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_names_only() {
        let btf = b"\0a\0bpf_sk_assign_tcp_reqsk_x\0b\0";
        assert!(!names(btf, HAND_OFF));
        assert!(names(b"\0a\0bpf_sk_assign_tcp_reqsk\0", HAND_OFF));
        assert_eq!(hand_off(Some(btf)).state, State::Missing);
        assert_eq!(hand_off(None).state, State::Degraded);
    }

    #[test]
    fn a_realtime_kernel_has_no_kernel_tiers() {
        assert_eq!(preemption(true).state, State::Missing);
        assert_eq!(preemption(false).state, State::Ok);
    }
}
