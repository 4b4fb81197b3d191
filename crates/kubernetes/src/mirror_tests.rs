use std::time::Instant;

use serde_json::json;

use super::*;
use crate::trouble::Cause;

const GROUP: &str = "gateway.networking.k8s.io/v1";

struct Cluster(Mirror);

impl Cluster {
    fn new() -> Self {
        Self(Mirror::new(
            "https://a/".to_owned(),
            Options::for_cluster(),
            AddressMode::Fixed(Vec::new()),
            IngressReach::default(),
        ))
    }

    fn hear(&mut self, kind: ObjectKind, news: News) -> Amount {
        self.0.take(Event { scope: Scope::All(kind), heard: Instant::now(), news });
        self.0.build()
    }

    fn apply(&mut self, kind: ObjectKind, object: Value) -> Amount {
        self.hear(kind, News::Applied(object))
    }

    /// A Gateway, a Service with an endpoint and an HTTPRoute to it.
    fn with_route() -> Self {
        let mut cluster = Self::new();
        cluster.apply(ObjectKind::GatewayClass, class());
        cluster.apply(ObjectKind::Gateway, gateway(80));
        cluster.apply(ObjectKind::Service, service());
        cluster.apply(ObjectKind::EndpointSlice, slice("10.0.0.1"));
        cluster.apply(ObjectKind::HttpRoute, route("a.test"));
        cluster
    }
}

fn class() -> Value {
    json!({"metadata": {"name": "rauta"}, "spec": {"controllerName": "rauta.io/gateway-controller"}})
}

fn gateway(port: u16) -> Value {
    let listener = json!({"name": "http", "port": port, "protocol": "HTTP"});
    json!({"apiVersion": GROUP, "kind": "Gateway", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"gatewayClassName": "rauta", "listeners": [listener]}})
}

fn service() -> Value {
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"ports": ports}})
}

fn slice(address: &str) -> Value {
    json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"name": "http", "port": 8080}]})
}

fn route(host: &str) -> Value {
    let rule = json!({"backendRefs": [{"name": "web", "port": 80}]});
    json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"hostnames": [host], "parentRefs": [{"name": "web"}], "rules": [rule]}})
}

