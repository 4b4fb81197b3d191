use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use addresses::AddressRange;
use serde_json::{Value, json};
use translate::Options;

use super::*;
use crate::event::{Event, News};
use crate::mirror::Mirror;
use crate::scope::Scope;
use crate::writer::{Change, Write};
use crate::{AddressMode, IngressReach};

const NOW: &str = "2026-01-01T00:00:00Z";

fn class(controller: &str) -> (ObjectKind, Value) {
    (
        ObjectKind::GatewayClass,
        json!({"metadata": {"name": "rauta", "generation": 3, "resourceVersion": "1"},
            "spec": {"controllerName": controller}}),
    )
}

pub(super) fn ours() -> (ObjectKind, Value) {
    class("rauta.io/gateway-controller")
}

pub(super) fn gateway(listeners: Value) -> (ObjectKind, Value) {
    (
        ObjectKind::Gateway,
        json!({"metadata": {"name": "web", "namespace": "shop", "generation": 7, "resourceVersion": "1"},
            "spec": {"gatewayClassName": "rauta", "listeners": listeners}}),
    )
}

pub(super) fn http() -> Value {
    json!([{"name": "http", "port": 80, "protocol": "HTTP"}])
}

fn route(spec: Value) -> (ObjectKind, Value) {
    (
        ObjectKind::HttpRoute,
        json!({"metadata": {"name": "web", "namespace": "shop", "generation": 5, "resourceVersion": "1"}, "spec": spec}),
    )
}

fn redirect() -> Value {
    json!([{"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]}])
}

fn pool(range: &str) -> AddressMode {
    let pool = [range.parse::<AddressRange>().unwrap()].into_iter().collect();
    AddressMode::Pool { pool, others: Box::new(AddressMode::Fixed(Vec::new())) }
}

fn mirror(mode: AddressMode) -> Mirror {
    Mirror::new("https://a/".to_owned(), Options::for_cluster(), mode, IngressReach::default())
}

fn changes(mirror: &mut Mirror, now: &str) -> Vec<Change> {
    let status = |write: Arc<Write>| match &*write {
        Write::Status(change) => Some(change.clone()),
        Write::Object(..) => None,
    };
    mirror.plan(now).into_iter().filter_map(status).collect()
}

/// The statuses that would be written, by object.
pub(super) fn statuses(objects: impl IntoIterator<Item = (ObjectKind, Value)>) -> BTreeMap<String, Value> {
    let mut mirror = mirror(AddressMode::Fixed(vec!["192.0.2.1".parse().unwrap()]));
    for (kind, object) in objects {
        let (scope, heard) = (Scope::All(kind), Instant::now());
        mirror.take(Event { scope, heard, news: News::Applied(object) });
    }
    mirror.build();
    let changes = changes(&mut mirror, NOW);
    changes.into_iter().map(|change| (change.object.to_string(), change.status)).collect()
}

/// `True Accepted@7`, or null.
pub(super) fn condition(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|one| one["type"] == kind);
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    found.map_or("null".to_owned(), |one| {
        assert_eq!(one["lastTransitionTime"], NOW);
        format!("{} {}@{}", text(one, "status"), text(one, "reason"), one["observedGeneration"])
    })
}

#[test]
fn a_gateway_with_a_route_is_accepted_and_programmed() {
    let route = route(json!({"parentRefs": [{"name": "web"}], "rules": redirect()}));
    let found = statuses([ours(), gateway(http()), route]);
    assert_eq!(condition(&found["GatewayClass rauta"], "Accepted"), "True Accepted@3");
    assert_eq!(condition(&found["GatewayClass rauta"], "SupportedVersion"), "Unknown Unreadable@3");
    let features = found["GatewayClass rauta"]["supportedFeatures"].to_string();
    assert!(features.contains("TLSRoute") && !features.contains("GatewayStaticAddresses"), "without a pool");
    let gateway = &found["Gateway shop/web"];
    assert_eq!(condition(gateway, "Accepted"), "True Accepted@7");
    assert_eq!(condition(gateway, "Programmed"), "True Programmed@7");
    assert_eq!(gateway["addresses"], json!([{"type": "IPAddress", "value": "192.0.2.1"}]));
    let listener = &gateway["listeners"][0];
    assert_eq!(listener["attachedRoutes"], 1);
    assert_eq!(listener["supportedKinds"][0]["kind"], "HTTPRoute");
    for (kind, wanted) in [
        ("Accepted", "True Accepted@7"),
        ("Programmed", "True Programmed@7"),
        ("ResolvedRefs", "True ResolvedRefs@7"),
        ("Conflicted", "False NoConflicts@7"),
    ] {
        assert_eq!(condition(listener, kind), wanted);
    }
    let parent = &found["HTTPRoute shop/web"]["parents"][0];
    assert_eq!(parent["parentRef"], json!({"name": "web"}));
    assert_eq!(condition(parent, "Accepted"), "True Accepted@5");
    assert_eq!(condition(parent, "ResolvedRefs"), "True ResolvedRefs@5");
}

#[test]
fn the_class_says_whether_the_release_of_the_definitions_is_supported() {
    let mut mirror = mirror(AddressMode::Fixed(Vec::new()));
    let (kind, class) = ours();
    mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news: News::Applied(class) });
    let mut said = |version: &str| {
        let annotations = json!({"gateway.networking.k8s.io/bundle-version": version});
        let news = News::Applied(json!({"metadata": {"annotations": annotations}}));
        mirror.take(Event { scope: Scope::Definition, heard: Instant::now(), news });
        mirror.build();
        let status = changes(&mut mirror, NOW).remove(0).status;
        ["Accepted", "SupportedVersion"].map(|kind| condition(&status, kind))
    };
    assert_eq!(said("v1.6.0"), ["True Accepted@3", "True SupportedVersion@3"]);
    assert_eq!(said("v1.5.0"), ["True Accepted@3", "False UnsupportedVersion@3"]);
}

