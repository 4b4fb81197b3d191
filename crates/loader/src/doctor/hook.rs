//! Where programs can be attached.

use std::{io, thread};

use aya::{
    programs::{ProgramType, tc},
    sys::is_program_supported,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

use super::{
    Report, Row, State,
    probe::{Probe, is_refused},
};
use crate::bpf::tcx_ingress_links;

const NEWER: &str = "use a newer kernel";

/// The two ways to attach at TC.
pub(super) struct Hooks {
    pub(super) tcx: Probe,
    pub(super) clsact: Probe,
}

pub(super) fn check(report: &mut Report) -> Hooks {
    let program = |kind| Probe::of(is_program_supported(kind));
    let tc = program(ProgramType::SchedClassifier);
    report.push(tc.row("hook", "tc program".into(), "CAP_BPF", "no kernel programs: Tier 3 alone", NEWER));

    let hooks = Hooks { tcx: tcx(), clsact: clsact() };
    let fallback = "clsact is used instead; a link cannot be pinned there";
    report.push(hooks.tcx.row("hook", "tcx".into(), "CAP_NET_ADMIN", fallback, "Linux 6.6 has it"));
    let effect =
        if hooks.tcx == Probe::Yes { "none: tcx is there" } else { "no kernel programs: Tier 3 alone" };
    let config = "use a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF";
    report.push(clsact_row(hooks.clsact, effect, config));

    let xdp = program(ProgramType::Xdp);
    report.push(xdp.row("hook", "xdp program".into(), "CAP_BPF", "Tier 1 stays off", NEWER));
    let sockops = program(ProgramType::SockOps);
    report.push(sockops.row("hook", "sockops program".into(), "CAP_BPF", "no TCP health, once there", NEWER));
    let connect = program(ProgramType::CgroupSockAddr);
    let effect = "no balancing at connect(2), once there";
    report.push(connect.row("hook", "cgroup connect4 program".into(), "CAP_BPF", effect, NEWER));
    hooks
}

/// Asks what hangs on loopback: a kernel without tcx does not know the question.
fn tcx() -> Probe {
    let answer = if_nametoindex("lo").map_err(io::Error::from).and_then(tcx_ingress_links);
    match answer {
        Ok(_) => Probe::Yes,
        Err(error) if is_refused(&error) => Probe::Hidden,
        Err(_) => Probe::No,
    }
}

/// Adds the qdisc to the loopback of a network namespace that ends with the thread that tries.
fn clsact() -> Probe {
    let tried = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        Ok::<bool, io::Error>(tc::qdisc_add_clsact("lo").is_ok())
    });
    match tried.join() {
        Ok(result) => Probe::of(result),
        Err(_) => Probe::Failed,
    }
}

fn clsact_row(probe: Probe, effect: &str, mend: &str) -> Row {
    match probe {
        // Trying needs more than using: no reason for alarm.
        Probe::Hidden => Row::new("hook", "clsact", State::Info, "not tried: that takes CAP_SYS_ADMIN"),
        _ => probe.row("hook", "clsact".into(), "CAP_SYS_ADMIN", effect, mend),
    }
}
