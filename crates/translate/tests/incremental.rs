//! A store that is changed step by step gives what a new store gives for the same objects.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::collections::BTreeMap;
use std::sync::Arc;

use corpus::Dice;
use model::{ListenerId, ObjectKind, ObjectRef};
use serde_json::{Value, json};
use translate::{Object, Options, Store};

/// One of these names.
fn of<'t>(dice: &mut Dice, all: &[&'t str]) -> &'t str {
    all[dice.below(all.len())]
}

/// The Secrets of a case.
fn secrets() -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(include_str!("cases/ingress_tls.yaml")).unwrap();
    documents.into_iter().filter(|document| document["kind"] == "Secret").collect()
}

/// Some valid object; few names, so that they meet.
fn object(dice: &mut Dice) -> Object {
    let name = of(dice, &["a", "b", "c"]);
    let other = of(dice, &["a", "b", "c"]);
    let port = 80 + dice.below(2);
    let (kind, mut value) = match dice.below(27) {
        0 => (
            ObjectKind::GatewayClass,
            json!({"spec": {
            "controllerName": of(dice, &["rauta.io/gateway-controller", "example.com/other"])}}),
        ),
        1 => (
            ObjectKind::IngressClass,
            json!({"spec": {
            "controller": of(dice, &["rauta.io/ingress-controller", "example.com/other"])}}),
        ),
        2 => {
            let from = of(dice, &["All", "Same"]);
            let mut listener = json!({"name": "l", "protocol": "HTTP", "port": 8080 + dice.below(2),
                "allowedRoutes": {"namespaces": {"from": from}}});
            if dice.below(2) == 0 {
                listener["hostname"] = json!(of(dice, &["*.example.com", "a.example.com"]));
            }
            let class = of(dice, &["rauta", "rauta", "a"]);
            let tcp = json!({"name": "t", "protocol": "TCP", "port": 9000 + dice.below(2), "allowedRoutes":
                {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}});
            let sets = of(dice, &["All", "None"]);
            (
                ObjectKind::Gateway,
                json!({"spec": {"gatewayClassName": class, "listeners": [listener, tcp],
                    "allowedListeners": {"namespaces": {"from": sets}}}}),
            )
        }
        3..=5 => {
            let rules: Vec<Value> = (0..=dice.below(2)).map(|n| json!({
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{n}{}", dice.below(3))}}],
                "backendRefs": [{"name": of(dice, &["a", "b", "c"]), "port": 80 + dice.below(2)}, {"name": other, "port": port}]
            })).collect();
            let host = of(dice, &["a.example.com", "b.example.com", "a.example.org"]);
            (
                ObjectKind::HttpRoute,
                json!({"spec": {"parentRefs": [{"name": other}], "hostnames": [host], "rules": rules}}),
            )
        }
        6..=7 => {
            let annotations = match dice.below(5) {
                0 => json!({"nginx.ingress.kubernetes.io/use-regex": "true"}),
                1 => json!({"nginx.ingress.kubernetes.io/canary": "true",
                    "nginx.ingress.kubernetes.io/canary-weight": "10"}),
                2 => json!({"nginx.ingress.kubernetes.io/auth-type": "basic",
                    "nginx.ingress.kubernetes.io/auth-secret": other}),
                3 => {
                    json!({"nginx.ingress.kubernetes.io/backend-protocol": if port == 80 { "HTTPS" } else { "GRPC" },
                    "nginx.ingress.kubernetes.io/proxy-ssl-secret": other})
                }
                _ => json!({}),
            };
            let backend = json!({"service": {"name": other, "port": {"number": port}}});
            let mut rule = json!({"http": {"paths": [{"path": "/x", "pathType": "ImplementationSpecific", "backend": backend}]}});
            if dice.below(2) == 0 {
                rule["host"] = json!("a.example.com");
            }
            let class = of(dice, &["rauta", "rauta", "a"]);
            let mut spec = json!({"ingressClassName": class, "defaultBackend": backend, "rules": [rule]});
            if dice.below(3) > 0 {
                let hosts: &[&str] = if dice.below(2) == 0 { &["a.example.com"] } else { &[] };
                spec["tls"] = json!([{"hosts": hosts, "secretName": "a"}]);
            }
            (ObjectKind::Ingress, json!({"metadata": {"annotations": annotations}, "spec": spec}))
        }
        8..=9 => {
            let mut backends = vec![json!({"service": {"name": other, "port": port}})];
            if dice.below(2) == 0 {
                backends.push(json!({"endpoint": format!("10.0.0.{}:80", 1 + dice.below(3))}));
            }
            (ObjectKind::RoutingRule, json!({"spec": {"backends": backends}}))
        }
        10..=11 => {
            let mut port = json!({"port": port, "name": of(dice, &["web", "admin"])});
            if dice.below(4) == 0 {
                port["appProtocol"] = json!("kubernetes.io/h2c");
            }
            let families = of(dice, &["IPv4", "IPv6"]);
            (ObjectKind::Service, json!({"spec": {"ports": [port], "ipFamilies": [families]}}))
        }
        14 => {
            let kind = of(dice, &["Gateway", "ListenerSet"]);
            let space = of(dice, &["x", "y"]);
            (
                ObjectKind::TcpRoute,
                json!({"spec": {"parentRefs": [{"name": other, "kind": kind, "namespace": space}],
                    "rules": [{"backendRefs": [{"name": other, "port": port, "namespace": space}]}]}}),
            )
        }
        15 => (
            ObjectKind::ReferenceGrant,
            json!({"spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "TCPRoute", "namespace": "x"}],
                "to": [{"group": "", "kind": "Service"}]}}),
        ),
        16 => (ObjectKind::Namespace, json!({"metadata": {"labels": {"team": of(dice, &["a", "b"])}}})),
        17 => (
            ObjectKind::ListenerSet,
            json!({"spec": {"parentRef": {"name": other, "namespace": of(dice, &["x", "y"])},
                "listeners": [{"name": "s", "protocol": "TCP", "port": 9000 + dice.below(3)}]}}),
        ),
        18 => (ObjectKind::ConfigMap, json!({"data": {"ca.crt": of(dice, &["", "x"])}})),
        19..=20 => {
            let mut target = json!({"group": "", "kind": "Service", "name": other});
            if dice.below(2) == 0 {
                target["sectionName"] = json!(of(dice, &["web", "admin"]));
            }
            let mut validation = json!({"hostname": of(dice, &["a.example", "b.example"])});
            if dice.below(3) == 0 {
                validation["caCertificateRefs"] = json!([{"group": "", "kind": "ConfigMap", "name": other}]);
            } else {
                validation["wellKnownCACertificates"] = json!("System");
            }
            (
                ObjectKind::BackendTlsPolicy,
                json!({"spec": {"targetRefs": [target], "validation": validation}}),
            )
        }
        21..=23 => {
            let gateways = "gateway.networking.k8s.io";
            let mut target = match dice.below(4) {
                0 => json!({"group": gateways, "kind": "Gateway", "sectionName": "l"}),
                1 => json!({"group": gateways, "kind": "Gateway"}),
                2 => json!({"group": gateways, "kind": "HTTPRoute"}),
                _ => json!({"group": "rauta.io", "kind": "RoutingRule"}),
            };
            target["name"] = json!(other);
            let mut spec = json!({"targetRefs": [target], "requestBodyMax": dice.below(2)});
            if dice.below(2) == 0 {
                spec["ipRules"] = json!({"allow": [of(dice, &["10.0.0.0/8", "10.1.0.0/16"])]});
            }
            (ObjectKind::RoutePolicy, json!({"spec": spec}))
        }
        24 => {
            let mut target = json!({"group": "", "kind": "Service", "name": other});
            if dice.below(2) == 0 {
                target["sectionName"] = json!(of(dice, &["web", "admin"]));
            }
            let mut spec = json!({"targetRefs": [target], "panicThreshold": dice.below(2)});
            if dice.below(2) == 0 {
                spec["healthCheck"] = json!({"type": of(dice, &["TCP", "HTTP"])});
            }
            (ObjectKind::BackendPolicy, json!({"spec": spec}))
        }
        26 => {
            let pair = of(dice, &["shop", "apps", "opaque"]);
            (ObjectKind::Secret, secrets().into_iter().find(|one| one["metadata"]["name"] == pair).unwrap())
        }
        _ => {
            let is_v6 = dice.below(2) == 0;
            let net = if is_v6 { "fd00::" } else { "10.1.0." };
            let endpoints: Vec<Value> = (0..=dice.below(3))
                .map(|n| {
                    let mut endpoint = json!({"addresses": [format!("{net}{}", 1 + n)]});
                    if dice.below(4) > 0 {
                        endpoint["targetRef"] = json!({"kind": "Pod", "name": format!("p{n}")});
                    }
                    endpoint
                })
                .collect();
            (
                ObjectKind::EndpointSlice,
                json!({
                "metadata": {"labels": {"kubernetes.io/service-name": other}},
                "addressType": if is_v6 { "IPv6" } else { "IPv4" },
                "ports": [{"name": "web", "port": 8080}, {"name": "admin", "port": 8081}], "endpoints": endpoints}),
            )
        }
    };
    value["metadata"]["name"] = json!(match kind {
        ObjectKind::GatewayClass => other,
        ObjectKind::Namespace => of(dice, &["x", "y"]),
        // That which Ingresses name for HTTPS.
        ObjectKind::Secret => "a",
        _ => name,
    });
    value["metadata"]["namespace"] = json!(of(dice, &["x", "x", "y"]));
    Object::decode(kind, &value).unwrap()
}

