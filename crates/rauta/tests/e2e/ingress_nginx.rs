//! Annotations of ingress-nginx, with the binary and a real nginx as the endpoint: what clients get.

use std::fmt::Write;
use std::process::Command;

use testkit::Addresses;

use crate::manifests::{documents, service};
use crate::world::{RAUTA, World};

/// A canary for the Ingress of this name, with another endpoint.
fn canary(name: &str, annotations: &[(&str, &str)]) -> String {
    let all = [&[("canary", "true")], annotations].concat();
    let text = ingress(&format!("{name}-canary"), "/", &all);
    text.replace(&format!("{name}-canary.test"), &format!("{name}.test")).replace("name: s0", "name: s1")
}

/// An Ingress for `NAME.test` with these annotations, on one path.
pub(crate) fn ingress(name: &str, path: &str, annotations: &[(&str, &str)]) -> String {
    let mut all = String::new();
    for (name, value) in annotations {
        write!(all, "nginx.ingress.kubernetes.io/{name}: {value:?}, ").unwrap();
    }
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: default, annotations: {{{all}}}}}\n\
         spec:\n  ingressClassName: rauta\n  rules:\n  - host: {name}.test\n    http: {{paths: [{{path: {path:?}, pathType: \
         ImplementationSpecific, backend: {{service: {{name: s0, port: {{number: 80}}}}}}}}]}}\n"
    )
}

pub(crate) const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: rauta}\nspec: {controller: \
                     rauta.io/ingress-controller}\n";
