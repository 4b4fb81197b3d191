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
    /// policy, and by what it is known; what this kernel does not have, or does not show, is not there.
    ///
    /// What did not change since the last time is not read again: chains by the generation of the ruleset, programs by their
    /// numbers.
    ///
    /// # Errors
    /// The look failed, for want of descriptors, say: nothing is known that was not known before.
    pub fn look(&mut self, devices: &[(u32, String)]) -> io::Result<Option<String>> {
        let generation = shown(nftables::generation())?;
        if generation.is_none() || generation != self.generation {
            let chains = shown(nftables::chains())?.unwrap_or_default();
            self.chain = by_chain(&chains).map(|(who, chain)| format!("{who} (chain {chain})"));
            self.generation = generation;
        }
        self.programs.retain(|index, _| devices.iter().any(|(device, _)| device == index));
        let mut names = Names::default();
        for (index, device) in devices {
            // A kernel without tcx, or a device that has just gone.
            let ids = tcx_ingress_programs(*index).unwrap_or_default();
            let known = self.programs.get(index);
            if known.is_none_or(|(known, _)| *known != ids) {
                let found = ids.iter().find_map(|id| told(names.of(*id)?, device));
                self.programs.insert(*index, (ids, found));
            }
        }
        let by_tcx = self.programs.values().find_map(|(_, found)| found.clone());
        if let Some(found) = self.chain.clone().or(by_tcx) {
            return Ok(Some(found));
        }
        for (index, device) in devices {
            // clsact has no numbers to compare; its names come with the question.
            let names = shown(filters::ingress(*index))?.unwrap_or_default();
            if let Some(found) = names.iter().find_map(|name| told(name, device)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// None: the kernel has no such thing, the device is gone, or it is not for us to see.
fn shown<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    const NOT_THERE: [i32; 8] = [
        libc::EINVAL,
        libc::ENOENT,
        libc::ENODEV,
        libc::EOPNOTSUPP,
        libc::EPROTONOSUPPORT,
        libc::EAFNOSUPPORT,
        libc::EPERM,
        libc::EACCES,
    ];
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.raw_os_error().is_some_and(|code| NOT_THERE.contains(&code)) => Ok(None),
        Err(error) => Err(error),
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
    fn what_fails_is_not_taken_for_what_is_not_there() {
        let of = |code| shown::<()>(Err(io::Error::from_raw_os_error(code)));
        for code in [libc::EINVAL, libc::EPERM, libc::ENODEV] {
            assert_eq!(of(code).unwrap(), None);
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::EINTR, libc::ENOMEM] {
            assert_eq!(of(code).unwrap_err().raw_os_error(), Some(code));
        }
        assert!(shown::<()>(Err(io::ErrorKind::InvalidData.into())).is_err());
        assert_eq!(shown(Ok(1)).unwrap(), Some(1));
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
