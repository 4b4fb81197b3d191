//! What may enforce network policy on this host, and that packets of the kernel tier pass by
//! (`docs/operating/network-policy.md`).
//!
//! Only what is there for sure: which rules a policy made, nobody but their maker knows, but for chains whose name says so.

use std::{fs, io};

use super::{
    Report, Row, State,
    nftables::{self, Chain},
    probe::is_refused,
};
use crate::{
    enforcers::{by_chain, by_program, programs_at},
    interfaces,
};

const PASSED_BY: &str = "requests that the kernel tier decides pass by it, in both directions";
const RESPECTED: &str = "requests that the kernel tier decides would pass by it: userspace serves endpoints elsewhere, unless \
                         dataplane.policy says ignore";
const TRUST: &str = "dataplane.policy: ignore, if the gateway is trusted to reach its endpoints";
const MEND: &str = "dataplane.policy: respect, if it must hold between the gateway and endpoints";

/// Of our own programs.
const OURS: &str = "rauta_tc_";

pub(super) fn check(report: &mut Report, named: &[String]) {
    report.push(chains_row(nftables::chains()));
    report.push(legacy_row(&["ip_tables_names", "ip6_tables_names"].map(names)));
    // What cannot be attached to has its row already.
    for interface in interfaces::choose(named).unwrap_or_default() {
        report.push(programs_row(&interface.name, programs(interface.index)));
    }
}

fn chains_row(chains: io::Result<Vec<Chain>>) -> Row {
    let row = |state, detail: String| Row::new("policy", "nftables", state, detail);
    let chains = match chains {
        Ok(chains) => chains,
        Err(error) if is_refused(&error) => {
            return row(State::Info, "not visible without CAP_NET_ADMIN".into());
        }
        Err(_) => return row(State::Ok, "not in this kernel".into()),
    };
    if let Some((who, chain)) = by_chain(&chains) {
        return row(State::Degraded, format!("{who} enforces network policy: chain {chain}"))
            .effect(RESPECTED)
            .mend(TRUST);
    }
    let met = chains.iter().filter(|chain| chain.forwards && (chain.rules > 0 || chain.drops));
    let met: Vec<String> = met.map(described).collect();
    if met.is_empty() {
        return row(State::Ok, "no rules for forwarded packets".into());
    }
    row(State::Info, format!("rules for forwarded packets: {}", met.join("; "))).effect(PASSED_BY).mend(MEND)
}

fn described(chain: &Chain) -> String {
    let drops = if chain.drops { ", drops the rest" } else { "" };
    format!("{chain} ({} rules{drops})", chain.rules)
}

/// Tables of legacy iptables, one name a line; an error where they cannot be seen.
fn names(file: &str) -> io::Result<String> {
    match fs::read_to_string(format!("/proc/thread-self/net/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result,
    }
}

fn legacy_row(tables: &[io::Result<String>; 2]) -> Row {
    let row = |state, detail: &str| Row::new("policy", "legacy iptables", state, detail);
    let filters = |names: &str| names.lines().any(|name| name == "filter");
    match tables {
        [Err(_), _] | [_, Err(_)] => row(State::Info, "not visible to this user"),
        [Ok(v4), Ok(v6)] if filters(v4) || filters(v6) => {
            row(State::Info, "its filter table is in use; which rules it has: iptables-legacy-save")
                .effect(PASSED_BY)
                .mend(MEND)
        }
        _ => row(State::Ok, "no filter table"),
    }
}

/// Names of programs that run behind ours where packets enter by an interface; of all if ours is not there yet, for it will be
/// the first.
fn programs(interface: u32) -> io::Result<Vec<String>> {
    let all = programs_at(interface)?;
    // An enforcer counts wherever it is: the agent asks for no order either.
    let enforcer = all.iter().find(|name| by_program(name).is_some()).cloned();
    Ok(enforcer.map_or_else(|| behind_ours(all), |name| vec![name]))
}

fn behind_ours(mut names: Vec<String>) -> Vec<String> {
    if let Some(ours) = names.iter().position(|name| name.starts_with(OURS)) {
        names.drain(..=ours);
    }
    names
}

fn programs_row(interface: &str, programs: io::Result<Vec<String>>) -> Row {
    let row = |state, detail: String| Row::new("policy", format!("programs on {interface}"), state, detail);
    let known = programs.iter().flatten().find_map(|name| Some((by_program(name)?, name)));
    if let Some((who, name)) = known {
        return row(State::Degraded, format!("{who} enforces network policy: program {name}"))
            .effect(RESPECTED)
            .mend(TRUST);
    }
    match programs {
        Err(_) => row(State::Info, "cannot be listed".into()),
        Ok(names) if names.is_empty() => row(State::Ok, "none behind ours at TC ingress".into()),
        Ok(names) => row(State::Info, format!("at TC ingress, behind ours: {}", names.join(", ")))
            .effect("behind ours, they see nothing of requests that the kernel tier decides")
            .mend(MEND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, forwards: bool, rules: u32) -> Chain {
        Chain { family: "ip", table: table.into(), name: name.into(), forwards, drops: false, rules }
    }

    #[test]
    fn chains_are_said_to_enforce_policy_only_if_their_name_says_so() {
        let said = |chains: Vec<Chain>| chains_row(Ok(chains));
        assert_eq!(said(vec![]).state, State::Ok);
        assert_eq!(
            said(vec![chain("filter", "FORWARD", true, 0), chain("nat", "X", false, 9)]).state,
            State::Ok
        );
        let some = said(vec![chain("filter", "FORWARD", true, 4)]);
        assert_eq!((some.state, some.detail.contains("ip filter FORWARD (4 rules)")), (State::Info, true));
        let forward = chain("filter", "FORWARD", true, 4);
        for (table, name, who) in [
            ("filter", "KUBE-NWPLCY-ABC", "kube-router"),
            ("filter", "cali-tw-cali123", "Calico"),
            ("kube-network-policies", "forward", "kube-network-policies"),
        ] {
            let row = said(vec![forward.clone(), chain(table, name, false, 1)]);
            assert_eq!(row.state, State::Degraded, "{row:?}");
            assert!(row.detail.starts_with(who) && row.mend.contains("policy: ignore"), "{row:?}");
        }
        assert_eq!(chains_row(Err(io::Error::from_raw_os_error(libc::EPERM))).state, State::Info);
        assert_eq!(chains_row(Err(io::Error::from_raw_os_error(libc::EINVAL))).state, State::Ok);
    }

    #[test]
    fn programs_before_ours_see_all() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(behind_ours(names("first rauta_tc_ingres second")), ["second"]);
        assert_eq!(behind_ours(names("first second")), ["first", "second"]);
        assert_eq!(programs_row("eth0", Ok(vec![])).state, State::Ok);
        let row = programs_row("eth0", Ok(names("their_program")));
        assert!(row.state == State::Info && row.detail.ends_with("their_program"), "{row:?}");
        let row = programs_row("eth0", Ok(names("other cil_from_netdev")));
        assert!(row.state == State::Degraded && row.detail.starts_with("Cilium enforces"), "{row:?}");
    }

    #[test]
    fn legacy_tables_are_named_when_they_filter() {
        let said = |v4: &str, v6: &str| legacy_row(&[Ok(v4.into()), Ok(v6.into())]).state;
        assert_eq!(
            [said("", ""), said("nat\n", ""), said("nat\nfilter\n", "")],
            [State::Ok, State::Ok, State::Info]
        );
        assert_eq!(said("", "filter\n"), State::Info);
    }
}