#[test]
fn statuses_are_the_same_on_whichever_node_the_writer_is() {
    let labels = json!({"kubernetes.io/service-name": "near"});
    let near = |rest: Value| {
        let mut object = json!({"metadata": {"name": "near", "namespace": "shop", "labels": labels}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    let spec = json!({"internalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    let endpoints = json!([{"addresses": ["10.0.0.1"], "nodeName": "a"}]);
    let slice = json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints});
    let of = |node: &str| {
        let place = translate::Place { node: Some(node.to_owned()), zone: None };
        let options = Options { place, ..Options::for_cluster() };
        let mode = AddressMode::Fixed(vec!["192.0.2.1".parse().unwrap()]);
        let mut mirror = Mirror::new("https://a/".to_owned(), options, mode, IngressReach::default());
        let rules = json!([{"backendRefs": [{"name": "near", "port": 80}]}]);
        let objects = [
            ours(),
            gateway(http()),
            route(json!({"parentRefs": [{"name": "web"}], "rules": rules})),
            (ObjectKind::Service, near(json!({"spec": spec}))),
            (ObjectKind::EndpointSlice, near(slice.clone())),
        ];
        for (kind, object) in objects {
            mirror.take(Event {
                scope: Scope::All(kind),
                heard: Instant::now(),
                news: News::Applied(object),
            });
        }
        let endpoints: usize = mirror.build().snapshot.backends.values().map(|one| one.endpoints.len()).sum();
        (endpoints, changes(&mut mirror, NOW))
    };
    let ((here, near), (elsewhere, far)) = (of("a"), of("b"));
    assert_eq!((here, elsewhere), (1, 0));
    assert_eq!((near.len(), &near), (3, &far));
}

#[test]
fn objects_of_other_classes_are_not_spoken_of() {
    let route = route(json!({"parentRefs": [{"name": "web"}], "rules": redirect()}));
    assert_eq!(statuses([class("else/where"), gateway(http()), route]), BTreeMap::new());
}

#[test]
fn what_is_wrong_with_a_listener_stands_at_it() {
    let tls = json!({"certificateRefs": [{"name": "missing"}]});
    let listeners = json!([
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "again", "port": 80, "protocol": "HTTP"},
        {"name": "novel", "port": 81, "protocol": "example.com/novel"},
        {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls},
        {"name": "kinds", "port": 82, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "TCPRoute"}]}},
    ]);
    let found = statuses([ours(), gateway(listeners)]);
    let gateway = &found["Gateway shop/web"];
    assert_eq!(condition(gateway, "Accepted"), "True ListenersNotValid@7");
    assert_eq!(condition(gateway, "Programmed"), "True Programmed@7");
    let of = |i: usize| {
        let listener = &gateway["listeners"][i];
        ["Accepted", "Programmed", "ResolvedRefs", "Conflicted"].map(|kind| condition(listener, kind))
    };
    let (resolved, calm) = ("True ResolvedRefs@7", "False NoConflicts@7");
    let invalid = "False Invalid@7";
    let conflict = "False HostnameConflict@7";
    assert_eq!(of(1), [conflict, conflict, resolved, "True HostnameConflict@7"]);
    assert_eq!(of(2), ["False UnsupportedProtocol@7", invalid, resolved, calm]);
    assert_eq!(of(3), ["True Accepted@7", invalid, "False InvalidCertificateRef@7", calm]);
    assert_eq!(of(4)[2], "False InvalidRouteKinds@7");
    assert_eq!(gateway["listeners"][4]["supportedKinds"], json!([]));
}

