//! RoutePolicies from files, with the binary: what clients get, what endpoints see, what people are told.

use std::path::Path;
use std::process::Command;

use testkit::{Addresses, Connection, Gateway, Lab, Process, Recorder};

use crate::conformance::program;
use crate::manifests::{GATEWAY, documents, service};
use crate::secure::eventually;
use crate::world::RAUTA;

/// Rules `/api` (named `api`) and `/` before one endpoint that answers `fine`, and these policies. Service `auth` has a backend of its own,
/// where nobody answers at first.
struct Policed {
    gateway: Gateway,
    endpoint: Recorder,
    lab: Lab,
}

impl Policed {
    /// `policies`: name and spec of each, in YAML's flow style.
    fn by(policies: &[(&str, &str)]) -> Self {
        let lab = Lab::builder().backends(2).build().unwrap();
        let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
        Self::before(lab, endpoint, policies)
    }

    fn before(lab: Lab, endpoint: Recorder, policies: &[(&str, &str)]) -> Self {
        let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  \
            parentRefs: [{name: gw}]\n  rules:\n  \
            - {name: api, matches: [{path: {value: /api}}], backendRefs: [{name: web, port: 80}]}\n  \
            - {backendRefs: [{name: web, port: 80}]}\n";
        let mut manifest = documents(&[GATEWAY, &service("web", &[0]), &service("auth", &[1]), route]);
        for (name, spec) in policies {
            manifest += &format!(
                "---\napiVersion: rauta.io/v1\nkind: RoutePolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
            );
        }
        let gateway =
            Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().env("RAUTA_THREADS", "1");
        Self { gateway: gateway.start(&lab).unwrap(), endpoint, lab }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.lab.client(), self.gateway.address()).unwrap()
    }

    fn status(&self, path: &str) -> u16 {
        self.connect().get("a.test", path).unwrap().status
    }
}

/// Python with gRPC and Envoy's messages, by version.
const XDS: &str = "xds-1.85.0";
/// Of the Gateway, and of rule `api`.
const ALL: &str = "{group: gateway.networking.k8s.io, kind: Gateway, name: gw}";
const API: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: api}";

#[test]
fn the_most_specific_policy_wins_field_by_field() {
    let client = Addresses::client(0);
    let all = format!("{{targetRefs: [{ALL}], ipRules: {{deny: [{client}]}}, requestBodyMax: 4}}");
    let api = format!("{{targetRefs: [{API}], ipRules: {{allow: [{client}]}}}}");
    let world = Policed::by(&[("all", &all), ("api", &api)]);
    assert_eq!((world.status("/"), world.status("/api/x")), (403, 200));
    let post = "POST /api HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nabcde";
    assert_eq!(
        world.connect().request(post).unwrap().status,
        413,
        "the Gateway's limit holds for the rule, too"
    );
    assert_eq!(world.endpoint.connections(), 1);
}

#[test]
fn a_direct_response_is_given_by_the_gateway() {
    let spec = format!(
        "{{targetRefs: [{API}], directResponse: {{statusCode: 503, contentType: text/html, body: \"<p>soon</p>\"}}}}"
    );
    let world = Policed::by(&[("closed", &spec)]);
    let response = world.connect().get("a.test", "/api").unwrap();
    assert_eq!((response.status, response.header("content-type")), (503, Some("text/html")));
    assert_eq!(response.body, b"<p>soon</p>");
    assert_eq!(world.status("/"), 200);
}

#[test]
fn a_policy_with_a_misspelt_field_closes_its_rule_and_no_other() {
    let spec = format!("{{targetRefs: [{API}], ipRule: {{allow: [10.0.0.0/8]}}}}");
    let world = Policed::by(&[("typo", &spec)]);
    assert_eq!((world.status("/api"), world.status("/")), (500, 200));
    assert_eq!(world.endpoint.connections(), 1);
}

