//! What RAUTA would use here, and why.

use std::path::Path;

use super::{Report, Row, State, hook::Hooks, probe::Probe};
use crate::{
    Hook, Options, XdpMode,
    capabilities::Effective,
    early::{Card, Choice, choose},
    interfaces::{self, Interface},
    is_built, links, pins,
};

pub(super) fn check(report: &mut Report, hooks: &Hooks, interfaces: &[String]) {
    report.push(if is_built() {
        Row::new("rauta", "kernel programs", State::Ok, "part of this binary")
    } else {
        Row::new("rauta", "kernel programs", State::Missing, "this binary was built without them")
            .effect("Tier 3 alone, no counters from the kernel")
            .mend("./x setup, then build again")
    });
    report.push(match obstacle(hooks, &Options::default().pin_root, interfaces) {
        None => Row::new("rauta", "hook", State::Ok, hook(hooks)),
        Some(reason) => Row::new("rauta", "hook", State::Degraded, format!("none: {reason}"))
            .effect("requests are served as ever; packets and connections are not counted in the kernel"),
    });
    for interface in interfaces::choose(interfaces).unwrap_or_default() {
        report.push(Row::new("rauta", format!("hook on {}", interface.name), State::Info, auto(&interface)));
    }
    let detail = "Tier 2 (TC) for what it decides, if the kernel has the hand-off (kfunc above); else Tier 3";
    report.push(Row::new("rauta", "tier", State::Info, detail));
}

/// What `dataplane.hook: auto` makes of an interface.
fn auto(interface: &Interface) -> String {
    let pin = pins::early_link(&Options::default().pin_root, &interface.name);
    let card = Card::of(&interface.name, interface.index, &pin, Hook::Auto, links::below_vlans);
    match choose(Hook::Auto, XdpMode::Auto, &card) {
        Choice::Native | Choice::Generic => "auto: XDP in the driver, then TC".into(),
        Choice::Tc(why) => format!("auto: TC; {why}"),
    }
}

fn hook(hooks: &Hooks) -> &'static str {
    match hooks.tcx {
        Probe::Yes => "TC ingress by tcx, before other programs, with pinned links",
        _ => "TC ingress by clsact, priority 1: the kernel has no tcx",
    }
}

/// The first thing in the way of the kernel programs, in the order in which a start meets them.
fn obstacle(hooks: &Hooks, pin_root: &Path, interfaces: &[String]) -> Option<String> {
    if !is_built() {
        return Some("built without the kernel programs".into());
    }
    if let Some(missing) = Effective::current().missing_to_attach() {
        return Some(format!("no {missing}"));
    }
    if hooks.tcx != Probe::Yes && hooks.clsact == Probe::No {
        return Some("neither tcx nor clsact".into());
    }
    if let Err(error) = interfaces::choose(interfaces) {
        return Some(error.to_string());
    }
    (!pins::is_bpffs(pin_root)).then(|| format!("{} is not on a bpf file system", pin_root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_tcx_and_says_why_not() {
        let hooks = |tcx, clsact| Hooks { tcx, clsact };
        assert!(hook(&hooks(Probe::Yes, Probe::Yes)).contains("by tcx"));
        assert!(hook(&hooks(Probe::No, Probe::Yes)).contains("by clsact"));
    }
}
