//! Who enforces network policy on this host, as far as names tell (`docs/adr/0018-network-policy-by-its-enforcers.md`).
//!
//! Only what is there for sure: which rules a policy made, nobody but their maker knows.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use aya::programs::loaded_programs;

use crate::{
    bpf::tcx_ingress_programs,
    doctor::{filters, nftables},
};

/// Parts of the names of chains or tables that nobody but an enforcer of NetworkPolicy makes, and who that is.
const CHAINS: [(&str, &str); 6] = [
    ("KUBE-NWPLCY-", "kube-router"),
    ("cali-tw-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("WEAVE-NPC", "Weave Net"),
    ("kube-network-policies", "kube-network-policies"),
    ("kindnet-network-policies", "kindnet"),
];

/// The same of beginnings of programs' names, of which the kernel keeps 15 characters.
const PROGRAMS: [(&str, &str); 3] = [("cil_", "Cilium"), ("cali_tc_", "Calico"), ("calico_", "Calico")];

/// What was found, and what is asked to see whether it is still so.
#[derive(Debug, Default)]
pub struct Enforcers {
    /// The generation of the ruleset that `chain` was found in.
    generation: Option<u32>,
    chain: Option<String>,
    /// By device: the programs there, and what was found among them.
    programs: BTreeMap<u32, (Vec<u32>, Option<String>)>,
}

impl Enforcers {
    /// Looks at the chains of nftables and at the programs where packets enter by `devices` (index and name). Who enforces
    /// policy, and by what it is known; what cannot be seen is not there.
    ///
    /// What did not change since the last time is not read again: chains by the generation of the ruleset, programs by their
    /// numbers.
    pub fn look(&mut self, devices: &[(u32, String)]) -> Option<String> {
        let generation = nftables::generation().ok();
        if generation.is_none() || generation != self.generation {
            let chains = nftables::chains().unwrap_or_default();
            self.chain = by_chain(&chains).map(|(who, chain)| format!("{who} (chain {chain})"));
            self.generation = generation;
        }
        self.programs.retain(|index, _| devices.iter().any(|(device, _)| device == index));
        let mut names = Names::default();
        for (index, device) in devices {
            let ids = tcx_ingress_programs(*index).unwrap_or_default();
            let known = self.programs.entry(*index).or_default();
            if known.0 != ids {
                let found = ids.iter().find_map(|id| told(names.of(*id)?, device));
                *known = (ids, found);
            }
        }
        let by_tcx = self.programs.values().find_map(|(_, found)| found.clone());
        self.chain.clone().or(by_tcx).or_else(|| {
            devices.iter().find_map(|(index, device)| {
                // clsact has no numbers to compare; its names come with the question.
                filters::ingress(*index).unwrap_or_default().iter().find_map(|name| told(name, device))
            })
        })
    }
}

fn told(program: &str, device: &str) -> Option<String> {
    by_program(program).map(|who| format!("{who} (program {program} on {device})"))
}

/// Who made one of these chains, by its name or its table's.
pub(crate) fn by_chain(chains: &[nftables::Chain]) -> Option<(&'static str, &nftables::Chain)> {
    CHAINS.iter().find_map(|(part, who)| {
        let is_its = |chain: &&nftables::Chain| chain.name.contains(part) || chain.table.contains(part);
        chains.iter().find(is_its).map(|chain| (*who, chain))
    })
}

/// Whose program has that name.
pub(crate) fn by_program(name: &str) -> Option<&'static str> {
    PROGRAMS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, who)| *who)
}

/// Names of programs by their numbers, read once and only if one is asked for. Takes CAP_SYS_ADMIN; without, there are none.
#[derive(Default)]
pub(crate) struct Names(Option<HashMap<u32, String>>);

impl Names {
    /// The name of a program.
    pub(crate) fn of(&mut self, id: u32) -> Option<&str> {
        let all = self.0.get_or_insert_with(|| {
            let programs = loaded_programs().filter_map(Result::ok);
            let named = programs.filter_map(|one| Some((one.id(), one.name_as_str()?.to_owned())));
            named.filter(|(_, name)| !name.is_empty()).collect()
        });
        all.get(&id).map(String::as_str)
    }
}

/// Names, as far as they can be seen, of the programs where packets enter by an interface, in their order.
pub(crate) fn programs_at(interface: u32) -> io::Result<Vec<String>> {
    let mut names = Names::default();
    let ids = tcx_ingress_programs(interface).unwrap_or_default();
    let tcx = ids.into_iter().map(|id| names.of(id).map_or_else(|| format!("program {id}"), str::to_owned));
    let tcx: Vec<String> = tcx.collect();
    // clsact comes behind tcx.
    Ok(tcx.into_iter().chain(filters::ingress(interface)?).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str) -> nftables::Chain {
        let (table, name) = (table.to_owned(), name.to_owned());
        nftables::Chain { family: "ip", table, name, forwards: true, drops: true, rules: 4 }
    }

    #[test]
    fn chains_tell_who_enforces_policy_only_by_their_name() {
        let who = |table: &str, name: &str| by_chain(&[chain(table, name)]).map(|(who, _)| who);
        assert_eq!(who("filter", "KUBE-NWPLCY-ABC"), Some("kube-router"));
        assert_eq!(who("filter", "cali-tw-cali123"), Some("Calico"));
        assert_eq!(who("filter", "CILIUM_FORWARD"), Some("Cilium"));
        assert_eq!(who("kube-network-policies", "forward"), Some("kube-network-policies"));
        // A host's firewall, containers on it, Services: none of them is of pods' policy.
        for name in ["FORWARD", "DOCKER-USER", "KUBE-FORWARD", "ufw-before-forward", "filter_FWD_public"] {
            assert_eq!(who("filter", name), None, "{name}");
        }
        assert_eq!(who("firewalld", "filter_FORWARD"), None);
    }

    #[test]
    fn programs_tell_by_the_beginning_of_their_name() {
        assert_eq!(by_program("cil_from_netdev"), Some("Cilium"));
        assert_eq!(by_program("cali_tc_preambl"), Some("Calico"));
        for name in ["rauta_tc_ingres", "flower", "handle_ingress", "pencil_sharpen", ""] {
            assert_eq!(by_program(name), None, "{name}");
        }
    }
}