#[test]
fn a_client_that_asks_too_often_waits_and_others_do_not() {
    let spec = format!(
        "{{targetRefs: [{API}], rateLimit: {{requests: 2, unit: Hour, key: {{type: Header, header: X-Key}}}}}}"
    );
    let world = Policed::by(&[("rate", &spec)]);
    let mut connection = world.connect();
    let mut ask = |key: &str| {
        let request = format!("GET /api HTTP/1.1\r\nHost: a.test\r\nX-Key: {key}\r\n\r\n");
        connection.request(&request).unwrap().status
    };
    assert_eq!([ask("a"), ask("a"), ask("a"), ask("b")], [200, 200, 429, 200]);
    assert_eq!(world.status("/"), 200);
}

#[test]
fn faults_are_injected_for_the_rule_alone() {
    let spec = format!(
        "{{targetRefs: [{API}], faultInjection: {{delay: {{fixedDelay: 10ms}}, abort: {{httpStatus: 504}}}}}}"
    );
    let world = Policed::by(&[("fault", &spec)]);
    assert_eq!((world.status("/api"), world.status("/")), (504, 200));
    assert_eq!(world.endpoint.connections(), 1);
}

#[test]
fn users_are_let_in_by_a_secret_and_without_it_nobody_is() {
    let spec = |name: &str| format!("{{targetRefs: [{API}], basicAuth: {{users: {{name: {name}}}}}}}");
    // Of `a:secret`. A Secret stands where the other documents do.
    let secret = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: users}\nstringData: {.htpasswd: \"a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\"}";
    let world = Policed::by(&[("auth", &(spec("users") + secret))]);
    let request = "GET /api HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic YTpzZWNyZXQ=\r\n\r\n";
    assert_eq!(world.connect().request(request).unwrap().status, 200);
    assert_eq!((world.status("/api"), world.status("/")), (401, 200));
    let world = Policed::by(&[("auth", &spec("users"))]);
    assert_eq!(world.connect().request(request).unwrap().status, 500);
}

/// Keys and tokens of another implementation.
const FOREIGN: &str = include_str!("../../../jwt/tests/foreign.json");

