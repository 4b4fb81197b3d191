//! Which nodes run an agent, and by which addresses they are reached: of Nodes and Pods what that takes, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use addresses::{Address, Offer};
use serde_json::Value;

use crate::event::News;
use crate::scope::Scope;

/// The nodes of a cluster, and the Pods beside this agent's.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// This agent's Pod. Those with the same controller are the other agents.
    pod: String,
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<String, Pod>,
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    is_ready: bool,
    external: Vec<IpAddr>,
    internal: Vec<IpAddr>,
}

#[derive(Debug, PartialEq, Eq)]
struct Pod {
    /// The `uid` of the DaemonSet that it is of.
    controller: Option<String>,
    node: String,
    /// Ready, and not about to end.
    is_ready: bool,
}

impl Hosts {
    /// Knows nothing yet; `pod` is this agent's.
    pub(crate) fn new(pod: String) -> Self {
        Self { pod, nodes: BTreeMap::new(), pods: BTreeMap::new() }
    }

    /// Takes in what was heard of `scope`; whether addresses may be others now. Kubelets write their node's status every few minutes, and
    /// nothing that counts here is different.
    pub(crate) fn take(&mut self, scope: &Scope, news: &News) -> bool {
        match scope {
            Scope::Nodes => take(&mut self.nodes, news, node),
            _ => take(&mut self.pods, news, pod),
        }
    }

    /// The addresses of all ready nodes with a ready agent: of each node, and each family, the external ones, or else the internal ones.
    pub(crate) fn offer(&self) -> Offer {
        let (mut preferred, mut all) = (BTreeSet::new(), BTreeSet::new());
        for node in self.running() {
            let is_external = |family: bool| node.external.iter().any(|one| one.is_ipv4() == family);
            let internal = node.internal.iter().filter(|one| !is_external(one.is_ipv4()));
            preferred.extend(node.external.iter().chain(internal).copied().map(Address::Ip));
            all.extend(node.external.iter().chain(&node.internal).copied().map(Address::Ip));
        }
        Offer {
            others: all.difference(&preferred).cloned().collect(),
            addresses: preferred.into_iter().collect(),
            owner: "a ready node that runs a ready agent".to_owned(),
            lack: "no ready node with an address runs a ready agent: see the nodes, and the agents' Pods, or name addresses in \
                   addresses.nodes"
                .to_owned(),
        }
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        let own = self.pods.get(&self.pod).and_then(|pod| pod.controller.as_ref());
        let is_agent = move |name: &String, pod: &Pod| {
            *name == self.pod || (own.is_some() && pod.controller.as_ref() == own)
        };
        let names: BTreeSet<_> = self
            .pods
            .iter()
            .filter(|(name, pod)| pod.is_ready && is_agent(name, pod))
            .map(|(_, pod)| &pod.node)
            .collect();
        names.into_iter().filter_map(|name| self.nodes.get(name)).filter(|node| node.is_ready)
    }
}

fn take<T: PartialEq>(all: &mut BTreeMap<String, T>, news: &News, read: impl Fn(&Value) -> T) -> bool {
    let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
    match news {
        News::Listed(objects) => {
            let now = objects.iter().filter_map(|one| Some((name(one)?, read(one)))).collect();
            let is_new = *all != now;
            *all = now;
            is_new
        }
        News::Applied(object) | News::Written { object, .. } => name(object).is_some_and(|name| {
            let now = read(object);
            let is_new = all.get(&name) != Some(&now);
            all.insert(name, now);
            is_new
        }),
        News::Deleted(object) => name(object).is_some_and(|name| all.remove(&name).is_some()),
        // What was read stays in force.
        News::Failed(_) | News::Resumed => false,
    }
}

fn node(object: &Value) -> Node {
    let of = |kind: &str| {
        let all = object["status"]["addresses"].as_array().into_iter().flatten();
        all.filter(|one| one["type"] == *kind)
            .filter_map(|one| one["address"].as_str()?.parse().ok())
            .collect()
    };
    Node { is_ready: is_ready(object), external: of("ExternalIP"), internal: of("InternalIP") }
}

