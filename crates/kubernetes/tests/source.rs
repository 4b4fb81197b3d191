//! The source against a scripted API server: what is asked, what it amounts to, and what comes through trouble.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod api;
mod leading;
mod statuses;
mod topology;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Api;
use kubernetes::{AddressMode, IngressReach, WatchHandle, Writing};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use translate::{Loaded, Options};

const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/gateways";
const CLASSES: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";
const GRPC_ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/grpcroutes";
const RULES: &str = "/apis/rauta.io/v1/routingrules";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/ingresses";
const SECRETS: &str = "/api/v1/secrets";

/// Nothing here takes long; a busy machine may.
const PATIENCE: Duration = Duration::from_secs(60);

struct Followed {
    loaded: Receiver<Option<Arc<Loaded>>>,
    _handle: WatchHandle,
}

impl Followed {
    async fn start(api: &Api) -> Self {
        Self::start_with(api, AddressMode::Fixed(Vec::new())).await
    }

    async fn start_with(api: &Api, addresses: AddressMode) -> Self {
        Self::start_as(api, addresses, Options::for_cluster()).await
    }

    async fn start_as(api: &Api, addresses: AddressMode, options: Options) -> Self {
        let file = api.kubeconfig();
        let writing = Writing {
            addresses,
            ingresses: IngressReach::default(),
            announced: None,
            namespace: None,
            identity: "a".to_owned(),
        };
        let connection = kubernetes::connect(Some(file.path())).await.unwrap();
        let (loaded, handle) = kubernetes::watch(connection, options, writing, || {}).unwrap();
        Self { loaded, _handle: handle }
    }

    /// Waits until what was loaded is as wished.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Loaded) -> bool) -> Arc<Loaded> {
        let is_it = |loaded: &Option<Arc<Loaded>>| loaded.as_ref().is_some_and(|loaded| is_so(loaded));
        let waited = tokio::time::timeout(PATIENCE, self.loaded.wait_for(is_it)).await;
        let found = waited.ok().map(|found| found.unwrap().clone());
        match found {
            Some(found) => found.unwrap(),
            None => panic!("{what}: not seen; at last there was {:?}", self.loaded.borrow()),
        }
    }

    async fn until_hosts(&mut self, hosts: &[&str]) -> Arc<Loaded> {
        let of = |loaded: &Loaded| -> Vec<String> {
            let routes = loaded.snapshot.routes.iter();
            let mut hosts: Vec<_> = routes.flat_map(|one| &one.hosts).map(ToString::to_string).collect();
            hosts.sort();
            hosts
        };
        self.until(&format!("hosts {hosts:?}"), |loaded| of(loaded) == hosts).await
    }
}

fn with_gateway() -> Api {
    let api = Api::start();
    let class =
        json!({"metadata": {"name": "rauta"}, "spec": {"controllerName": "rauta.io/gateway-controller"}});
    api.apply(CLASSES, class);
    api.apply(GATEWAYS, gateway(&[]));
    api
}

/// With a listener for HTTPS where certificates are named.
fn gateway(certificates: &[&str]) -> Value {
    let mut listeners = vec![json!({"name": "http", "port": 80, "protocol": "HTTP"})];
    if !certificates.is_empty() {
        let references: Vec<_> = certificates.iter().map(|name| json!({"name": name})).collect();
        let tls = json!({"certificateRefs": references});
        listeners.push(json!({"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}));
    }
    json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"gatewayClassName": "rauta", "listeners": listeners}})
}

fn route(host: &str) -> Value {
    let rule = json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]});
    json!({"metadata": {"name": host, "namespace": "shop"},
        "spec": {"hostnames": [host], "parentRefs": [{"name": "web"}], "rules": [rule]}})
}

fn says(loaded: &Loaded, text: &str) -> bool {
    loaded.diagnostics.iter().any(|found| found.to_string().contains(text))
}

#[tokio::test]
async fn objects_are_read_and_followed() {
    let api = with_gateway();
    api.apply(ROUTES, route("a.test"));
    let mut followed = Followed::start(&api).await;
    followed.until_hosts(&["a.test"]).await;
    api.apply(ROUTES, route("b.test"));
    followed.until_hosts(&["a.test", "b.test"]).await;
    api.delete(ROUTES, "a.test");
    let loaded = followed.until_hosts(&["b.test"]).await;
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let api = with_gateway();
    api.set_page_size(2);
    let hosts = ["a.test", "b.test", "c.test", "d.test", "e.test"];
    hosts.iter().for_each(|host| api.apply(ROUTES, route(host)));
    Followed::start(&api).await.until_hosts(&hosts).await;
}

#[tokio::test]
async fn kinds_that_cannot_be_read_stop_no_others_and_are_read_once_they_can() {
    let api = with_gateway();
    api.apply(ROUTES, route("a.test"));
    api.refuse(GRPC_ROUTES, Some(403));
    api.refuse(RULES, Some(404));
    let mut followed = Followed::start(&api).await;
    let loaded = followed.until_hosts(&["a.test"]).await;
    assert!(says(&loaded, "may not read GRPCRoute"), "{:?}", loaded.diagnostics);
    assert!(says(&loaded, "does not know RoutingRule (rauta.io/v1)"), "{:?}", loaded.diagnostics);
    api.refuse(GRPC_ROUTES, None);
    api.refuse(RULES, None);
    let loaded = followed.until("no trouble any more", |loaded| loaded.diagnostics.is_empty()).await;
    assert_eq!(loaded.snapshot.routes.len(), 1);
}