#[test]
fn a_route_says_of_each_parent_what_hinders_it() {
    let backend = json!([{"backendRefs": [{"name": "missing", "port": 80}]}]);
    let parents = json!([{"name": "web"}, {"name": "web", "sectionName": "none"}, {"name": "other"}]);
    let found = statuses([ours(), gateway(http()), route(json!({"parentRefs": parents, "rules": backend}))]);
    let parents = found["HTTPRoute shop/web"]["parents"].as_array().unwrap();
    assert_eq!(parents.len(), 2, "{parents:?}");
    assert_eq!(condition(&parents[0], "Accepted"), "True Accepted@5");
    assert_eq!(condition(&parents[0], "ResolvedRefs"), "False BackendNotFound@5");
    assert_eq!(condition(&parents[1], "Accepted"), "False NoMatchingParent@5");
}

#[test]
fn a_route_that_is_not_valid_says_so_though_an_earlier_version_is_served() {
    let good = json!({"parentRefs": [{"name": "web"}], "rules": redirect()});
    let mut bad = good.clone();
    bad["rules"][0]["matches"] = json!([{"path": {"type": "RegularExpression", "value": "("}}]);
    let found = statuses([ours(), gateway(http()), route(good), route(bad)]);
    let parent = &found["HTTPRoute shop/web"]["parents"][0];
    assert_eq!(condition(parent, "Accepted"), "False UnsupportedValue@5");
    assert_eq!(found["Gateway shop/web"]["listeners"][0]["attachedRoutes"], 1);
}

#[test]
fn a_listener_set_counts_where_its_gateway_takes_it() {
    let set = |namespace: &str| {
        let metadata =
            json!({"name": "set", "namespace": namespace, "generation": 2, "resourceVersion": "1"});
        let listeners = json!([{"name": "more", "port": 8081, "protocol": "HTTP"}]);
        let parent = json!({"name": "web", "namespace": "shop"});
        let spec = json!({"parentRef": parent, "listeners": listeners});
        (ObjectKind::ListenerSet, json!({"metadata": metadata, "spec": spec}))
    };
    let mut gateway = gateway(http());
    gateway.1["spec"]["allowedListeners"] = json!({"namespaces": {"from": "Same"}});
    let found = statuses([ours(), gateway, set("shop"), set("other")]);
    assert_eq!(found["Gateway shop/web"]["attachedListenerSets"], 1);
    assert_eq!(condition(&found["ListenerSet shop/set"], "Accepted"), "True Accepted@2");
    assert_eq!(condition(&found["ListenerSet shop/set"]["listeners"][0], "Programmed"), "True Programmed@2");
    assert_eq!(condition(&found["ListenerSet other/set"], "Accepted"), "False NotAllowed@2");
}

#[test]
fn a_status_that_is_as_it_should_be_is_not_written_again() {
    let mut mirror = mirror(AddressMode::Fixed(Vec::new()));
    let mut hear = |(kind, object): (ObjectKind, Value)| {
        mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news: News::Applied(object) });
        mirror.build();
        changes(&mut mirror, "2026-02-02T00:00:00Z")
    };
    let (kind, mut object) = ours();
    let changes = hear((kind, object.clone()));
    assert_eq!(changes.len(), 1);
    object["status"] = changes[0].status.clone();
    object["metadata"]["resourceVersion"] = json!("2");
    assert_eq!(hear((kind, object)), []);
}