#[test]
fn signed_tokens_let_in_and_tell_endpoints_who_asks() {
    let foreign: serde_json::Value = serde_json::from_str(FOREIGN).unwrap();
    let keys = serde_json::json!({"keys": foreign["keys"]});
    let spec = format!(
        "{{targetRefs: [{API}], jwt: {{providers: [{{name: a, issuer: 'https://issuer.test', audiences: [shop], \
         localJWKS: {{type: ValueRef, valueRef: {{kind: ConfigMap, name: keys}}}}, \
         claimToHeaders: [{{claim: sub, header: X-User}}]}}]}}}}"
    );
    let map =
        format!("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: keys}}\ndata: {{jwks: '{keys}'}}");
    let world = Policed::by(&[("tokens", &(spec.clone() + &map))]);
    let request = |token: &str| {
        format!("GET /api HTTP/1.1\r\nHost: a.test\r\nX-User: eve\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    for alg in ["RS256", "PS384", "ES256", "ES384", "EdDSA"] {
        let token = foreign["tokens"][alg].as_str().unwrap();
        assert_eq!(world.connect().request(&request(token)).unwrap().status, 200, "{alg}");
    }
    let received = world.endpoint.received_text();
    assert!(received.contains("\r\nX-User: anna\r\n") && !received.contains("eve"), "{received}");
    for (how, token) in foreign["forged"].as_object().unwrap() {
        assert_eq!(world.connect().request(&request(token.as_str().unwrap())).unwrap().status, 401, "{how}");
    }
    assert_eq!((world.status("/api"), world.status("/")), (401, 200));
    // Without its keys nobody is let in.
    let world = Policed::by(&[("tokens", &spec)]);
    let token = foreign["tokens"]["ES256"].as_str().unwrap();
    assert_eq!(world.connect().request(&request(token)).unwrap().status, 500);
}

#[test]
fn a_service_is_asked_about_requests_and_nobody_is_let_in_without_it() {
    let spec = format!(
        "{{targetRefs: [{API}], extAuth: {{http: {{backendRefs: [{{name: auth, port: 80}}], path: /check}}, \
         statusOnError: 503}}}}"
    );
    let world = Policed::by(&[("asked", &spec)]);
    assert_eq!((world.status("/api/x"), world.status("/")), (503, 200));
    let service = Recorder::answering(world.lab.backend(1), Addresses::backend_socket(1), "good").unwrap();
    assert_eq!(world.status("/api/x?y"), 200);
    assert!(service.received_text().starts_with("GET /check/api/x?y HTTP/1.1\r\nHost: a.test\r\n"));
}

/// The service is gRPC's own, its messages are Envoy's (programs/ext_authz.py).
#[test]
fn a_service_of_others_is_asked_by_grpc() {
    let spec =
        format!("{{targetRefs: [{API}], extAuth: {{grpc: {{backendRefs: [{{name: auth, port: 80}}]}}}}}}");
    let world = Policed::by(&[("asked", &spec)]);
    let at = Addresses::backend_socket(1);
    let mut command = Command::new(program(&format!("{XDS}/python/bin/python")));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs/ext_authz.py"));
    command.args([at.ip().to_string(), at.port().to_string()]);
    let service = Process::spawn(Some(world.lab.backend(1)), "auth", command, world.lab.folder()).unwrap();
    eventually("the service serves", || service.log().contains("serving"));
    let ask = |lines: &str| {
        let request = format!("GET /api/x?y HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        world.connect().request(&request).unwrap()
    };
    eventually("its connection is there", || ask("").status == 401);
    let refused = ask("Authorization: Bearer bad\r\n");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(refused.body, b"who are you?");
    assert_eq!(world.endpoint.received_text(), "");
    assert_eq!(ask("Authorization: Bearer good\r\nX-User: eve\r\n").status, 200);
    let received = world.endpoint.received_text();
    assert!(received.contains("\r\nx-user: anna\r\n") && !received.contains("eve"), "{received}");
    assert!(!received.to_ascii_lowercase().contains("authorization"), "{received}");
    let asked = format!("asked {} GET /api/x?y a.test http HTTP/1.1\n", Addresses::client(0));
    assert!(service.log().contains(&asked), "{}", service.log());
}

#[test]
fn errors_of_the_gateway_say_what_was_written() {
    let spec = format!(
        "{{targetRefs: [{API}], requestBodyMax: 1, \
         errorResponses: [{{statusCodes: [4xx], contentType: application/json, body: \"{{}}\"}}]}}"
    );
    let world = Policed::by(&[("errors", &spec)]);
    let post = "POST /api HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab";
    let response = world.connect().request(post).unwrap();
    assert_eq!((response.status, response.header("content-type")), (413, Some("application/json")));
    assert_eq!(response.body, b"{}");
}

#[test]
fn curl_gets_compressed_responses_where_a_policy_says_so() {
    let spec =
        format!("{{targetRefs: [{API}], compression: [{{type: Zstd}}, {{type: Brotli}}, {{type: Gzip}}]}}");
    let page: String = (0..5000).map(|number| format!("<li>{number}</li>\n")).collect();
    let lab = Lab::builder().backends(1).build().unwrap();
    let body = page.clone();
    let endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), move |peer| {
        loop {
            peer.request()?;
            let head = format!("Content-Type: text/html\r\nContent-Length: {}", body.len());
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))?;
        }
    });
    let world = Policed::before(lab, endpoint.unwrap(), &[("small", &spec)]);
    // Head and body, decoded by curl.
    let curl = |path: &str, accept: &str| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--include",
            "--compressed",
            "--max-time",
            "20",
            "--header",
            "Host: a.test",
        ]);
        command.args(["--header", &format!("Accept-Encoding: {accept}")]);
        command.arg(format!("http://{}{path}", world.gateway.address()));
        world.lab.client().place(&mut command);
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(body == page, "{path} {accept}: {head}");
        head.to_ascii_lowercase()
    };
    for coding in ["gzip", "br", "zstd"] {
        let head = curl("/api", coding);
        assert!(head.contains(&format!("\r\ncontent-encoding: {coding}")), "{head}");
        assert!(head.contains("\r\nvary: accept-encoding"), "{head}");
    }
    assert!(curl("/api", "gzip, br, zstd").contains("content-encoding: zstd"));
    for (path, accept) in [("/api", "identity"), ("/", "gzip")] {
        assert!(!curl(path, accept).contains("content-encoding"));
    }
}