/// `ann` with `pw`, as htpasswd -s writes it.
const USERS: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: users, namespace: default}\nstringData: {auth: \
                     \"ann:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\"}\n";

fn world() -> World {
    let client = Addresses::client(0).to_string();
    let other = "203.0.113.0/24";
    World::with(
        2,
        &documents(&[
            CLASS,
            USERS,
            &service("s0", &[0]),
            &service("s1", &[1]),
            &ingress("plain", "/", &[]),
            &ingress("moved", "/", &[("permanent-redirect", "https://new.test$request_uri")]),
            &ingress("forced", "/", &[("force-ssl-redirect", "true")]),
            &ingress(
                "root",
                "/",
                &[("app-root", "/app"), ("from-to-www-redirect", "true"), ("server-alias", "alias.test")],
            ),
            &ingress("captured", "/old(/|$)(.*)", &[("rewrite-target", "/$2")]),
            &ingress(
                "users",
                "/",
                &[("auth-type", "basic"), ("auth-secret", "users"), ("auth-realm", "Staff")],
            ),
            &ingress("digest", "/", &[("auth-type", "digest"), ("auth-secret", "users")]),
            &ingress("denied", "/", &[("denylist-source-range", &client)]),
            &ingress("others", "/", &[("whitelist-source-range", other)]),
            &ingress("typo", "/", &[("whitelist-source-range", "everybody")]),
            &ingress("asked", "/", &[("auth-url", "http://auth.test/")]),
            &ingress("let-in", "/", &[("auth-url", "http://s1.default.svc.cluster.local/any")]),
            &ingress("not-asked", "/", &[("auth-url", "http://s1.default.svc/status/404")]),
            &ingress("small", "/", &[("proxy-body-size", "4")]),
            &ingress("limited", "/", &[("limit-rpm", "1"), ("limit-burst-multiplier", "1")]),
            &ingress(
                "unlimited",
                "/",
                &[("limit-rpm", "1"), ("limit-burst-multiplier", "1"), ("limit-allowlist", &client)],
            ),
            &ingress(
                "crossing",
                "/",
                &[
                    ("affinity", "cookie"),
                    ("session-cookie-samesite", "None"),
                    ("session-cookie-secure", "true"),
                    ("session-cookie-domain", "crossing.test"),
                ],
            ),
            &ingress("cors", "/", &[("enable-cors", "true"), ("cors-allow-origin", "https://a.test")]),
            &ingress("kept", "/", &[("affinity", "cookie"), ("session-cookie-name", "kept")]),
            &ingress("headers", "/", &[("configuration-snippet", "more_set_headers 'X-A: 1';")]),
            &ingress("snippet", "/", &[("configuration-snippet", "deny all;")]),
            &ingress("chosen", "/", &[]),
            &canary("chosen", &[("canary-by-header", "X-Canary"), ("canary-by-cookie", "new")]),
            &ingress("drawn", "/", &[]),
            &canary("drawn", &[("canary-weight", "1"), ("canary-weight-total", "0")]),
            &ingress("taken", "/", &[]),
            &canary(
                "taken",
                &[("canary-weight", "200"), ("canary-weight-total", "200"), ("canary-by-header", "X-Canary")],
            ),
        ]),
    )
}

#[test]
fn clients_get_what_annotations_of_ingress_nginx_say() {
    let world = world();
    let get = |host: &str, path: &str| world.get(host, path);
    assert_eq!(get("plain.test", "/").status, 200);
    for (host, path, status, location) in [
        ("moved.test", "/a?b", 301, "https://new.test/a?b"),
        ("forced.test", "/a?b", 308, "https://forced.test/a?b"),
        ("root.test", "/", 302, "http://root.test:8080/app"),
        ("alias.test", "/", 302, "http://alias.test:8080/app"),
        ("www.root.test", "/a", 308, "http://root.test:8080/a"),
    ] {
        let response = get(host, path);
        assert_eq!((response.status, response.header("location")), (status, Some(location)), "{host}{path}");
    }
    let captured = get("captured.test", "/old/x?y");
    let body = String::from_utf8_lossy(&captured.body).into_owned();
    assert!(captured.status == 200 && body.contains("uri=/x?y\n"), "{body}");
    assert_eq!(get("captured.test", "/new").status, 404);
    let challenged = get("users.test", "/");
    assert_eq!((challenged.status, challenged.header("www-authenticate").is_some()), (401, true));
    let with =
        |host: &str, head: &str| world.connect().request(&format!("{head}\r\nHost: {host}\r\n\r\n")).unwrap();
    assert_eq!(with("users.test", "GET / HTTP/1.1\r\nAuthorization: Basic YW5uOnB3").status, 200);
    for (host, status) in [
        ("digest.test", 500),
        ("denied.test", 403),
        ("others.test", 403),
        ("typo.test", 500),
        ("asked.test", 500),
        ("not-asked.test", 500),
        ("let-in.test", 200),
        ("snippet.test", 500),
    ] {
        assert_eq!(get(host, "/").status, status, "{host}");
    }
    let post = "POST / HTTP/1.1\r\nHost: small.test\r\nContent-Length: 5\r\n\r\nabcde";
    assert_eq!(world.connect().request(post).unwrap().status, 413);
    // One, and one more of the burst; the next comes back in a minute.
    assert_eq!([1, 2, 3].map(|_| get("limited.test", "/").status), [200, 200, 503]);
    assert_eq!([1, 2, 3].map(|_| get("unlimited.test", "/").status), [200; 3]);
    let asked = with("cors.test", "GET / HTTP/1.1\r\nOrigin: https://a.test");
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://a.test"));
    assert_eq!(asked.header("access-control-allow-credentials"), Some("true"));
    assert!(get("kept.test", "/").header("set-cookie").is_some_and(|cookie| cookie.starts_with("kept=")));
    let crossing = get("crossing.test", "/");
    let cookie = crossing.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; Domain=crossing.test; HttpOnly; Secure; SameSite=None"), "{cookie}");
    assert_eq!(get("headers.test", "/").header("x-a"), Some("1"));
}

#[test]
fn canaries_take_what_headers_cookies_and_weights_say() {
    let world = world();
    let endpoint = |host: &str, line: &str| {
        let response = world.connect().request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{line}\r\n"));
        let body = String::from_utf8_lossy(&response.unwrap().body).into_owned();
        body.lines().find_map(|line| line.strip_prefix("endpoint=")).map(str::to_owned)
    };
    let (main, canary) = (endpoint("plain.test", ""), endpoint("taken.test", ""));
    assert!(main.is_some() && canary.is_some() && main != canary, "{main:?} {canary:?}");
    for (host, line, expected) in [
        ("chosen.test", "", &main),
        ("chosen.test", "X-Canary: always\r\n", &canary),
        ("chosen.test", "X-Canary: sometimes\r\nCookie: a=b; new=always\r\n", &canary),
        // The header comes before the cookie.
        ("chosen.test", "X-Canary: never\r\nCookie: new=always\r\n", &main),
        ("taken.test", "X-Canary: never\r\n", &main),
    ] {
        assert_eq!(&endpoint(host, line), expected, "{host} {line:?}");
    }
    // One of a hundred: both are met at some time, whatever is drawn.
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..5000 {
        met.extend(endpoint("drawn.test", ""));
        if met.len() == 2 {
            break;
        }
    }
    assert_eq!(met.len(), 2, "{met:?}");
}

#[test]
fn migrate_says_what_becomes_of_each_annotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.yaml");
    let run = |manifest: &str, more: &[&str]| {
        std::fs::write(&path, manifest).unwrap();
        let output = Command::new(RAUTA)
            .args(["migrate", "ingress-nginx"])
            .args(more)
            .arg(folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&ingress("good", "/", &[("app-root", "/app")]), &[]);
    assert_eq!((code, text.contains("differs    app-root")), (Some(0), true), "{text}");
    let mixed = documents(&[
        &ingress("closed", "/", &[("server-snippet", "deny all;")]),
        &ingress("bad", "/", &[("proxy-body-size", "8mb")]),
    ]);
    let (code, text) = run(&mixed, &["-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["ingresses"][0]["annotations"][0]["support"]), (Some(1), &"closed".into()));
    assert!(json["ingresses"][1]["annotations"][0]["problem"].as_str().unwrap().contains("8mb"), "{text}");
    // One that cannot be read is not passed over; a field that is not known is no reason for that.
    let good = ingress("good", "/", &[("app-root", "/app"), ("backend-protocol", "HTTP")]);
    let (code, text) = run(&good.replace("spec:", "spec:\n  later: 1"), &[]);
    assert_eq!((code, text.contains("differs    app-root")), (Some(0), true), "{text}");
    let bad = good.replace("networking.k8s.io/v1", "networking.k8s.io/v1beta1");
    let (code, text) = run(&bad, &[]);
    let line = "cannot be read: apiVersion must be networking.k8s.io/v1";
    assert_eq!((code, text.contains(line)), (Some(1), true), "{text}");
    let (code, text) = run(&bad, &["-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["ingresses"][0]["error"].is_string()), (Some(1), true), "{text}");
    // As `kubectl get ingress -o json` writes it.
    let list = r#"{"kind": "List", "apiVersion": "v1", "items": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "piped", "annotations": {"nginx.ingress.kubernetes.io/app-root": "/a"}}, "spec": {}}]}"#;
    std::fs::write(&path, list).unwrap();
    let piped = Command::new(RAUTA)
        .args(["migrate", "ingress-nginx", "-"])
        .stdin(std::fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(piped.stdout).unwrap();
    assert!(
        piped.status.success() && text.contains("Ingress default/piped\n  differs    app-root"),
        "{text}"
    );
    let output = Command::new(RAUTA).args(["migrate", "ingress-nginx", "/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