/// With redirects to HTTPS.
fn options() -> Options {
    Options { redirects_by_default: true, ..Options::for_files() }
}

#[test]
fn a_store_that_is_changed_step_by_step_gives_what_a_new_one_gives() {
    let (mut routes, mut backends, mut listeners, mut policed, mut dual_stack) = (0, 0, 0, 0, 0);
    let mut secured = 0;
    for seed in 0..90 {
        let mut dice = Dice(seed);
        let mut store = Store::new(options());
        let mut objects: BTreeMap<ObjectRef, Object> = BTreeMap::new();
        let mut last = store.build().snapshot;
        for step in 0..60 {
            for _ in 0..=dice.below(3) {
                let gone = dice.below(3 * (objects.len() + 1));
                match objects.keys().nth(gone).cloned() {
                    Some(key) => {
                        objects.remove(&key);
                        assert!(store.remove(&key));
                    }
                    None => {
                        let object = object(&mut dice);
                        store.apply(object.clone()).unwrap();
                        objects.insert(object.key(), object);
                    }
                }
            }
            let built = store.build();
            let mut new = Store::new(options());
            objects.values().for_each(|object| new.apply(object.clone()).unwrap());
            let expected = new.build();
            assert_eq!(built.diagnostics, expected.diagnostics, "seed {seed}, step {step}");
            let (ours, theirs) = (&built.snapshot, &expected.snapshot);
            assert_eq!(ours.routes, theirs.routes, "seed {seed}, step {step}");
            assert_eq!(ours.backends, theirs.backends, "seed {seed}, step {step}");
            assert!(ours.serves_the_same_as(theirs), "seed {seed}, step {step}");
            assert_eq!(Arc::ptr_eq(ours, &last), ours.serves_the_same_as(&last), "seed {seed}, step {step}");
            last = built.snapshot;
            routes += last.routes.len();
            policed += last.routes.iter().filter(|route| !route.policies.is_empty()).count();
            backends += last.backends.len();
            let endpoints = last.backends.values().flat_map(|backend| &backend.endpoints);
            dual_stack += endpoints.filter(|endpoint| endpoint.other.is_some()).count();
            listeners += last.listeners.len();
            let of_ingresses = last.listeners.get(&ListenerId::default_https());
            secured += of_ingresses.and_then(|one| one.tls.as_ref()).map_or(0, |tls| tls.names.len());
        }
    }
    assert!(secured > 50, "{secured}");
    assert!(policed > 500, "{policed}");
    assert!(dual_stack > 40, "{dual_stack}");
    assert!(routes > 5000 && backends > 3000 && listeners > 1000, "{routes} {backends} {listeners}");
}