#[test]
fn gateways_of_a_pool_have_addresses_of_their_own_and_open_there() {
    let mut mirror = mirror(pool("10.0.0.8-10.0.0.9"));
    let mut objects = vec![ours()];
    for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
        let (kind, mut gateway) = gateway(http());
        gateway["metadata"]["name"] = json!(name);
        gateway["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{i}Z"));
        objects.push((kind, gateway));
    }
    let hear = |mirror: &mut Mirror, (kind, object): (ObjectKind, Value)| {
        mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news: News::Applied(object) });
    };
    objects.iter().for_each(|object| hear(&mut mirror, object.clone()));
    let amount = mirror.build();
    assert!(amount.snapshot.listeners.is_empty(), "nobody listens where no status says so");
    let planned: BTreeMap<_, _> = changes(&mut mirror, NOW)
        .into_iter()
        .map(|change| (change.object.to_string(), change.status))
        .collect();
    let address = |name: &str| planned[&format!("Gateway shop/{name}")]["addresses"].clone();
    assert_eq!(address("a"), json!([{"type": "IPAddress", "value": "10.0.0.8"}]));
    assert_eq!(address("b"), json!([{"type": "IPAddress", "value": "10.0.0.9"}]));
    assert_eq!(address("c"), json!([]));
    assert_eq!(condition(&planned["Gateway shop/a"], "Accepted"), "True Accepted@7");
    assert_eq!(condition(&planned["Gateway shop/a"], "Programmed"), "False Pending@7");
    assert_eq!(condition(&planned["Gateway shop/c"], "Accepted"), "True Accepted@7");
    assert_eq!(condition(&planned["Gateway shop/c"], "Programmed"), "False AddressNotAssigned@7");

    // What was written comes back.
    for (kind, mut object) in objects {
        let Some(status) =
            planned.get(&format!("{kind} shop/{}", object["metadata"]["name"].as_str().unwrap()))
        else {
            continue;
        };
        object["status"] = status.clone();
        object["metadata"]["resourceVersion"] = json!("2");
        hear(&mut mirror, (kind, object));
    }
    let amount = mirror.build();
    let listening: BTreeMap<_, _> = amount
        .snapshot
        .listeners
        .values()
        .map(|one| (one.id.to_string(), one.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        listening,
        BTreeMap::from([
            ("shop/a/http".to_owned(), vec!["10.0.0.8".to_owned()]),
            ("shop/b/http".to_owned(), vec!["10.0.0.9".to_owned()]),
        ])
    );
    let changes = changes(&mut mirror, NOW);
    let second = changes.iter().find(|change| &*change.object.name == "b").unwrap();
    assert_eq!(condition(&second.status, "Programmed"), "True Programmed@7");
}

#[test]
fn addresses_that_cannot_be_had_are_said_with_the_apis_reasons() {
    for (wanted, accepted, programmed) in [
        (
            json!([{"type": "test/fake", "value": "x"}, {"value": "10.0.0.8"}]),
            "False UnsupportedAddress@7",
            "False AddressNotUsable@7",
        ),
        (json!([{"value": "192.0.2.1"}]), "True Accepted@7", "False AddressNotUsable@7"),
        (json!([{"value": ""}, {"type": "IPAddress"}]), "True Accepted@7", "False AddressNotAssigned@7"),
    ] {
        let mut mirror = mirror(pool("10.0.0.8"));
        let (_, mut gateway) = gateway(http());
        gateway["spec"]["addresses"] = wanted;
        for (kind, object) in [ours(), (ObjectKind::Gateway, gateway)] {
            mirror.take(Event {
                scope: Scope::All(kind),
                heard: Instant::now(),
                news: News::Applied(object),
            });
        }
        mirror.build();
        let changes = changes(&mut mirror, NOW);
        let status = &changes.iter().find(|change| change.object.kind == ObjectKind::Gateway).unwrap().status;
        assert_eq!(condition(status, "Accepted"), accepted);
        assert_eq!(condition(status, "Programmed"), programmed);
    }
}