fn texts(amount: &Amount) -> Vec<String> {
    amount.diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn objects_become_routes_and_go_with_them() {
    let mut cluster = Cluster::with_route();
    let amount = cluster.0.build();
    assert_eq!(texts(&amount), [] as [&str; 0]);
    assert_eq!((amount.snapshot.routes.len(), amount.objects), (1, 5));
    let endpoints = |amount: &Amount| -> Vec<_> {
        amount
            .snapshot
            .backends
            .values()
            .flat_map(|one| one.endpoints.clone())
            .map(|one| format!("{one:?}"))
            .collect()
    };
    assert!(endpoints(&amount)[0].contains("10.0.0.1"), "{:?}", endpoints(&amount));
    let amount = cluster.hear(ObjectKind::HttpRoute, News::Deleted(route("a.test")));
    assert_eq!((amount.snapshot.routes.len(), amount.objects), (0, 4));
}

#[test]
fn what_a_new_list_lacks_is_gone() {
    let mut cluster = Cluster::with_route();
    let amount = cluster.hear(ObjectKind::HttpRoute, News::Listed(vec![]));
    assert_eq!(amount.snapshot.routes.len(), 0);
    let amount = cluster.hear(ObjectKind::HttpRoute, News::Listed(vec![route("a.test"), route("b.test")]));
    assert_eq!(amount.snapshot.routes[0].hosts[0].to_string(), "b.test");
}

#[test]
fn a_change_of_status_is_no_change() {
    let mut cluster = Cluster::with_route();
    let before = cluster.0.build();
    let mut noted = route("a.test");
    noted["status"] = json!({"parents": []});
    noted["metadata"]["resourceVersion"] = json!("77");
    noted["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let amount = cluster.apply(ObjectKind::HttpRoute, noted);
    assert!(Arc::ptr_eq(&before.snapshot, &amount.snapshot));
}

#[test]
fn an_unreadable_kind_stops_no_other_and_what_was_read_stays() {
    let mut cluster = Cluster::with_route();
    let forbidden = Cause::Forbidden("User \"x\" cannot list".to_owned());
    let trouble = |cause: &Cause, attempts| News::Failed(Trouble { cause: cause.clone(), attempts });
    let amount = cluster.hear(ObjectKind::HttpRoute, trouble(&forbidden, 9));
    assert_eq!(amount.snapshot.routes.len(), 1);
    assert!(texts(&amount)[0].contains("may not read HTTPRoute"), "{:?}", texts(&amount));
    let amount = cluster.apply(ObjectKind::EndpointSlice, slice("10.0.0.2"));
    assert!(format!("{:?}", amount.snapshot.backends).contains("10.0.0.2"));
    let amount = cluster.hear(ObjectKind::HttpRoute, News::Resumed);
    assert_eq!(texts(&amount), [] as [&str; 0]);
}

#[test]
fn a_kind_whose_definition_is_gone_has_no_objects() {
    let mut cluster = Cluster::with_route();
    let gone = |attempts| News::Failed(Trouble { cause: Cause::NotServed(vec![]), attempts });
    assert_eq!(cluster.hear(ObjectKind::HttpRoute, gone(6)).snapshot.routes.len(), 1);
    let amount = cluster.hear(ObjectKind::HttpRoute, gone(7));
    assert_eq!(amount.snapshot.routes.len(), 0);
    assert!(texts(&amount)[0].contains("install its CRD"), "{:?}", texts(&amount));
}

#[test]
fn a_bad_version_leaves_the_one_before_in_force() {
    let mut cluster = Cluster::with_route();
    let mut bad = route("a.test");
    bad["spec"]["rules"] = json!("none");
    let amount = cluster.apply(ObjectKind::HttpRoute, bad);
    assert_eq!(amount.snapshot.routes.len(), 1);
    let texts = texts(&amount);
    assert!(texts[0].contains("spec.rules") && texts[0].contains("stays in force"), "{texts:?}");
}

#[test]
fn a_field_of_a_newer_api_is_said_to_have_no_effect_unless_it_is_of_kubernetes() {
    let mut cluster = Cluster::with_route();
    let mut newer = route("a.test");
    newer["spec"]["rules"][0]["novel"] = json!(1);
    let texts = texts(&cluster.apply(ObjectKind::HttpRoute, newer));
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("spec.rules[0].novel") && texts[0].contains("has no effect"), "{texts:?}");
    let mut newer = service();
    newer["spec"]["novel"] = json!(1);
    let amount = cluster.apply(ObjectKind::Service, newer);
    assert_eq!(amount.diagnostics.len(), 1, "{amount:?}");
}

#[test]
fn only_secrets_that_a_gateway_may_name_are_wanted() {
    let mut cluster = Cluster::with_route();
    let mut secure = gateway(443);
    secure["spec"]["listeners"][0]["protocol"] = json!("HTTPS");
    secure["spec"]["listeners"][0]["tls"] =
        json!({"certificateRefs": [{"name": "own"}, {"name": "foreign", "namespace": "vault"}]});
    let amount = cluster.apply(ObjectKind::Gateway, secure);
    let wanted: Vec<_> = amount.wanted.iter().map(ToString::to_string).collect();
    assert_eq!(wanted, ["Secret shop/own"]);
    let grant = json!({"metadata": {"name": "g", "namespace": "vault"}, "spec": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "shop"}],
        "to": [{"group": "", "kind": "Secret"}]}});
    let amount = cluster.apply(ObjectKind::ReferenceGrant, grant);
    assert_eq!(amount.wanted.len(), 2, "{amount:?}");
    let amount = cluster.hear(ObjectKind::Gateway, News::Listed(vec![]));
    assert!(amount.wanted.is_empty(), "{amount:?}");
}

#[test]
fn a_scope_is_settled_when_it_was_read_or_cannot_be() {
    let mut cluster = Cluster::new();
    let scope = Scope::All(ObjectKind::Gateway);
    let failed = |cause, attempts| News::Failed(Trouble { cause, attempts });
    assert!(!cluster.0.is_settled(&scope));
    cluster.hear(ObjectKind::Gateway, failed(Cause::Unreachable("refused".to_owned()), 50));
    assert!(!cluster.0.is_settled(&scope));
    cluster.hear(ObjectKind::Gateway, failed(Cause::NotServed(vec![]), 2));
    assert!(!cluster.0.is_settled(&scope), "nothing was read at all");
    cluster.hear(ObjectKind::Service, News::Listed(vec![]));
    assert!(cluster.0.is_settled(&scope));
    cluster.hear(ObjectKind::Gateway, News::Listed(vec![]));
    assert!(cluster.0.is_settled(&scope));
}

