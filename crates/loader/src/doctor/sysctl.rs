//! Kernel settings that hand-off and cookies depend on.

use std::fs;

use super::{Report, Row, State};

/// A setting under /proc/sys, whether a value is right, and what a wrong one means.
struct Setting {
    name: &'static str,
    good: fn(&str) -> bool,
    value: &'static str,
    effect: &'static str,
}

const SETTINGS: [Setting; 5] = [
    Setting {
        name: "net.ipv4.tcp_syncookies",
        good: |value| value != "0",
        value: "1",
        effect: "no hand-off to userspace: connections that the kernel cannot route stall",
    },
    Setting {
        name: "net.ipv4.tcp_timestamps",
        good: |value| value != "0",
        value: "1",
        effect: "connections handed off lose their timestamps",
    },
    Setting {
        name: "net.ipv4.tcp_sack",
        good: |value| value != "0",
        value: "1",
        effect: "connections handed off lose selective acknowledgement",
    },
    Setting {
        name: "net.ipv4.tcp_window_scaling",
        good: |value| value != "0",
        value: "1",
        effect: "connections handed off are held to 64 KiB windows",
    },
    Setting {
        name: "net.netfilter.nf_conntrack_tcp_loose",
        good: |value| value != "0",
        value: "1",
        effect: "conntrack calls connections handed off invalid, and firewalls drop them",
    },
];

pub(super) fn check(report: &mut Report) {
    for setting in &SETTINGS {
        report.push(row(setting, read(setting.name).as_deref()));
    }
    report.push(match read("net.ipv4.ip_local_port_range") {
        Some(range) => {
            let detail = format!("{}; dataplane.snat.ports must lie outside", range.replace('\t', " to "));
            Row::new("sysctl", "net.ipv4.ip_local_port_range", State::Info, detail)
        }
        None => hidden("net.ipv4.ip_local_port_range"),
    });
    report.push(match read("kernel.unprivileged_bpf_disabled").as_deref() {
        Some("0") => Row::new("sysctl", "kernel.unprivileged_bpf_disabled", State::Degraded, "0")
            .effect("every user may load programs")
            .mend("sysctl -w kernel.unprivileged_bpf_disabled=2"),
        Some(value) => Row::new("sysctl", "kernel.unprivileged_bpf_disabled", State::Ok, value),
        None => hidden("kernel.unprivileged_bpf_disabled"),
    });
}

fn row(setting: &Setting, found: Option<&str>) -> Row {
    match found {
        Some(value) if (setting.good)(value) => Row::new("sysctl", setting.name, State::Ok, value),
        Some(value) => Row::new("sysctl", setting.name, State::Degraded, value)
            .effect(setting.effect)
            .mend(format!("sysctl -w {}={}", setting.name, setting.value)),
        None if setting.name.starts_with("net.netfilter.") => {
            Row::new("sysctl", setting.name, State::Ok, "no connection tracking here")
        }
        None => hidden(setting.name),
    }
}

fn hidden(name: &'static str) -> Row {
    Row::new("sysctl", name, State::Degraded, "cannot be read").effect("unknown")
}

fn read(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_says_what_it_costs_and_how_to_mend_it() {
        let [cookies, .., loose] = &SETTINGS;
        assert_eq!(row(cookies, Some("1")).state, State::Ok);
        assert_eq!(row(cookies, Some("2")).state, State::Ok);
        let wrong = row(cookies, Some("0"));
        assert_eq!(
            (wrong.state, wrong.mend.as_str()),
            (State::Degraded, "sysctl -w net.ipv4.tcp_syncookies=1")
        );
        assert!(!wrong.effect.is_empty());
        assert_eq!(row(cookies, None).state, State::Degraded);
        assert_eq!(row(loose, None).state, State::Ok, "without conntrack there is nothing to loosen");
    }
}