#[test]
fn routes_count_at_a_listener_that_is_not_open() {
    let tls = json!({"certificateRefs": [{"name": "missing"}]});
    let gateway = gateway(json!([{"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}]));
    let backend = json!([{"backendRefs": [{"name": "missing", "port": 80}]}]);
    let route = route(json!({"parentRefs": [{"name": "web"}], "rules": backend}));
    let found = statuses([ours(), gateway, route]);
    assert_eq!(found["Gateway shop/web"]["listeners"][0]["attachedRoutes"], 1);
    let parent = &found["HTTPRoute shop/web"]["parents"][0];
    assert_eq!(condition(parent, "Accepted"), "True Accepted@5");
    assert_eq!(condition(parent, "ResolvedRefs"), "False BackendNotFound@5");
}

#[test]
fn a_policy_speaks_of_the_gateways_whose_routes_lead_to_its_service() {
    let policy = |name: &str, ca: &str| {
        let metadata = json!({"name": name, "namespace": "shop", "generation": 4, "resourceVersion": "1"});
        let reference = json!({"group": "", "kind": "ConfigMap", "name": ca});
        let validation = json!({"caCertificateRefs": [reference], "hostname": "a.test"});
        let target = json!({"group": "", "kind": "Service", "name": "web"});
        (
            ObjectKind::BackendTlsPolicy,
            json!({"metadata": metadata, "spec": {"targetRefs": [target], "validation": validation}}),
        )
    };
    let backend = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    let route = route(json!({"parentRefs": [{"name": "web"}], "rules": backend}));
    let found =
        statuses([ours(), gateway(http()), route, policy("first", "missing"), policy("second", "missing")]);
    let ancestor = |name: &str| found[&format!("BackendTLSPolicy shop/{name}")]["ancestors"][0].clone();
    let first = ancestor("first");
    assert_eq!(first["ancestorRef"]["name"], "web");
    assert_eq!(first["controllerName"], "rauta.io/gateway-controller");
    assert_eq!(condition(&first, "Accepted"), "False NoValidCACertificate@4");
    assert_eq!(condition(&first, "ResolvedRefs"), "False InvalidCACertificateRef@4");
    assert!(condition(&ancestor("second"), "Accepted").starts_with("False "));
    let found = statuses([ours(), gateway(http()), policy("first", "missing")]);
    assert!(!found.contains_key("BackendTLSPolicy shop/first"), "no Gateway has anything to do with it");
}

#[test]
fn a_gateway_that_serves_clients_without_their_certificate_says_so() {
    let mut gateway = gateway(http());
    let validation = json!({"mode": "AllowInsecureFallback", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]});
    gateway.1["spec"]["tls"] = json!({"frontend": {"default": {"validation": validation}}});
    let status = &statuses([ours(), gateway])["Gateway shop/web"];
    assert_eq!(condition(status, "InsecureFrontendValidationMode"), "True ConfigurationChanged@7");
}

#[test]
fn an_address_that_is_being_written_is_not_given_to_another() {
    let mut mirror = mirror(pool("10.0.0.8-10.0.0.9"));
    let mut hear = |(kind, object): (ObjectKind, Value)| {
        mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news: News::Applied(object) });
        mirror.build();
        let changes = changes(&mut mirror, NOW);
        let address = |change: &Change| change.status["addresses"][0]["value"].clone();
        changes.iter().map(|one| (one.object.name.to_string(), address(one))).collect::<BTreeMap<_, _>>()
    };
    hear(ours());
    let named = |name: &str, second: u8| {
        let (kind, mut gateway) = gateway(http());
        gateway["metadata"]["name"] = json!(name);
        gateway["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{second}Z"));
        (kind, gateway)
    };
    assert_eq!(hear(named("young", 5))["young"], "10.0.0.8");
    // The older one is heard of before the status of the other has come back.
    let planned = hear(named("old", 0));
    assert_eq!((&planned["young"], &planned["old"]), (&json!("10.0.0.8"), &json!("10.0.0.9")));
}

#[test]
fn labels_of_infrastructure_are_put_on_a_service_of_the_gateway() {
    let mut mirror = mirror(pool("10.0.0.8"));
    let mut services = |objects: Vec<(ObjectKind, Value)>| {
        for (kind, object) in objects {
            mirror.take(Event {
                scope: Scope::All(kind),
                heard: Instant::now(),
                news: News::Applied(object),
            });
        }
        mirror.build();
        let object = |write: Arc<Write>| match &*write {
            Write::Object(key, value) => Some((key.to_string(), value.clone())),
            Write::Status(_) => None,
        };
        mirror.plan(NOW).into_iter().filter_map(object).collect::<Vec<_>>()
    };
    let (_, mut gateway) = gateway(http());
    gateway["metadata"]["uid"] = json!("7");
    assert!(
        services(vec![ours(), (ObjectKind::Gateway, gateway.clone())]).is_empty(),
        "nothing is to be put anywhere"
    );
    gateway["spec"]["infrastructure"] = json!({"labels": {"team": "a"}, "annotations": {"cost": "b"}});
    let planned = services(vec![(ObjectKind::Gateway, gateway.clone())]);
    let [(name, service)] = planned.as_slice() else { panic!("{planned:?}") };
    assert_eq!(name, "Service shop/web-rauta");
    let metadata = &service["metadata"];
    assert_eq!(metadata["labels"]["team"], "a");
    assert_eq!(metadata["labels"]["gateway.networking.k8s.io/gateway-name"], "web");
    assert_eq!(metadata["annotations"], json!({"cost": "b"}));
    assert_eq!(metadata["ownerReferences"][0]["uid"], "7");
    assert_eq!(service["spec"]["ports"], json!([{"name": "tcp-80", "port": 80, "protocol": "TCP"}]));

    // As the API server has it, with what it adds.
    let mut there = service.clone();
    there["spec"]["clusterIPs"] = json!(["None"]);
    there["spec"]["ports"][0]["targetPort"] = json!(80);
    assert!(services(vec![(ObjectKind::Service, there.clone())]).is_empty());
    gateway["spec"]["infrastructure"]["labels"]["team"] = json!("c");
    assert_eq!(services(vec![(ObjectKind::Gateway, gateway.clone())]).len(), 1);
    // Somebody else's Service of that name is not touched.
    there["metadata"]["labels"] = json!({});
    assert!(services(vec![(ObjectKind::Service, there)]).is_empty());
}

