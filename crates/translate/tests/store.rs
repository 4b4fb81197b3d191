//! What a store keeps, shares and counts from one snapshot to the next.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::sync::Arc;

use model::{Balancing, ObjectKind, ObjectRef, PathMatch, Snapshot};
use serde_json::json;
use translate::{Object, Options, Store, is_maglev_table_size};

fn rule(name: &str, path: &str) -> Object {
    let value = json!({
        "apiVersion": "rauta.io/v1", "kind": "RoutingRule", "metadata": {"name": name},
        "spec": {"match": {"path": {"type": "Exact", "value": path}}, "backends": [{"endpoint": "10.0.0.1:80"}]}
    });
    Object::decode(ObjectKind::RoutingRule, &value).unwrap()
}

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    let paths = snapshot.routes.iter().map(|route| match &route.matches[0].path {
        PathMatch::Exact(path) => &**path,
        other => panic!("{other:?}"),
    });
    paths.collect()
}

#[test]
fn an_invalid_version_is_refused_and_the_last_good_one_stays() {
    let mut store = Store::new(Options::for_files());
    let refused = store.apply(rule("a", "no-slash")).unwrap_err();
    assert!(refused[0].message.ends_with("nothing of it is served"), "{refused:?}");
    assert_eq!(paths(&store.build().snapshot), Vec::<&str>::new());
    store.apply(rule("a", "/1")).unwrap();
    let refused = store.apply(rule("a", "no-slash")).unwrap_err();
    assert!(refused[0].message.ends_with("the version before it stays in force"), "{refused:?}");
    assert_eq!(paths(&store.build().snapshot), ["/1"]);
    store.apply(rule("a", "/2")).unwrap();
    assert_eq!(paths(&store.build().snapshot), ["/2"]);
}

/// A policy with a key that is left out, and one that is good.
fn policy(realm: &str, keys: &str) -> Object {
    let jwks = format!(r#"{{"keys": [{keys}]}}"#);
    let value = json!({
        "apiVersion": "rauta.io/v1", "kind": "RoutePolicy", "metadata": {"name": "p"},
        "spec": {
            "targetRefs": [{"group": "rauta.io", "kind": "RoutingRule", "name": "a"}],
            "jwt": {"providers": [{"name": "one", "localJWKS": {"inline": jwks}, "issuer": realm}]}
        }
    });
    Object::decode(ObjectKind::RoutePolicy, &value).unwrap()
}

#[test]
fn warnings_are_told_for_as_long_as_what_they_are_about_is_in_force() {
    const GOOD: &str =
        r#"{"x": "30mbTTIrwukospxAsyG0NvdX2bDgx2_gfb62kwBKhHU", "kty": "OKP", "crv": "Ed25519"}"#;
    const SYMMETRIC: &str = r#"{"kty": "oct", "k": "c2VjcmV0"}"#;
    let mut store = Store::new(Options::for_files());
    let said = |store: &mut Store| {
        let all = store.build().diagnostics;
        all.iter().filter(|one| one.message.contains("is symmetric")).count()
    };
    store.apply(rule("a", "/1")).unwrap();
    store.apply(policy("issuer", &format!("{GOOD}, {SYMMETRIC}"))).unwrap();
    assert_eq!(said(&mut store), 1);
    assert_eq!(said(&mut store), 1, "and again with the next snapshot");
    assert!(store.apply(policy("issuer", SYMMETRIC)).is_err());
    assert_eq!(said(&mut store), 1, "that version stays in force");
    store.apply(policy("issuer", GOOD)).unwrap();
    assert_eq!(said(&mut store), 0);
    store.apply(policy("issuer", &format!("{GOOD}, {SYMMETRIC}"))).unwrap();
    assert!(store.remove(&ObjectRef::new(ObjectKind::RoutePolicy, "default", "p")));
    assert_eq!(said(&mut store), 0);
}

#[test]
fn a_change_gives_a_new_version_that_shares_what_did_not_change() {
    let mut store = Store::new(Options::for_files());
    store.apply(rule("a", "/1")).unwrap();
    store.apply(rule("b", "/1")).unwrap();
    let first = store.build().snapshot;
    assert_eq!(first.version, 1);
    store.apply(rule("b", "/2")).unwrap();
    let second = store.build().snapshot;
    assert_eq!(second.version, 2);
    assert!(Arc::ptr_eq(&first.routes[0], &second.routes[0]), "a is the same record");
    assert!(!Arc::ptr_eq(&first.routes[1], &second.routes[1]), "b is not");
    assert_eq!(paths(&first), ["/1", "/1"], "a published snapshot does not change");
    store.apply(rule("b", "/2")).unwrap();
    assert!(Arc::ptr_eq(&second, &store.build().snapshot), "the same again is no change");
}

#[test]
fn a_removed_object_serves_no_more() {
    let mut store = Store::new(Options::for_files());
    store.apply(rule("a", "/1")).unwrap();
    let key = ObjectRef::new(ObjectKind::RoutingRule, "default", "a");
    assert!(store.remove(&key));
    assert!(!store.remove(&key), "it is gone already");
    let snapshot = store.build().snapshot;
    assert!(snapshot.routes.is_empty() && snapshot.backends.is_empty() && snapshot.listeners.is_empty());
}

#[test]
fn the_maglev_table_size_of_settings_is_for_routes_that_say_none() {
    let ingress = |name: &str, balancer: &str| {
        let value = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "annotations": {"rauta.io/load-balancer": balancer}},
            "spec": {"ingressClassName": "rauta", "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
        });
        Object::decode(ObjectKind::Ingress, &value).unwrap()
    };
    let sized = json!({
        "apiVersion": "rauta.io/v1", "kind": "RoutingRule", "metadata": {"name": "sized"},
        "spec": {"maglev": {"tableSize": 4099}, "backends": [{"endpoint": "10.0.0.1:80"}]}
    });
    let mut store = Store::new(Options { maglev_table_size: 251, ..Options::for_files() });
    store.apply(ingress("maglev", "Maglev")).unwrap();
    store.apply(ingress("turns", "RoundRobin")).unwrap();
    store.apply(rule("plain", "/")).unwrap();
    store.apply(Object::decode(ObjectKind::RoutingRule, &sized).unwrap()).unwrap();
    let snapshot = store.build().snapshot;
    let found: Vec<_> =
        snapshot.routes.iter().map(|route| (&*route.id.object.name, route.balancing)).collect();
    let maglev = |table_size| Balancing::Maglev { table_size };
    let mut expected = [
        ("maglev", maglev(251)),
        ("plain", maglev(251)),
        ("sized", maglev(4099)),
        ("turns", Balancing::RoundRobin),
    ];
    expected.sort_by_key(|(name, _)| found.iter().position(|(other, _)| other == name));
    assert_eq!(found, expected);
}