fn pod(object: &Value) -> Pod {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let controller = owners.into_iter().find(|owner| owner["controller"] == true);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Pod {
        controller: controller.and_then(|owner| text(&owner["uid"])),
        node: text(&object["spec"]["nodeName"]).unwrap_or_default(),
        is_ready: is_ready(object) && object["metadata"]["deletionTimestamp"].is_null(),
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ready(is_ready: bool) -> Value {
        json!([{"type": "Ready", "status": if is_ready { "True" } else { "Unknown" }}])
    }

    fn node(name: &str, is_ready: bool, addresses: &[(&str, &str)]) -> Value {
        let addresses: Vec<_> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        json!({"metadata": {"name": name}, "status": {"conditions": ready(is_ready), "addresses": addresses}})
    }

    fn pod(name: &str, controller: &str, node: &str, is_ready: bool) -> Value {
        let owner = json!({"kind": "DaemonSet", "name": "d", "uid": controller, "controller": true});
        json!({"metadata": {"name": name, "ownerReferences": [owner]}, "spec": {"nodeName": node},
            "status": {"conditions": ready(is_ready)}})
    }

    fn hosts(nodes: Vec<Value>, pods: Vec<Value>) -> Hosts {
        let mut hosts = Hosts::new("a".to_owned());
        assert!(hosts.take(&Scope::Nodes, &News::Listed(nodes)));
        assert!(hosts.take(&Scope::Pods("net".into()), &News::Listed(pods)));
        hosts
    }

    fn shown(hosts: &Hosts) -> (Vec<String>, Vec<String>) {
        let text = |all: Vec<Address>| all.iter().map(ToString::to_string).collect();
        let Offer { addresses, others, .. } = hosts.offer();
        (text(addresses), text(others))
    }

    fn two() -> Hosts {
        hosts(
            vec![
                node("one", true, &[("InternalIP", "10.0.0.1"), ("Hostname", "one")]),
                node("two", true, &[("InternalIP", "10.0.0.2")]),
                node("three", true, &[("InternalIP", "10.0.0.3")]),
            ],
            // The one on the third node is another program's.
            vec![pod("a", "u", "one", true), pod("b", "u", "two", true), pod("c", "v", "three", true)],
        )
    }

    #[test]
    fn nodes_with_a_ready_agent_count_and_no_others() {
        let mut hosts = two();
        assert_eq!(shown(&hosts).0, ["10.0.0.1", "10.0.0.2"]);
        let pods = Scope::Pods("net".into());
        assert!(hosts.take(&pods, &News::Applied(pod("b", "u", "two", false))));
        assert_eq!(shown(&hosts).0, ["10.0.0.1"]);
        // Another Pod of the same node, before the one that ends is gone.
        assert!(hosts.take(&pods, &News::Applied(pod("d", "u", "two", true))));
        assert_eq!(shown(&hosts).0, ["10.0.0.1", "10.0.0.2"]);
        let mut ending = pod("d", "u", "two", true);
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(hosts.take(&pods, &News::Applied(ending)));
        assert_eq!(shown(&hosts).0, ["10.0.0.1"]);
    }

    #[test]
    fn a_node_that_is_gone_or_not_ready_has_no_address() {
        let mut hosts = two();
        let unready = node("one", false, &[("InternalIP", "10.0.0.1")]);
        assert!(hosts.take(&Scope::Nodes, &News::Applied(unready.clone())));
        assert_eq!(shown(&hosts).0, ["10.0.0.2"]);
        assert!(!hosts.take(&Scope::Nodes, &News::Applied(unready)), "nothing is new");
        assert!(hosts.take(&Scope::Nodes, &News::Deleted(node("two", true, &[]))));
        assert_eq!(shown(&hosts), (vec![], vec![]));
    }

    #[test]
    fn external_addresses_come_before_internal_ones_of_their_family() {
        let addresses = [
            ("InternalIP", "10.0.0.1"),
            ("ExternalIP", "192.0.2.1"),
            ("InternalIP", "fd00::1"),
            ("ExternalDNS", "a.test"),
        ];
        let hosts = hosts(vec![node("one", true, &addresses)], vec![pod("a", "u", "one", true)]);
        let (addresses, others) = shown(&hosts);
        assert_eq!(addresses, ["192.0.2.1", "fd00::1"]);
        assert_eq!(others, ["10.0.0.1"], "it may be asked for");
    }

    #[test]
    fn a_pod_that_nobody_controls_is_alone() {
        let mut lone = pod("a", "u", "one", true);
        lone["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        let mut other = lone.clone();
        other["metadata"]["name"] = json!("b");
        other["spec"]["nodeName"] = json!("two");
        let mut both = hosts(vec![node("two", true, &[("InternalIP", "10.0.0.2")])], vec![lone, other]);
        assert_eq!(shown(&both).0, [] as [&str; 0], "the other Pod's node");
        assert!(both.take(&Scope::Nodes, &News::Applied(node("one", true, &[("InternalIP", "10.0.0.1")]))));
        assert_eq!(shown(&both).0, ["10.0.0.1"]);
    }
}