#[tokio::test]
async fn a_kind_that_can_be_listed_and_not_watched_is_not_asked_for_all_the_time() {
    let api = with_gateway();
    api.refuse_watches(RULES);
    let mut followed = Followed::start(&api).await;
    let what = "allow list and watch of routingrules";
    followed.until("the missing right", |loaded| says(loaded, what)).await;
    api.apply(ROUTES, route("a.test"));
    followed
        .until("the other kinds", |loaded| !loaded.snapshot.routes.is_empty() && says(loaded, what))
        .await;
    // Each pause is twice as long as the one before: four pauses take at least 3.75 s, four without that one second.
    let lists =
        || api.asked().into_iter().filter(|one| one.starts_with(RULES) && !one.contains("watch=")).count();
    let (before, start) = (lists(), Instant::now());
    followed.until("lists", |_| true).await;
    while lists() < before + 3 {
        assert!(start.elapsed() < PATIENCE, "it is asked for no more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() > Duration::from_millis(1200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let api = with_gateway();
    let mut followed = Followed::start(&api).await;
    followed.until_hosts(&[]).await;
    api.cut();
    api.apply(ROUTES, route("a.test"));
    followed.until_hosts(&["a.test"]).await;
    let lists = |api: &Api| {
        api.asked().iter().filter(|one| one.starts_with(ROUTES) && !one.contains("watch=true")).count()
    };
    assert_eq!(lists(&api), 1, "{:?}", api.asked());
}

#[tokio::test]
async fn where_a_watch_cannot_go_on_everything_is_listed_again() {
    let api = with_gateway();
    api.apply(ROUTES, route("a.test"));
    api.apply(ROUTES, route("b.test"));
    let mut followed = Followed::start(&api).await;
    followed.until_hosts(&["a.test", "b.test"]).await;
    // Nobody hears of this one: the watches are over before they could tell.
    api.set_down(true);
    api.delete(ROUTES, "a.test");
    api.forget();
    api.set_down(false);
    followed.until_hosts(&["b.test"]).await;
}

#[tokio::test]
async fn a_server_that_is_gone_takes_nothing_with_it() {
    let api = with_gateway();
    api.apply(ROUTES, route("a.test"));
    let mut followed = Followed::start(&api).await;
    followed.until_hosts(&["a.test"]).await;
    api.set_down(true);
    let loaded = followed.until("trouble", |loaded| says(loaded, "cannot reach the API server")).await;
    assert_eq!(loaded.snapshot.routes.len(), 1);
    api.apply(ROUTES, route("b.test"));
    api.set_down(false);
    let loaded = followed.until_hosts(&["a.test", "b.test"]).await;
    drop(loaded);
    followed.until("no trouble any more", |loaded| loaded.diagnostics.is_empty()).await;
}

#[tokio::test]
async fn nothing_is_served_before_a_server_answers() {
    let api = with_gateway();
    api.apply(ROUTES, route("a.test"));
    api.set_down(true);
    let mut followed = Followed::start(&api).await;
    let early = tokio::time::timeout(Duration::from_secs(2), followed.loaded.changed()).await;
    assert!(early.is_err(), "{:?}", followed.loaded.borrow());
    api.set_down(false);
    followed.until_hosts(&["a.test"]).await;
}

#[tokio::test]
async fn secrets_are_read_by_name_and_only_those_that_are_named() {
    let api = with_gateway();
    api.apply(SECRETS, json!({"metadata": {"name": "other", "namespace": "shop"}, "type": "Opaque"}));
    api.apply(GATEWAYS, gateway(&["tls"]));
    let mut followed = Followed::start(&api).await;
    let missing = "there is no Secret shop/tls";
    followed.until("a missing Secret", |loaded| says(loaded, missing)).await;
    let tls = json!({"metadata": {"name": "tls", "namespace": "shop"}, "type": "Opaque"});
    api.apply(SECRETS, tls);
    followed.until("the Secret", |loaded| says(loaded, "it must be kubernetes.io/tls")).await;
    api.delete(SECRETS, "tls");
    followed.until("a missing Secret again", |loaded| says(loaded, missing)).await;
    let asked: Vec<_> = api.asked().into_iter().filter(|one| one.contains("/secrets")).collect();
    let by_name = "/api/v1/namespaces/shop/secrets?";
    let is_by_name = |one: &String| one.starts_with(by_name) && one.contains("metadata.name%3Dtls");
    assert!(!asked.is_empty() && asked.iter().all(is_by_name), "{asked:?}");
    api.apply(GATEWAYS, gateway(&[]));
    followed.until("no Secret", |loaded| loaded.diagnostics.is_empty()).await;
}

#[tokio::test]
async fn ingresses_are_listed_in_pages_as_manifests() {
    let api = Api::start();
    api.set_page_size(2);
    for name in ["a", "b", "c"] {
        let namespace = if name == "c" { "other" } else { "shop" };
        api.apply(INGRESSES, json!({"metadata": {"name": name, "namespace": namespace}, "spec": {}}));
    }
    let file = api.kubeconfig();
    let connection = kubernetes::connect(Some(file.path())).await.unwrap();
    let names = |found: Vec<Value>| -> Vec<String> {
        assert!(
            found.iter().all(|one| one["apiVersion"] == "networking.k8s.io/v1" && one["kind"] == "Ingress")
        );
        found.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(kubernetes::ingresses(&connection, None).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(names(kubernetes::ingresses(&connection, Some("other")).await.unwrap()), ["c"]);
    api.refuse(INGRESSES, Some(403));
    let error = kubernetes::ingresses(&connection, None).await.unwrap_err().to_string();
    assert!(error.contains("cannot list ingresses: refused with 403"), "{error}");
}
