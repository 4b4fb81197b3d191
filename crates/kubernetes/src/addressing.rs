//! Where Gateways listen and can be reached, in each mode; no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use addresses::{Address, Announced, Assignment, Claim, Offer, Pool};
use model::{ObjectKind, ObjectRef};
use serde_json::Value;

use crate::event::News;
use crate::hosts::Hosts;
use crate::scope::Scope;
use crate::status::Reach;

/// Where Gateways can be reached.
#[derive(Clone, Debug)]
pub enum AddressMode {
    /// At these addresses, where they name none. They listen on all addresses.
    Fixed(Vec<IpAddr>),
    /// At those of all ready nodes that run a ready agent. They listen on all addresses, or on those that they name.
    Nodes {
        /// The namespace of the agents' Pods.
        namespace: String,
        /// This agent's Pod; the others have the same controller.
        pod: String,
    },
    /// At those that a Service has in its `status.loadBalancer`. They listen on all addresses.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Each at its own, out of a pool: the agent that writes statuses gives them, and all agents listen there.
    Pool {
        /// What there is to give.
        pool: Pool,
        /// Where listeners of no Gateway are reached, which have no address of their own.
        others: Box<Self>,
    },
}

/// The mode, and what is known that it takes.
#[derive(Debug)]
pub(crate) enum Addressing {
    Fixed(Vec<IpAddr>),
    Nodes { namespace: String, hosts: Hosts },
    Service(Balancer),
    Pool(Pooled),
}

/// A Service that brings all Gateways their traffic.
#[derive(Debug)]
pub(crate) struct Balancer {
    key: ObjectRef,
    /// Its `status.loadBalancer`; none: there is no such Service.
    has: Option<Value>,
}

/// A pool, and what was given of it.
#[derive(Debug)]
pub(crate) struct Pooled {
    pool: Pool,
    /// Addresses that this agent has given and no status says yet: what is being written must not be given to another.
    given: BTreeMap<ObjectRef, Vec<IpAddr>>,
    /// What nodes announce; none: they do not, the network brings addresses by other means.
    announced: Option<Announced>,
    /// Of listeners of no Gateway.
    others: Box<Addressing>,
}

impl Addressing {
    pub(crate) fn new(mode: AddressMode) -> Self {
        match mode {
            AddressMode::Fixed(addresses) => Self::Fixed(addresses),
            AddressMode::Nodes { namespace, pod } => Self::Nodes { namespace, hosts: Hosts::new(pod) },
            AddressMode::Service { namespace, name } => {
                let key = ObjectRef::new(ObjectKind::Service, &namespace, &name);
                Self::Service(Balancer { key, has: None })
            }
            AddressMode::Pool { pool, others } => {
                let others = Box::new(Self::new(*others));
                Self::Pool(Pooled { pool, given: BTreeMap::new(), announced: None, others })
            }
        }
    }

