//! Kernel helpers that programs of ours call, now or in the kernel tiers.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{Report, probe::Probe};

/// A helper, the program types that call it, what is off without it.
struct Helper {
    name: &'static str,
    id: BpfHelper,
    programs: &'static [Program],
    effect: &'static str,
}

#[derive(Clone, Copy)]
enum Program {
    Tc,
    Xdp,
    SockOps,
}

use Program::{SockOps, Tc, Xdp};

const NO_TIERS: &str = "kernel tiers stay off";

const HELPERS: [Helper; 18] = [
    helper(
        "bpf_map_lookup_elem",
        BpfHelper::BPF_FUNC_map_lookup_elem,
        &[Tc, Xdp],
        "no kernel programs at all",
    ),
    helper(
        "bpf_skb_pull_data",
        BpfHelper::BPF_FUNC_skb_pull_data,
        &[Tc],
        "packets with paged headers are not counted",
    ),
    helper("bpf_skc_lookup_tcp", BpfHelper::BPF_FUNC_skc_lookup_tcp, &[Tc, Xdp], NO_TIERS),
    helper("bpf_skc_to_tcp_sock", BpfHelper::BPF_FUNC_skc_to_tcp_sock, &[Tc, Xdp], NO_TIERS),
    helper("bpf_tail_call", BpfHelper::BPF_FUNC_tail_call, &[Tc, Xdp], NO_TIERS),
    helper("bpf_redirect_neigh", BpfHelper::BPF_FUNC_redirect_neigh, &[Tc], NO_TIERS),
    helper("bpf_redirect", BpfHelper::BPF_FUNC_redirect, &[Tc, Xdp], NO_TIERS),
    helper("bpf_skb_change_tail", BpfHelper::BPF_FUNC_skb_change_tail, &[Tc], NO_TIERS),
    helper("bpf_l4_csum_replace", BpfHelper::BPF_FUNC_l4_csum_replace, &[Tc], "Tier 2 stays off"),
    helper("bpf_csum_diff", BpfHelper::BPF_FUNC_csum_diff, &[Tc, Xdp], NO_TIERS),
    helper("bpf_csum_level", BpfHelper::BPF_FUNC_csum_level, &[Tc], "Tier 2 stays off"),
    helper("bpf_xdp_load_bytes", BpfHelper::BPF_FUNC_xdp_load_bytes, &[Xdp], "Tier 1 stays off"),
    helper("bpf_xdp_adjust_meta", BpfHelper::BPF_FUNC_xdp_adjust_meta, &[Xdp], "Tier 1 stays off"),
    helper("bpf_loop", BpfHelper::BPF_FUNC_loop, &[Tc, Xdp], NO_TIERS),
    helper(
        "bpf_tcp_raw_gen_syncookie_ipv4",
        BpfHelper::BPF_FUNC_tcp_raw_gen_syncookie_ipv4,
        &[Tc, Xdp],
        "none: RAUTA has a cookie of its own",
    ),
    helper("bpf_ktime_get_boot_ns", BpfHelper::BPF_FUNC_ktime_get_boot_ns, &[Tc, Xdp], NO_TIERS),
    helper(
        "bpf_ringbuf_output",
        BpfHelper::BPF_FUNC_ringbuf_output,
        &[Tc, Xdp, SockOps],
        "no events from the kernel, counters only",
    ),
    helper("bpf_sk_storage_get", BpfHelper::BPF_FUNC_sk_storage_get, &[SockOps], "no TCP health"),
];

const fn helper(
    name: &'static str,
    id: BpfHelper,
    programs: &'static [Program],
    effect: &'static str,
) -> Helper {
    Helper { name, id, programs, effect }
}

/// One row per helper and program type: a helper may be there for one and not for another.
pub(super) fn check(report: &mut Report) {
    for helper in &HELPERS {
        for program in helper.programs {
            let probe = Probe::of(is_helper_supported(program.kind(), helper.id));
            let item = format!("{} ({})", helper.name, program.as_str());
            report.push(probe.row("helper", item, "CAP_BPF", helper.effect, "use a newer kernel"));
        }
    }
}

impl Program {
    const fn as_str(self) -> &'static str {
        match self {
            Tc => "tc",
            Xdp => "xdp",
            SockOps => "sockops",
        }
    }

    const fn kind(self) -> ProgramType {
        match self {
            Tc => ProgramType::SchedClassifier,
            Xdp => ProgramType::Xdp,
            SockOps => ProgramType::SockOps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root, as every test that loads programs.
    #[test]
    fn the_kernel_tells_helpers_apart_by_program_type() {
        let probe = |program: Program| {
            Probe::of(is_helper_supported(program.kind(), BpfHelper::BPF_FUNC_skb_change_tail))
        };
        assert_eq!(probe(Tc), Probe::Yes);
        assert_eq!(probe(Xdp), Probe::No, "there is no socket buffer in XDP");
    }
}
