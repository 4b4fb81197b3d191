//! Capabilities of this process.

use super::{Report, Row, State};
use crate::capabilities::{Capability, Effective};

const WANTED: [(Capability, &str, &str); 4] = [
    (Capability::Bpf, "CAP_BPF", "kernel programs cannot be loaded: Tier 3 alone"),
    (Capability::NetAdmin, "CAP_NET_ADMIN", "kernel programs cannot be attached: Tier 3 alone"),
    (
        Capability::Perfmon,
        "CAP_PERFMON",
        "the verifier refuses headers of variable length, so kernel programs cannot be loaded: Tier 3 alone",
    ),
    (Capability::NetBindService, "CAP_NET_BIND_SERVICE", "listeners on ports below 1024 cannot be opened"),
];

pub(super) fn check(report: &mut Report) {
    let effective = Effective::current();
    for (capability, name, effect) in WANTED {
        report.push(if effective.allows(capability) {
            Row::new("capability", name, State::Ok, "effective")
        } else {
            Row::new("capability", name, State::Missing, "not effective")
                .effect(effect)
                .mend(format!("run as root, or add {} to the container or service", &name["CAP_".len()..]))
        });
    }
    let has = if effective.allows(Capability::SysAdmin) { "effective" } else { "not effective" };
    report.push(Row::new(
        "capability",
        "CAP_SYS_ADMIN",
        State::Info,
        format!("{has}; the agent does not need it"),
    ));
}