    /// What the agent that writes has to watch besides.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Nodes { namespace, .. } => vec![Scope::Nodes, Scope::Pods(namespace.as_str().into())],
            Self::Pool(pooled) => pooled.others.scopes(),
            Self::Fixed(_) | Self::Service(_) => Vec::new(),
        }
    }

    /// Whether Gateways listen where it says, not where they say.
    pub(crate) fn assigns(&self) -> bool {
        matches!(self, Self::Service(_) | Self::Pool(_))
    }

    /// Takes in what was heard of nodes or Pods; whether addresses may be others now.
    pub(crate) fn take(&mut self, scope: &Scope, news: &News) -> bool {
        match self {
            Self::Nodes { hosts, .. } => hosts.take(scope, news),
            Self::Pool(pooled) => pooled.others.take(scope, news),
            Self::Fixed(_) | Self::Service(_) => false,
        }
    }

    /// Forgets what was read of nodes or Pods, which are no longer watched.
    pub(crate) fn forget(&mut self, scope: &Scope) {
        self.take(scope, &News::Listed(Vec::new()));
    }

    /// Takes in an object that is there with this status, or is not; whether addresses may be others now.
    pub(crate) fn take_object(&mut self, key: &ObjectRef, status: Option<&Value>) -> bool {
        let balancer = match self {
            Self::Service(balancer) => balancer,
            Self::Pool(pooled) => return pooled.others.take_object(key, status),
            Self::Fixed(_) | Self::Nodes { .. } => return false,
        };
        let has = status.map(|status| status["loadBalancer"].clone());
        let is_new = balancer.key == *key && balancer.has != has;
        if is_new {
            balancer.has = has;
        }
        is_new
    }

    /// Takes in what nodes announce; whether that is new.
    pub(crate) fn take_announced(&mut self, now: Announced) -> bool {
        let Self::Pool(pooled) = self else { return false };
        let is_new = pooled.announced.as_ref() != Some(&now);
        pooled.announced = Some(now);
        is_new
    }

    /// Another agent gives addresses now.
    pub(crate) fn forget_given(&mut self) {
        if let Self::Pool(pooled) = self {
            pooled.given.clear();
        }
    }

    /// Where Gateways listen, as [`translate::Store::assign`] takes it.
    pub(crate) fn listen(&self, claims: &[Claim]) -> Vec<(ObjectRef, Option<Vec<IpAddr>>)> {
        match self {
            Self::Fixed(_) | Self::Nodes { .. } => Vec::new(),
            // Who asks for an address that it does not have would be open at another one.
            Self::Service(balancer) => {
                let offer = balancer.offer();
                let is_open = |claim: &Claim| {
                    claim.wanted.is_empty() || !addresses::share(&offer, &claim.wanted).addresses.is_empty()
                };
                claims.iter().map(|one| (one.gateway.clone(), is_open(one).then(Vec::new))).collect()
            }
            Self::Pool(Pooled { pool, .. }) => addresses::confirm(pool, claims)
                .into_iter()
                .map(|(gateway, has)| (gateway, Some(has).filter(|has| !has.is_empty())))
                .collect(),
        }
    }

    /// Where Gateways can be reached. `is_programmed`: what the status of one says so far.
    pub(crate) fn reach(
        &mut self,
        mut claims: Vec<Claim>,
        is_programmed: &dyn Fn(&ObjectRef) -> bool,
    ) -> Reach {
        let shared = |claims: Vec<Claim>, offer: &Offer, is_unknown: bool| {
            let of = |claim: Claim| match is_unknown && !claim.held.is_empty() {
                true => Assignment { addresses: claim.held, problems: Vec::new() }.into(),
                false => addresses::share(offer, &claim.wanted),
            };
            let gateways = claims.into_iter().map(|one| (one.gateway.clone(), of(one))).collect();
            Reach::Shared { all: addresses::share(offer, &[]).addresses, gateways, is_unknown }
        };
        match self {
            Self::Fixed(addresses) => Reach::Fixed(addresses.clone()),
            Self::Nodes { hosts, .. } => {
                let offer = hosts.offer();
                // Whoever writes this runs on a node. That none is found means that nodes or Pods may not be read, or that this agent
                // has just begun and is not ready yet: no reason to take the addresses out of DNS.
                let is_unknown = offer.addresses.is_empty();
                shared(claims, &offer, is_unknown)
            }
            Self::Service(balancer) => shared(claims, &balancer.offer(), false),
            Self::Pool(Pooled { pool, given, announced, others }) => {
                for claim in claims.iter_mut().filter(|claim| claim.held.is_empty()) {
                    claim.held = given.remove(&claim.gateway).unwrap_or_default();
                }
                let all = addresses::allocate(pool, &claims);
                *given = all.iter().map(|(gateway, has)| (gateway.clone(), has.addresses.clone())).collect();
                let silent = announced.as_ref().map(|seen| silent(&all, seen, is_programmed));
                let others = Box::new(others.reach(Vec::new(), is_programmed));
                Reach::Assigned { all, silent: silent.unwrap_or_default(), others }
            }
        }
    }
}

/// The assigned addresses that no node announces. Who has not watched for long goes by what statuses say.
fn silent(
    all: &BTreeMap<ObjectRef, Assignment>,
    seen: &Announced,
    is_programmed: impl Fn(&ObjectRef) -> bool,
) -> BTreeSet<IpAddr> {
    all.iter()
        .filter(|(gateway, _)| seen.is_settled || !is_programmed(gateway))
        .flat_map(|(_, has)| has.addresses.iter().copied())
        .filter(|address| !seen.addresses.contains(address))
        .collect()
}

impl Balancer {
    fn offer(&self) -> Offer {
        let key = &self.key;
        let entries = self.has.iter().flat_map(|has| has["ingress"].as_array()).flatten();
        let address = |one: &Value| match one["ip"].as_str().and_then(|ip| ip.parse().ok()) {
            Some(ip) => Some(Address::Ip(ip)),
            None => one["hostname"].as_str().map(|name| Address::Hostname(name.to_owned())),
        };
        let lack = match self.has {
            Some(_) => {
                format!("{key} has no address in its status.loadBalancer: see kubectl describe service")
            }
            None => format!("there is no {key}, which addresses.service names"),
        };
        Offer {
            addresses: entries.filter_map(address).collect(),
            others: Vec::new(),
            owner: key.to_string(),
            lack,
        }
    }
}

#[cfg(test)]
mod tests {
    use addresses::Wanted;
    use serde_json::json;

    use super::*;

    fn gateway(name: &str) -> ObjectRef {
        ObjectRef::new(ObjectKind::Gateway, "shop", name)
    }

