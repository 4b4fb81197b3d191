use std::cell::OnceCell;
use std::collections::HashSet;
use std::net::IpAddr;

use addresses::Address;
use model::{ListenerId, ObjectKind, ObjectRef};
use serde_json::{Value, json};

use super::Facts;
use crate::IngressReach;

/// What the status of Ingresses follows from.
#[derive(Debug)]
pub(crate) struct Ingresses<'a> {
    /// Those that are ours.
    pub(crate) ours: HashSet<&'a ObjectRef>,
    /// Those whose addresses were written last by this gateway.
    pub(crate) written: HashSet<&'a ObjectRef>,
    /// Where Ingresses are served.
    pub(crate) listeners: &'a [ListenerId],
    pub(crate) reach: &'a IngressReach,
    /// What stands in the status of each of ours, once it is known.
    pub(crate) entries: OnceCell<Vec<Value>>,
}

/// The status of an Ingress: where it can be reached, if it is ours. What others have written stays where there is nothing to say.
pub(super) fn status(key: &ObjectRef, facts: &Facts<'_>) -> Option<Value> {
    let all = &facts.ingresses;
    let entries: &[Value] = match all.ours.contains(key) {
        true => all.entries.get_or_init(|| entries(facts)),
        false => &[],
    };
    let is_written = all.written.contains(key);
    let is_unknown = all.ours.contains(key) && facts.reach.is_unknown();
    let stays = is_written && is_unknown && (entries.is_empty() || says_all(all.listeners, all.reach));
    let is_said = !stays && (is_written || !entries.is_empty());
    is_said.then(|| json!({"loadBalancer": {"ingress": entries}}))
}

/// What stands in the status of every Ingress of ours.
fn entries(facts: &Facts<'_>) -> Vec<Value> {
    let Ingresses { listeners, reach, .. } = &facts.ingresses;
    let published = reach.published.iter().map(|name| match name.parse() {
        Ok(address) => Address::Ip(address),
        Err(_) => Address::Hostname(name.clone()),
    });
    let mut addresses: Vec<Address> = published.collect();
    if addresses.is_empty() {
        addresses.extend(listeners.iter().flat_map(|listener| reached(listener, facts)));
        addresses.sort_unstable();
        addresses.dedup();
    }
    // Names behind addresses, however they were said.
    addresses.sort_by_key(|address| matches!(address, Address::Hostname(_)));
    let entry = |address: &Address| match address {
        Address::Ip(address) => json!({"ip": address}),
        Address::Hostname(name) => json!({"hostname": name}),
    };
    addresses.iter().map(entry).collect()
}

/// Whether Ingresses say where all is reached that has no address of its own.
fn says_all(listeners: &[ListenerId], reach: &IngressReach) -> bool {
    reach.published.is_empty()
        && listeners.iter().any(|listener| own(listener, reach).is_some_and(<[_]>::is_empty))
}

/// The addresses that a default listener was given by the settings, empty: all; none: it is a Gateway's.
fn own<'r>(listener: &ListenerId, reach: &'r IngressReach) -> Option<&'r [IpAddr]> {
    let addresses = if *listener == ListenerId::default_https() { &reach.https } else { &reach.listener };
    listener.is_default().then_some(addresses)
}

/// The addresses of a listener: its Gateway's, or those of a default one.
fn reached(listener: &ListenerId, facts: &Facts<'_>) -> Vec<Address> {
    match own(listener, facts.ingresses.reach) {
        Some([]) => return facts.reach.of_all(),
        Some(own) => return own.iter().copied().map(Address::Ip).collect(),
        None => {}
    }
    let gateway = ObjectRef::new(ObjectKind::Gateway, &listener.namespace, &listener.gateway);
    let spec = facts.object(&gateway).map_or(&Value::Null, |gateway| &gateway["spec"]);
    facts.reach.of(&gateway, spec, &[]).addresses
}