#[test]
fn what_was_written_does_not_undo_what_came_meanwhile() {
    let mut mirror = mirror(AddressMode::Fixed(vec!["192.0.2.1".parse().unwrap()]));
    let mut hear = |news: News, kind: ObjectKind| {
        mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news });
        mirror.build();
        changes(&mut mirror, NOW).into_iter().find(|change| change.object.kind == ObjectKind::Gateway)
    };
    let (kind, class) = ours();
    hear(News::Applied(class), kind);
    let (kind, mut object) = gateway(http());
    let first = hear(News::Applied(object.clone()), kind).unwrap();
    let mut written = object.clone();
    written["status"] = first.status.clone();
    written["metadata"]["resourceVersion"] = json!("2");
    // The spec has changed since, and the watch says so first.
    object["metadata"]["generation"] = json!(8);
    object["metadata"]["resourceVersion"] = json!("3");
    object["status"] = first.status;
    assert_eq!(hear(News::Applied(object), kind).unwrap().version, "3");
    let left = hear(News::Written { over: "1".to_owned(), object: written }, kind).unwrap();
    assert_eq!(
        (left.version.as_str(), condition(&left.status, "Accepted").as_str()),
        ("3", "True Accepted@8")
    );
}

#[test]
fn a_gateway_is_programmed_when_a_node_announces_its_address_and_stays_so_for_a_new_writer() {
    let heard = |mirror: &mut Mirror, (kind, object): (ObjectKind, Value)| {
        let news = News::Applied(object);
        mirror.take(Event { scope: Scope::All(kind), heard: Instant::now(), news });
    };
    // The status that would be written, if it is another one.
    let next = |mirror: &mut Mirror| {
        mirror.build();
        let all = changes(mirror, NOW);
        all.into_iter().find(|one| one.object.kind == ObjectKind::Gateway).map(|one| one.status)
    };
    let seen = |addresses: &[&str], is_settled| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        addresses::Announced { addresses, is_settled }
    };
    let mut mirror = mirror(pool("10.0.0.8"));
    heard(&mut mirror, ours());
    let (kind, mut object) = gateway(http());
    heard(&mut mirror, (kind, object.clone()));
    object["status"] = next(&mut mirror).unwrap();
    heard(&mut mirror, (kind, object.clone()));
    mirror.take_announced(seen(&[], true));
    object["status"] = next(&mut mirror).unwrap();
    assert_eq!(condition(&object["status"], "Programmed"), "False Pending@7");
    assert_eq!(object["status"]["conditions"][1]["message"], "no node announces 10.0.0.8");
    assert_eq!(object["status"]["addresses"][0]["value"], "10.0.0.8", "agents are to listen there");

    heard(&mut mirror, (kind, object.clone()));
    mirror.take_announced(seen(&["10.0.0.8"], true));
    object["status"] = next(&mut mirror).unwrap();
    assert_eq!(condition(&object["status"], "Programmed"), "True Programmed@7");

    // Who has just begun to look does not say otherwise, who has looked for long does.
    heard(&mut mirror, (kind, object));
    mirror.take_announced(seen(&[], false));
    assert_eq!(next(&mut mirror), None);
    mirror.take_announced(seen(&[], true));
    assert_eq!(condition(&next(&mut mirror).unwrap(), "Programmed"), "False Pending@7");
}
