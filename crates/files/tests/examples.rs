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
    let backends = snapshot.backends.values().map(|backend| {
        let endpoints: Vec<_> =
            backend.endpoints.iter().map(|e| format!("{}*{}", e.address, e.weight)).collect();
        format!("{} = {}", backend.id, endpoints.join(" "))
    });
    routes.chain(backends).collect()
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