/// Of each object whose status is planned the reasons in it.
fn planned(cluster: &mut Cluster) -> Vec<String> {
    let text = |write: &Arc<Write>| match &**write {
        Write::Status(change) => format!("{} {}", change.object, change.status),
        Write::Object(object, _) => object.to_string(),
    };
    cluster.0.plan("2026-01-01T00:00:00Z").iter().map(text).collect()
}

/// A second route, to the same Service.
fn other_route() -> Value {
    let mut other = route("b.test");
    other["metadata"]["name"] = json!("other");
    other
}

#[test]
fn what_is_planned_after_changes_is_what_a_first_plan_says() {
    let mut cluster = Cluster::with_route();
    cluster.apply(ObjectKind::HttpRoute, other_route());
    let first = planned(&mut cluster);
    assert_eq!(first.len(), 4, "{first:?}");
    assert!(!cluster.0.is_stale());
    assert_eq!(planned(&mut cluster), first, "what is not written stays planned");

    // What is said of routes changes, the routes do not.
    cluster.hear(ObjectKind::Service, News::Deleted(service()));
    assert!(cluster.0.is_stale());
    let broken = planned(&mut cluster);
    let is_broken = |line: &&String| line.starts_with("HTTPRoute") && line.contains("BackendNotFound");
    assert_eq!(broken.iter().filter(is_broken).count(), 2, "{broken:?}");
    cluster.apply(ObjectKind::Service, service());
    assert_eq!(planned(&mut cluster), first);

    // What routes attach to goes, and comes again.
    cluster.hear(ObjectKind::GatewayClass, News::Deleted(class()));
    assert_eq!(planned(&mut cluster), [] as [&str; 0]);
    cluster.apply(ObjectKind::GatewayClass, class());
    assert_eq!(planned(&mut cluster), first);

    // A status that is there as it should be is planned no more, and no other is.
    let mut written = route("a.test");
    let status = first.iter().find_map(|line| line.strip_prefix("HTTPRoute shop/web ")).unwrap();
    written["status"] = serde_json::from_str(status).unwrap();
    cluster.apply(ObjectKind::HttpRoute, written);
    let left = planned(&mut cluster);
    assert_eq!(left.len(), 3, "{left:?}");
    cluster.hear(ObjectKind::HttpRoute, News::Deleted(other_route()));
    let left = planned(&mut cluster);
    assert!(left.len() == 2 && left.iter().all(|line| !line.starts_with("HTTPRoute")), "{left:?}");
}

#[test]
fn of_our_ingresses_one_thing_is_said_for_each_reason() {
    let mut cluster = Cluster::new();
    for (name, controller) in [("rauta", "rauta.io/ingress-controller"), ("other", "else/where")] {
        let class = json!({"metadata": {"name": name}, "spec": {"controller": controller}});
        cluster.apply(ObjectKind::IngressClass, class);
    }
    let ingress = |name: &str, class: &str, rules: Value| {
        let annotations = json!({
            "nginx.ingress.kubernetes.io/limit-rate": "1",
            "nginx.ingress.kubernetes.io/stream-snippet": "a b",
        });
        let metadata = json!({"name": name, "namespace": "shop", "uid": name, "annotations": annotations});
        json!({"metadata": metadata, "spec": {"ingressClassName": class, "rules": rules}})
    };
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let rules = json!([{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]);
    for class in ["rauta", "other"] {
        let served = ingress(&format!("{class}-served"), class, rules.clone());
        cluster.apply(ObjectKind::Ingress, served);
        // One that cannot be read is of a class all the same.
        let unreadable = ingress(&format!("{class}-unreadable"), class, json!("none"));
        cluster.apply(ObjectKind::Ingress, unreadable);
    }
    let said = cluster.0.sayings();
    let all: Vec<_> = said.iter().map(|one| (&*one.object.name, &*one.uid, one.reason)).collect();
    assert_eq!(
        all,
        [
            ("rauta-served", "rauta-served", "BackendNotFound"),
            ("rauta-served", "rauta-served", "Unsupported"),
            ("rauta-unreadable", "rauta-unreadable", "InvalidField"),
        ]
    );
    let note = &said[1].note;
    assert!(note.contains("limit-rate") && note.contains("stream-snippet"), "{note}");
    assert!(said[2].note.starts_with("spec.rules: "), "{}", said[2].note);
}