    fn claim(name: &str, wanted: &[&str]) -> Claim {
        let wanted = wanted.iter().map(|text| Wanted::read(None, Some(text))).collect();
        Claim { gateway: gateway(name), created_unix_s: None, wanted, held: Vec::new() }
    }

    fn balanced(status: Option<&Value>) -> Addressing {
        let mode = AddressMode::Service { namespace: "net".to_owned(), name: "rauta".to_owned() };
        let mut addressing = Addressing::new(mode);
        let key = ObjectRef::new(ObjectKind::Service, "net", "rauta");
        assert_eq!(addressing.take_object(&key, status), status.is_some());
        assert!(!addressing.take_object(&key, status), "nothing is new");
        assert!(!addressing.take_object(&ObjectRef::new(ObjectKind::Service, "net", "x"), status));
        addressing
    }

    fn shares(addressing: &mut Addressing, claims: Vec<Claim>) -> Vec<(Vec<String>, Vec<String>)> {
        let Reach::Shared { gateways: all, .. } = addressing.reach(claims, &|_| false) else {
            panic!("not shared")
        };
        let text = |share: &addresses::Share| {
            let problems = share.problems.iter().map(ToString::to_string).collect();
            (share.addresses.iter().map(ToString::to_string).collect(), problems)
        };
        all.values().map(text).collect()
    }

    #[test]
    fn all_gateways_have_what_the_service_has() {
        let entries =
            json!([{"ip": "192.0.2.1"}, {"hostname": "lb.test"}, {"ip": "2001:db8::1", "hostname": "x"}]);
        let mut addressing = balanced(Some(&json!({"loadBalancer": {"ingress": entries}})));
        let claims = || vec![claim("a", &[]), claim("b", &["2001:db8::1"]), claim("c", &["192.0.2.9"])];
        let shares = shares(&mut addressing, claims());
        assert_eq!(shares[0].0, ["192.0.2.1", "lb.test", "2001:db8::1"]);
        assert_eq!(shares[1].0, ["2001:db8::1"]);
        assert!(shares[2].1[0].contains("192.0.2.9 is no address of Service net/rauta"), "{shares:?}");
        let listens: Vec<_> = addressing.listen(&claims()).into_iter().map(|(_, at)| at).collect();
        assert_eq!(
            listens,
            [Some(vec![]), Some(vec![]), None],
            "all addresses, and not where it did not ask to be"
        );
    }

    #[test]
    fn a_service_without_an_address_or_none_at_all_is_named() {
        for (status, why) in [
            (None, "there is no Service net/rauta"),
            (Some(json!({"loadBalancer": {}})), "Service net/rauta has no address"),
        ] {
            let shares = shares(&mut balanced(status.as_ref()), vec![claim("a", &[])]);
            assert!(shares[0].0.is_empty() && shares[0].1[0].contains(why), "{shares:?}");
        }
    }

    #[test]
    fn where_no_node_is_found_what_gateways_have_stays() {
        let mode = AddressMode::Nodes { namespace: "rauta".to_owned(), pod: "rauta-a".to_owned() };
        let held = Claim { held: vec!["192.0.2.1".parse().unwrap()], ..claim("a", &[]) };
        let shares = shares(&mut Addressing::new(mode), vec![held, claim("b", &[])]);
        assert_eq!(shares[0], (vec!["192.0.2.1".to_owned()], vec![]));
        assert!(shares[1].0.is_empty() && shares[1].1[0].contains("no ready node"), "{shares:?}");
    }

    #[test]
    fn what_nobody_announces_is_silent_unless_it_was_not_watched_for_long() {
        let pool: Pool =
            ["10.0.0.1-10.0.0.2".parse::<addresses::AddressRange>().unwrap()].into_iter().collect();
        let others = Box::new(AddressMode::Fixed(Vec::new()));
        let mut addressing = Addressing::new(AddressMode::Pool { pool, others });
        let silent = |addressing: &mut Addressing| {
            let claims = vec![claim("a", &[]), claim("b", &[])];
            match addressing.reach(claims, &|key| *key == gateway("b")) {
                Reach::Assigned { silent, .. } => silent.iter().map(ToString::to_string).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(silent(&mut addressing), [] as [&str; 0], "nobody announces here");
        let none = Announced { addresses: BTreeSet::new(), is_settled: false };
        assert!(addressing.take_announced(none.clone()) && !addressing.take_announced(none.clone()));
        assert_eq!(silent(&mut addressing), ["10.0.0.1"], "the other one is programmed");
        addressing.take_announced(Announced { is_settled: true, ..none });
        assert_eq!(silent(&mut addressing), ["10.0.0.1", "10.0.0.2"]);
        let both = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()).into();
        addressing.take_announced(Announced { addresses: both, is_settled: false });
        assert_eq!(silent(&mut addressing), [] as [&str; 0]);
    }
}
