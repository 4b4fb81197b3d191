//! Session persistence over real sockets: a client keeps its endpoint, over both versions of HTTP and a restart.

use testkit::{Addresses, Connection, Ended, Gateway, Http2, Lab, Recorder};

use crate::manifests::{GATEWAY, documents, service};
use crate::world::RAUTA;

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /shop}}]
    sessionPersistence: {sessionName: cart, idleTimeout: 1h}
    backendRefs: [{name: one, port: 80}, {name: other, port: 80}]
";

#[test]
fn a_cookie_keeps_its_endpoint_over_both_versions_and_a_restart() {
    let lab = Lab::builder().backends(3).build().unwrap();
    let recorder = |index: u8, name| {
        Recorder::answering(lab.backend(index.into()), Addresses::backend_socket(index), name).unwrap()
    };
    let endpoints = [recorder(0, "a"), recorder(1, "b"), recorder(2, "c")];
    let manifest = documents(&[GATEWAY, &service("one", &[0, 1]), &service("other", &[2]), ROUTE]);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let start = |key: &str| {
        let builder = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap();
        let builder = builder.env("RAUTA_THREADS", "1").env("RAUTA_SESSION_KEY_FILE", key);
        builder.start(&lab).unwrap()
    };
    let key = key.to_str().unwrap();
    let gateway = start(key);
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    let first = connection.get("a.test", "/shop").unwrap();
    let cookie = first.header("set-cookie").unwrap().to_owned();
    let (pair, rest) = cookie.split_once(';').unwrap();
    assert_eq!((pair.len(), rest), ("cart=".len() + 44, " Path=/shop; HttpOnly; SameSite=Lax"));
    assert!(pair.starts_with("cart="), "{cookie}");

    let asks_again = |gateway: &Gateway| {
        for _ in 0..5 {
            let request = format!("GET /shop/1 HTTP/1.1\r\nHost: a.test\r\nCookie: {pair}\r\n\r\n");
            let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
            let response = connection.request(&request).unwrap();
            assert_eq!((response.text(), response.header("set-cookie")), (first.text(), None));
            let mut client = Http2::open(lab.client(), gateway.address(), &[]).unwrap();
            let fields: [(&[u8], &[u8]); 5] = [
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"a.test"),
                (b":path", b"/shop/2"),
                (b"cookie", pair.as_bytes()),
            ];
            client.request(1, &fields, true).unwrap();
            let body = first.text().into_bytes();
            assert_eq!(client.ended(1).unwrap(), Ended::Answered { status: Some(200), body });
        }
    };
    asks_again(&gateway);
    let explained = gateway.cli(&["explain", "request", "http://a.test:8080/shop"]).unwrap().stdout;
    let explained = String::from_utf8(explained).unwrap();
    let part = "by cookie cart on /shop (1h without a request)";
    assert!(explained.contains(part), "{explained}");
    assert!(!gateway.log().contains("sessionKeyFile"), "{}", gateway.log());
    drop((connection, gateway));
    let gateway = start(key);
    asks_again(&gateway);
    let served = endpoints.iter().filter(|endpoint| endpoint.connections() > 0).count();
    assert_eq!(served, 1, "all requests of the client went to one endpoint");
    drop(gateway);

    let gateway = start("off");
    let request = format!("GET /shop HTTP/1.1\r\nHost: a.test\r\nCookie: {pair}\r\n\r\n");
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    assert!(connection.request(&request).unwrap().header("set-cookie").is_some(), "a key of its own");
    assert!(gateway.log().contains("there is no sessionKeyFile"), "{}", gateway.log());
    assert_eq!(gateway.metric("rauta_session_refusals_total", "forged").unwrap(), 1.0);
}