#[test]
fn table_sizes_are_primes_within_bounds() {
    for slots in [251, 4099, 65_537] {
        assert!(is_maglev_table_size(slots), "{slots}");
    }
    for slots in [0, 1, 2, 241, 4096, 4097, 65_535, 65_539, u32::MAX] {
        assert!(!is_maglev_table_size(slots), "{slots}");
    }
}

#[test]
fn a_policy_that_never_was_good_closes_its_route_and_one_that_was_stays() {
    let policy = |spec: serde_json::Value| {
        let value = json!({"apiVersion": "rauta.io/v1", "kind": "RoutePolicy", "metadata": {"name": "p"}, "spec": spec});
        Object::decode(ObjectKind::RoutePolicy, &value).unwrap_or_else(|_| {
            Object::stand_in(ObjectKind::RoutePolicy, &value)
                .expect("a policy has something that stands for it")
        })
    };
    let target = json!({"group": "rauta.io", "kind": "RoutingRule", "name": "a"});
    let spec = |net: &str| json!({"targetRefs": [target], "ipRules": {"allow": [net]}});
    let mut store = Store::new(Options::for_files());
    store.apply(rule("a", "/1")).unwrap();
    let said = |store: &mut Store| store.build().snapshot.routes[0].policies.clone();

    let refused = store.apply(policy(spec("nowhere"))).unwrap_err();
    assert!(refused[0].message.contains("answers 500"), "{refused:?}");
    assert!(said(&mut store)[0].policies.is_closed);
    store.apply(policy(spec("10.0.0.0/8"))).unwrap();
    assert!(!said(&mut store)[0].policies.is_closed);
    let refused = store.apply(policy(spec("nowhere"))).unwrap_err();
    assert!(refused[0].message.ends_with("the version before it stays in force"), "{refused:?}");
    let good = said(&mut store);
    assert!(!good[0].policies.is_closed && good[0].policies.ip_rules.is_some());

    // What cannot even be decoded: the same, for the targets that can be read of it.
    let mut typo = spec("10.0.0.0/8");
    typo["ipRule"] = json!({});
    assert!(store.apply(policy(typo.clone())).is_err());
    assert_eq!(said(&mut store), good);
    let key = ObjectRef::new(ObjectKind::RoutePolicy, "default", "p");
    assert!(store.remove(&key) && said(&mut store).is_empty());
    let refused = store.apply(policy(typo)).unwrap_err();
    assert!(refused[0].message.contains("cannot be read"), "{refused:?}");
    assert!(said(&mut store)[0].policies.is_closed);
    let half = json!({"targetRefs": [{"kind": "RoutingRule", "name": "a", "section": "x"}, 7], "ipRule": {}});
    assert!(store.apply(policy(half)).is_err());
    assert!(said(&mut store)[0].policies.is_closed, "a target that can be read in part is closed as a whole");
}

