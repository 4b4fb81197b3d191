//! What annotations of ingress-nginx say of endpoints: TLS with nginx, gRPC with its own server, how long they may take.

use std::fmt::Write;
use std::io::ErrorKind;

use testkit::{Addresses, Connection, Gateway, Lab, Peer, Recorder};

use crate::grpc::{judge, server};
use crate::ingress_nginx::{CLASS, ingress};
use crate::manifests::{documents, service};
use crate::secure::{eventually, indented, pair, secret};
use crate::upstream_tls::Endpoint;
use crate::world::RAUTA;

/// A Secret for `proxy-ssl-secret`: what is shown to endpoints, and who vouches for them.
fn proxied(name: &str, shown: &(String, String), authority: &str) -> String {
    let mut secret = secret(name, shown);
    write!(secret, "  ca.crt: |\n{}", indented(authority)).unwrap();
    secret
}

#[test]
fn endpoints_are_spoken_to_over_tls_and_verified_where_that_is_said() {
    let (endpoint, shown) = (pair("web.internal"), pair("gateway.internal"));
    let lab = Lab::builder().build().unwrap();
    let _endpoint = Endpoint::start(&lab, &endpoint, &shown.0);
    let https = ("backend-protocol", "HTTPS");
    let with = ("proxy-ssl-secret", "proxied");
    let verified = [https, with, ("proxy-ssl-verify", "on"), ("proxy-ssl-server-name", "on")];
    let named = |name| [&verified[..], &[("proxy-ssl-name", name)]].concat();
    let manifest = documents(&[
        CLASS,
        &service("s0", &[0]),
        &proxied("proxied", &shown, &endpoint.0),
        &ingress("plain", "/", &[]),
        &ingress("any", "/", &[https, with]),
        &ingress("unshown", "/", &[https]),
        &ingress("verified", "/", &named("web.internal")),
        &ingress("other", "/", &named("other.internal")),
        &ingress("nothing", "/", &[https, ("proxy-ssl-secret", "nothing")]),
        &ingress("spelt", "/", &[("backend-protocol", "HTPS")]),
    ]);
    let files = [("all.yaml", manifest.as_str())];
    let rauta = Gateway::builder(&lab, RAUTA, &files).unwrap().start(&lab).unwrap();
    let get = |host: &str| {
        let mut connection = Connection::open(lab.client(), rauta.address()).unwrap();
        let answer = connection.get(&format!("{host}.test"), "/").unwrap();
        (answer.status, answer.text())
    };
    eventually("all is read", || get("any").0 == 200);
    assert_eq!(get("any").1, " SUCCESS http\n", "without a name, with a certificate");
    assert_eq!(get("verified"), (200, "web.internal SUCCESS http\n".to_owned()));
    assert_eq!(get("other"), (502, "TLS with the endpoint failed\n".to_owned()));
    assert_eq!(get("unshown").0, 400, "the endpoint wants a certificate");
    assert_eq!(get("plain").0, 400, "the endpoint wants TLS");
    assert_eq!((get("nothing").0, get("spelt").0), (500, 500));
    // Another authority, at once.
    rauta.write("all.yaml", &manifest.replace(&indented(&endpoint.0), &indented(&shown.0))).unwrap();
    eventually("another Secret counts", || get("verified").0 == 502);
    assert_eq!(get("any").0, 200);
}

#[test]
fn grpc_reaches_endpoints_in_cleartext_and_over_tls() {
    let endpoints = pair("orders.test");
    let lab = Lab::builder().backends(2).build().unwrap();
    let file = |name: &str, text: &str| {
        let path = lab.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (chain, key) = (file("chain.pem", &endpoints.0), file("key.pem", &endpoints.1));
    let _plain = server(&lab, 0, &[]);
    let tls = ["--use_tls", &format!("--tls_cert_file={chain}"), &format!("--tls_key_file={key}")];
    let _secured = server(&lab, 1, &tls);
    for (index, protocol) in [(0, "GRPC"), (1, "GRPCS")] {
        let ingress = ingress("all", "/", &[("backend-protocol", protocol)]);
        let ingress = ingress.replace("- host: all.test\n    http", "- http");
        let manifest = documents(&[CLASS, &service("s0", &[index]), &ingress]);
        let files = [("all.yaml", manifest.as_str())];
        let gateway = Gateway::builder(&lab, RAUTA, &files).unwrap().start(&lab).unwrap();
        eventually("it serves", || gateway.admin("/readyz").is_ok_and(|ready| ready.status == 200));
        judge(&lab, &gateway, &["--server_port=8080"]);
    }
}

#[test]
fn an_endpoint_that_is_late_is_given_up_after_the_seconds_that_are_said() {
    let manifest = documents(&[
        CLASS,
        &service("s0", &[0]),
        &ingress("short", "/", &[("proxy-read-timeout", "1")]),
        &ingress("long", "/", &[("proxy-read-timeout", "60")]),
    ]);
    let lab = Lab::builder().build().unwrap();
    // Until the gateway goes.
    let silent = |peer: &mut Peer| peer.head().and_then(|_| peer.head()).map(drop);
    let _endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), silent).unwrap();
    let files = [("all.yaml", manifest.as_str())];
    let rauta = Gateway::builder(&lab, RAUTA, &files).unwrap().start(&lab).unwrap();
    let connect = || Connection::open(lab.client(), rauta.address()).unwrap();
    let mut waiting = connect();
    waiting.send("GET / HTTP/1.1\r\nHost: long.test\r\n\r\n").unwrap();
    let answer = connect().get("short.test", "/").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (504, "endpoint did not answer in time\n"));
    waiting.stream().set_nonblocking(true).unwrap();
    let nothing = waiting.stream().peek(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "the other one goes on waiting");
}
