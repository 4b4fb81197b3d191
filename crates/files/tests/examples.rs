//! The examples load without a word and give the routes that their comments promise.

use std::path::PathBuf;

use files::{Loaded, load_once};
use translate::Options;

fn load(folder: &str) -> Loaded {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(folder);
    load_once(&[path], Options::for_files())
}

fn lines(loaded: &Loaded) -> Vec<String> {
    let snapshot = &loaded.snapshot;
    let routes = snapshot.routes.iter().map(|route| {
        let listeners: Vec<_> = route.listeners.iter().map(ToString::to_string).collect();
        format!("{} on {}", route.id, listeners.join(" "))
    });
    let l4 = snapshot.l4_routes.iter().map(|route| {
        let listeners: Vec<_> = route.listeners.iter().map(ToString::to_string).collect();
        format!("{} on {}", route.id, listeners.join(" "))
    });
    let backends = snapshot.backends.values().map(|backend| {
        let endpoints: Vec<_> =
            backend.endpoints.iter().map(|e| format!("{}*{}", e.address, e.weight)).collect();
        format!("{} = {}", backend.id, endpoints.join(" "))
    });
    routes.chain(l4).chain(backends).collect()
}

#[test]
fn quickstart() {
    let loaded = load("quickstart");
    assert_eq!(loaded.diagnostics, []);
    assert_eq!((loaded.files, loaded.objects), (5, 10));
    assert_eq!(
        lines(&loaded),
        [
            "Ingress demo/docs rule 0 on demo/quickstart/http",
            "HTTPRoute demo/shop rule 0 on demo/quickstart/http",
            "HTTPRoute demo/shop rule 1 on demo/quickstart/http",
            "HTTPRoute demo/shop rule 2 on demo/quickstart/http",
            "RoutingRule demo/users rule 0 on demo/quickstart/http",
            "demo/shop-v1:80 = 10.77.1.11:80*1 10.77.1.12:80*1",
            "demo/shop-v2:80 = 10.77.1.13:80*1",
            "RoutingRule demo/users = 10.77.1.11:80*100 10.77.1.12:80*50",
        ]
    );
}

#[test]
fn local() {
    let loaded = load("local");
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(
        loaded.snapshot.listeners.len(),
        1,
        "the default listener is the Gateway's, as both want :8080"
    );
    assert_eq!(
        lines(&loaded),
        [
            "HTTPRoute default/echo rule 0 on default/local/http",
            "RoutingRule default/rule rule 0 on default/local/http",
            "default/echo:80 = 127.0.0.1:9000*1",
            "RoutingRule default/rule = 127.0.0.1:9000*1",
        ]
    );
}

#[test]
fn passthrough() {
    let loaded = load("passthrough");
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(
        lines(&loaded),
        [
            "UDPRoute demo/dns rule 0 on demo/passthrough/dns",
            "TLSRoute demo/mq rule 0 on demo/passthrough/mq",
            "TCPRoute demo/postgres rule 0 on demo/passthrough/postgres",
            "demo/mq:8883 = 10.77.1.22:8883*1",
            "demo/mq-new:8883 = 10.77.1.23:8883*1",
            "demo/postgres:5432 = 10.77.1.21:5432*1",
            "demo/dns:53/udp = 10.77.1.24:1053*1",
        ]
    );
}