/// Names of annotations become parts of paths of the API: none that leads elsewhere may be asked for.
#[test]
fn what_annotations_name_is_looked_for_in_their_own_namespace_and_by_a_good_name_alone() {
    let looked_for = |secret: &str, map: &str| {
        let value = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "a", "namespace": "web", "annotations": {
                "nginx.ingress.kubernetes.io/auth-type": "basic",
                "nginx.ingress.kubernetes.io/auth-secret": secret,
                "nginx.ingress.kubernetes.io/custom-headers": map,
            }},
            "spec": {"ingressClassName": "rauta", "rules": [{"http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "w", "port": {"number": 80}}}}
            ]}}]}
        });
        let mut store = Store::new(Options::for_files());
        store.apply(Object::decode(ObjectKind::Ingress, &value).unwrap()).unwrap();
        let built = store.build();
        assert!(built.snapshot.routes[0].policies[0].policies.is_closed, "{secret}");
        store.looked_for().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(looked_for("users", "more"), ["Secret web/users", "ConfigMap web/more"]);
    assert_eq!(looked_for("web/users.v1", "web/more"), ["Secret web/users.v1", "ConfigMap web/more"]);
    for name in [
        "kube-system/users",
        "kube-system/secrets/x?/users",
        "web/../../users",
        "Users",
        "a b",
        "x,metadata.namespace!=y",
        "/users",
        "a..b",
        "-a",
        "web/",
    ] {
        assert_eq!(looked_for(name, name), [""; 0], "{name}");
    }
}

#[test]
fn what_policies_name_is_looked_for_by_a_good_name_alone() {
    let looked_for = |name: &str| {
        let value = json!({
            "apiVersion": "rauta.io/v1", "kind": "RoutePolicy", "metadata": {"name": "p", "namespace": "web"},
            "spec": {
                "targetRefs": [{"group": "rauta.io", "kind": "RoutingRule", "name": "a"}],
                "basicAuth": {"users": {"name": name}}
            }
        });
        let mut store = Store::new(Options::for_files());
        store.apply(Object::decode(ObjectKind::RoutePolicy, &value).unwrap()).unwrap();
        store.build();
        store.looked_for().len()
    };
    assert_eq!((looked_for("users"), looked_for("../x"), looked_for("a,b")), (1, 0, 0));
}

#[test]
fn sessions_of_a_path_are_the_same_for_all_its_ways_and_whatever_stands_before_it() {
    let ingress = |name: &str, annotations: serde_json::Value, paths: &[&str]| {
        let path = |path: &&str| json!({"path": path, "pathType": "Exact", "backend": {"service": {"name": "w", "port": {"number": 80}}}});
        let paths: Vec<_> = paths.iter().map(path).collect();
        let value = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"ingressClassName": "rauta", "rules": [{"host": "a.test", "http": {"paths": paths}}]}
        });
        Object::decode(ObjectKind::Ingress, &value).unwrap()
    };
    let mut store = Store::new(Options::for_files());
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"}, "spec": {"ports": [{"port": 80}]}});
    store.apply(Object::decode(ObjectKind::Service, &service).unwrap()).unwrap();
    let by_header = json!({
        "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-by-header": "X-New"
    });
    store.apply(ingress("canary", by_header, &["/a"])).unwrap();
    let mut scopes = |paths: &[&str]| {
        let cookie = json!({"nginx.ingress.kubernetes.io/affinity": "cookie"});
        store.apply(ingress("main", cookie, paths)).unwrap();
        let snapshot = store.build().snapshot;
        let of_a =
            snapshot.routes.iter().filter(|route| route.matches[0].path == PathMatch::Exact("/a".into()));
        of_a.map(|route| route.session.as_ref().unwrap().scope.to_string()).collect::<Vec<_>>()
    };
    let alone = scopes(&["/a"]);
    assert_eq!(alone, ["Ingress default/main a.test Exact /a"; 3]);
    assert_eq!(scopes(&["/0", "/a"]), alone);
}