/// Whether this gateway was the last to write the addresses of an Ingress, as its `managedFields` have it.
pub(crate) fn has_written(ingress: &Value, manager: &str) -> bool {
    let is_it = |one: &&Value| one["manager"] == *manager && one["subresource"] == "status";
    let mut all = ingress["metadata"]["managedFields"].as_array().into_iter().flatten().filter(is_it);
    all.any(|one| !one["fieldsV1"]["f:status"]["f:loadBalancer"]["f:ingress"].is_null())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use addresses::AddressRange;
    use translate::Options;

    use super::*;
    use crate::AddressMode;
    use crate::event::{Event, News};
    use crate::mirror::Mirror;
    use crate::scope::Scope;
    use crate::writer::Write;

    fn mirror(reach: IngressReach) -> Mirror {
        let mode = AddressMode::Fixed(vec!["192.0.2.1".parse().unwrap()]);
        Mirror::new("https://a/".to_owned(), Options::for_cluster(), mode, reach)
    }

    fn hear(mirror: &mut Mirror, kind: ObjectKind, object: Value) {
        mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news: News::Applied(object) });
    }

    fn class(name: &str, controller: &str, is_default: &str) -> Value {
        let annotations = json!({"ingressclass.kubernetes.io/is-default-class": is_default});
        json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": controller}})
    }

    /// An Ingress of this class, if any.
    fn ingress(class: Option<&str>) -> Value {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"},
            "spec": {"ingressClassName": class, "defaultBackend": backend}, "status": {"loadBalancer": {}}})
    }

    /// What would be written over each Ingress.
    fn planned(mirror: &mut Mirror) -> Vec<Value> {
        mirror.build();
        let of = |write: &Arc<Write>| match &**write {
            Write::Status(change) if change.object.kind == ObjectKind::Ingress => {
                Some(change.status["loadBalancer"]["ingress"].clone())
            }
            _ => None,
        };
        mirror.plan("2026-01-01T00:00:00Z").iter().filter_map(of).collect()
    }

    fn with_classes(reach: IngressReach) -> Mirror {
        let mut mirror = mirror(reach);
        hear(&mut mirror, ObjectKind::IngressClass, class("rauta", "rauta.io/ingress-controller", "true"));
        hear(&mut mirror, ObjectKind::IngressClass, class("other", "else/where", "false"));
        mirror
    }

    fn written(mut ingress: Value, addresses: Value, manager: &str) -> Value {
        ingress["status"] = json!({"loadBalancer": {"ingress": addresses}});
        let fields = json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}});
        ingress["metadata"]["managedFields"] =
            json!([{"manager": manager, "operation": "Update", "subresource": "status", "fieldsV1": fields}]);
        ingress
    }

    #[test]
    fn ingresses_of_ours_say_where_they_are_reached() {
        for class in [Some("rauta"), None] {
            let mut mirror = with_classes(IngressReach::default());
            hear(&mut mirror, ObjectKind::Ingress, ingress(class));
            let addresses = json!([{"ip": "192.0.2.1"}]);
            assert_eq!(planned(&mut mirror), std::slice::from_ref(&addresses));
            hear(&mut mirror, ObjectKind::Ingress, written(ingress(class), addresses, "rauta"));
            assert_eq!(planned(&mut mirror), [] as [Value; 0], "it is as it should be");
        }
    }

    #[test]
    fn what_is_published_counts_before_what_is_known() {
        let published = vec!["192.0.2.7".to_owned(), "lb.example.com".to_owned()];
        let mut mirror = with_classes(IngressReach { published, ..IngressReach::default() });
        hear(&mut mirror, ObjectKind::Ingress, ingress(Some("rauta")));
        assert_eq!(planned(&mut mirror), [json!([{"ip": "192.0.2.7"}, {"hostname": "lb.example.com"}])]);
        let listener = vec!["192.0.2.8".parse().unwrap()];
        let mut mirror = with_classes(IngressReach { listener, ..IngressReach::default() });
        hear(&mut mirror, ObjectKind::Ingress, ingress(Some("rauta")));
        assert_eq!(planned(&mut mirror), [json!([{"ip": "192.0.2.8"}])]);
    }

    /// A Gateway on the port of Ingresses, which has 10.0.0.8 of a pool.
    fn hear_gateway(mirror: &mut Mirror) {
        let spec = json!({"controllerName": "rauta.io/gateway-controller"});
        hear(mirror, ObjectKind::GatewayClass, json!({"metadata": {"name": "rauta"}, "spec": spec}));
        let listeners = json!([{"name": "http", "port": 8080, "protocol": "HTTP"}]);
        let gateway = json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"},
            "spec": {"gatewayClassName": "rauta", "listeners": listeners},
            "status": {"addresses": [{"type": "IPAddress", "value": "10.0.0.8"}]}});
        hear(mirror, ObjectKind::Gateway, gateway);
    }

    #[test]
    fn a_gateway_on_the_default_port_brings_its_address() {
        let pool = ["10.0.0.8".parse::<AddressRange>().unwrap()].into_iter().collect();
        let reach = IngressReach { listener: vec!["192.0.2.8".parse().unwrap()], ..IngressReach::default() };
        let others = Box::new(AddressMode::Fixed(vec!["192.0.2.1".parse().unwrap()]));
        let mode = AddressMode::Pool { pool, others };
        let mut mirror = Mirror::new("https://a/".to_owned(), Options::for_cluster(), mode, reach);
        hear(&mut mirror, ObjectKind::IngressClass, class("rauta", "rauta.io/ingress-controller", "true"));
        hear_gateway(&mut mirror);
        hear(&mut mirror, ObjectKind::Ingress, ingress(None));
        assert_eq!(planned(&mut mirror), [json!([{"ip": "10.0.0.8"}, {"ip": "192.0.2.8"}])]);
    }

    #[test]
    fn beside_a_pool_ingresses_are_reached_at_the_nodes_and_stay_there_while_none_is_known() {
        let pool = ["10.0.0.8".parse::<AddressRange>().unwrap()].into_iter().collect();
        let others = Box::new(AddressMode::Nodes { namespace: "net".to_owned(), pod: "a".to_owned() });
        let mode = AddressMode::Pool { pool, others };
        let mut mirror =
            Mirror::new("https://a/".to_owned(), Options::for_cluster(), mode, IngressReach::default());
        assert_eq!(mirror.leading(), [Scope::Nodes, Scope::Pods("net".into()), Scope::Definition]);
        let tell = |mirror: &mut Mirror, scope: Scope, object: Value| {
            mirror.take(Event { scope, heard: Instant::now(), news: News::Applied(object) });
        };
        let ready =
            |is_ready: bool| json!([{"type": "Ready", "status": if is_ready { "True" } else { "False" }}]);
        let pod = |is_ready: bool| json!({"metadata": {"name": "a"}, "spec": {"nodeName": "one"}, "status": {"conditions": ready(is_ready)}});
        let addresses = json!([{"type": "InternalIP", "address": "10.0.0.1"}]);
        let node = json!({"metadata": {"name": "one"}, "status": {"conditions": ready(true), "addresses": addresses}});
        hear(&mut mirror, ObjectKind::IngressClass, class("rauta", "rauta.io/ingress-controller", "true"));
        hear(&mut mirror, ObjectKind::Ingress, ingress(None));
        assert_eq!(planned(&mut mirror), [] as [Value; 0]);
        tell(&mut mirror, Scope::Nodes, node);
        tell(&mut mirror, Scope::Pods("net".into()), pod(true));
        let at_the_node = json!([{"ip": "10.0.0.1"}]);
        assert_eq!(planned(&mut mirror), std::slice::from_ref(&at_the_node));
        hear(&mut mirror, ObjectKind::Ingress, written(ingress(None), at_the_node, "rauta"));
        tell(&mut mirror, Scope::Pods("net".into()), pod(false));
        assert_eq!(planned(&mut mirror), [] as [Value; 0]);
        // Nor does a Gateway on the port take the nodes' away meanwhile.
        hear_gateway(&mut mirror);
        assert_eq!(planned(&mut mirror), [] as [Value; 0]);
        tell(&mut mirror, Scope::Pods("net".into()), pod(true));
        assert_eq!(planned(&mut mirror), [json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.8"}])]);
    }

    #[test]
    fn an_ingress_that_is_ours_no_longer_loses_what_we_wrote_and_nothing_else() {
        let mut mirror = with_classes(IngressReach::default());
        let theirs = json!([{"ip": "198.51.100.1"}]);
        hear(&mut mirror, ObjectKind::Ingress, written(ingress(Some("other")), theirs.clone(), "else"));
        assert_eq!(planned(&mut mirror), [] as [Value; 0]);
        // The first of ours replaces what was there before.
        hear(&mut mirror, ObjectKind::Ingress, written(ingress(Some("rauta")), theirs.clone(), "else"));
        let ours = json!([{"ip": "192.0.2.1"}]);
        assert_eq!(planned(&mut mirror), std::slice::from_ref(&ours));
        hear(&mut mirror, ObjectKind::Ingress, written(ingress(Some("other")), ours, "rauta"));
        assert_eq!(planned(&mut mirror), [json!([])]);
        // So it is read back: an empty list is not there.
        let mut left = ingress(Some("other"));
        left["status"] = json!({"loadBalancer": {}});
        hear(&mut mirror, ObjectKind::Ingress, left);
        assert_eq!(planned(&mut mirror), [] as [Value; 0]);
        // The default class goes: the Ingress without one is nobody's.
        hear(&mut mirror, ObjectKind::Ingress, written(ingress(None), json!([{"ip": "192.0.2.1"}]), "rauta"));
        assert_eq!(planned(&mut mirror), [] as [Value; 0]);
        hear(&mut mirror, ObjectKind::IngressClass, class("rauta", "rauta.io/ingress-controller", "false"));
        assert_eq!(planned(&mut mirror), [json!([])]);
    }
}
