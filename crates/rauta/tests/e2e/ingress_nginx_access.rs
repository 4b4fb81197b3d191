//! Annotations of ingress-nginx about who may pass and how many: with the binary, the service that is asked and endpoints.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::{Addresses, Connection, Gateway, Lab, Recorder, Response, until};

use crate::ingress_nginx::{CLASS, ingress};
use crate::manifests::{documents, service};
use crate::world::RAUTA;

/// How long conditions are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Headers for the service.
const TOLD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: told, namespace: default}\ndata: {X-Tenant: \"shop of \
                    $host\"}\n";

/// Two paths of one host.
fn two_paths(name: &str, annotations: &[(&str, &str)]) -> String {
    let path = |path: &str| {
        format!(
            "{{path: {path}, pathType: Prefix, backend: {{service: {{name: s0, port: {{number: 80}}}}}}}}"
        )
    };
    let text = ingress(name, "/", annotations);
    let (before, _) = text.split_once("http: ").unwrap();
    format!("{before}http: {{paths: [{}, {}]}}\n", path("/a"), path("/b"))
}

fn cookies(response: &Response) -> Vec<&str> {
    let is_cookie = |(name, _): &&(String, String)| name == "set-cookie";
    response.headers.iter().filter(is_cookie).map(|(_, value)| &**value).collect()
}

#[test]
fn a_service_is_told_more_and_clients_get_its_cookies() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let _endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), |peer| {
        loop {
            let is_missing = peer.request()?.starts_with(b"GET /missing ");
            let status = if is_missing { "404 Not Found" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))?;
        }
    })
    .unwrap();
    let asked = Recorder::start(lab.backend(1), Addresses::backend_socket(1), |peer| {
        loop {
            peer.request()?;
            peer.send("HTTP/1.1 200 OK\r\nSet-Cookie: session=new; Path=/\r\nContent-Length: 0\r\n\r\n")?;
        }
    })
    .unwrap();
    let url = ("auth-url", "http://s1.default.svc.cluster.local/check");
    let manifest = documents(&[
        CLASS,
        TOLD,
        &service("s0", &[0]),
        &service("s1", &[1]),
        &ingress(
            "told",
            "/",
            &[
                url,
                ("auth-proxy-set-headers", "default/told"),
                ("auth-request-redirect", "https://$http_host$request_uri"),
            ],
        ),
        &ingress("always", "/", &[url, ("auth-always-set-cookie", "true")]),
        &ingress("gone", "/", &[url, ("auth-proxy-set-headers", "gone")]),
    ]);
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().start(&lab).unwrap();
    let get = |host: &str, path: &str| {
        Connection::open(lab.client(), gateway.address()).unwrap().get(host, path).unwrap()
    };
    let expected = ["session=new; Path=/"];
    for (host, path, status, told) in [
        ("told.test", "/a?b", 200, true),
        ("told.test", "/missing", 404, false),
        ("always.test", "/missing", 404, true),
        // What guards access and cannot be: nobody passes.
        ("gone.test", "/", 500, false),
    ] {
        let response = get(host, path);
        let cookies = cookies(&response);
        assert_eq!(
            (response.status, cookies),
            (status, if told { expected.to_vec() } else { Vec::new() }),
            "{host}"
        );
    }
    let text = asked.received_text();
    for line in ["X-Tenant: shop of told.test", "X-Auth-Request-Redirect: https://told.test/a?b"] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
}

#[test]
fn limits_are_for_all_paths_of_an_ingress() {
    let lab = Lab::builder().build().unwrap();
    let (answer, answers) = mpsc::channel::<()>();
    let answers = Arc::new(Mutex::new(answers));
    let endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), move |peer| {
        loop {
            if peer.request()?.starts_with(b"GET /a/held ") && answers.lock().unwrap().recv().is_err() {
                return Ok(());
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
    })
    .unwrap();
    let client = Addresses::client(0).to_string();
    let manifest = documents(&[
        CLASS,
        &service("s0", &[0]),
        &two_paths("often", &[("limit-rpm", "1"), ("limit-burst-multiplier", "1")]),
        &two_paths("once", &[("limit-connections", "1")]),
        &two_paths("exempt", &[("limit-connections", "1"), ("limit-whitelist", &client)]),
    ]);
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().start(&lab).unwrap();
    let open = || Connection::open(lab.client(), gateway.address()).unwrap();
    let get = |host: &str, path: &str| open().get(host, path).unwrap().status;
    // One, and one more of the burst, whichever path they are for.
    assert_eq!(["/a", "/b", "/a", "/b"].map(|path| get("often.test", path)), [200, 200, 503, 503]);
    for (host, status) in [("once.test", 503), ("exempt.test", 200)] {
        let before = endpoint.received_text().matches("GET /a/held ").count();
        let mut held = open();
        held.send(format!("GET /a/held HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        let has_it = || endpoint.received_text().matches("GET /a/held ").count() > before;
        until(PATIENCE, "the endpoint has it", || has_it().then_some(())).unwrap();
        assert_eq!([get(host, "/a"), get(host, "/b")], [status; 2], "{host}");
        answer.send(()).unwrap();
        assert_eq!(held.response("GET").unwrap().status, 200, "{host}");
        until(PATIENCE, "it is counted out", || (get(host, "/b") == 200).then_some(())).unwrap();
    }
}
