//! What RAUTA would use here, and why.

use super::{Report, Row, State, hook::Hooks, probe::Probe};
use crate::{
    Hook, Options, StartError, XdpMode,
    capabilities::Effective,
    early::{Card, Choice, WITHOUT_TCX, choose},
    interfaces::{self, Interface},
    is_built, links, pins,
};

pub(super) fn check(report: &mut Report, hooks: &Hooks, options: &Options) {
    report.push(if is_built() {
        Row::new("rauta", "kernel programs", State::Ok, "part of this binary")
    } else {
        Row::new("rauta", "kernel programs", State::Missing, "this binary was built without them")
            .effect("Tier 3 alone, no counters from the kernel")
            .mend("./x setup, then build again")
    });
    report.push(match obstacle(hooks, options) {
        None => Row::new("rauta", "hook", State::Ok, hook(hooks)),
        Some(reason) => Row::new("rauta", "hook", State::Degraded, format!("none: {reason}"))
            .effect("requests are served as ever; packets and connections are not counted in the kernel"),
    });
    for interface in interfaces::choose(&options.interfaces).unwrap_or_default() {
        let detail = hook_on(&interface, hooks, options);
        report.push(Row::new("rauta", format!("hook on {}", interface.name), State::Info, detail));
    }
    let detail = match options.hook {
        Hook::Off => "Tier 3: dataplane.hook is off",
        _ => {
            "Tier 1 (XDP) or 2 (TC), as on each interface, for what the kernel decides, if it has the hand-off (kfunc above); \
             else Tier 3"
        }
    };
    report.push(Row::new("rauta", "tier", State::Info, detail));
}

/// What the settings make of an interface, as it is now.
fn hook_on(interface: &Interface, hooks: &Hooks, options: &Options) -> String {
    let pin = pins::early_link(&options.pin_root, &interface.name);
    let card = Card::of(&interface.name, interface.index, &pin, options.hook, links::below_vlans);
    let hook = options.hook;
    match choose(hook, options.xdp_mode, &card) {
        _ if hook == Hook::Off => "off".into(),
        Choice::Native | Choice::Generic if hooks.tcx != Probe::Yes => {
            format!("{hook}: TC; {WITHOUT_TCX}")
        }
        Choice::Native => format!("{hook}: XDP in the driver, then TC"),
        Choice::Generic => format!("{hook}: XDP in front of the stack, then TC"),
        Choice::Tc(why) => format!("{hook}: TC; {why}"),
    }
}

fn hook(hooks: &Hooks) -> &'static str {
    match hooks.tcx {
        Probe::Yes => "TC ingress by tcx, before other programs, with pinned links",
        _ => "TC ingress by clsact, priority 1: the kernel has no tcx",
    }
}

/// The first thing in the way of the kernel programs, in the order in which a start meets them.
fn obstacle(hooks: &Hooks, options: &Options) -> Option<String> {
    match (options.hook, options.xdp_mode) {
        (Hook::Off, _) => return Some(StartError::SwitchedOff.to_string()),
        (Hook::Auto | Hook::Xdp, XdpMode::Hw) => return Some(StartError::HardwareXdp.to_string()),
        _ => {}
    }
    if !is_built() {
        return Some("built without the kernel programs".into());
    }
    if let Some(missing) = Effective::current().missing_to_attach() {
        return Some(format!("no {missing}"));
    }
    if hooks.tcx != Probe::Yes && hooks.clsact == Probe::No {
        return Some("neither tcx nor clsact".into());
    }
    if let Err(error) = interfaces::choose(&options.interfaces) {
        return Some(error.to_string());
    }
    let root = &options.pin_root;
    (!pins::is_bpffs(root)).then(|| format!("{} is not on a bpf file system", root.display()))
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
