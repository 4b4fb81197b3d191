//! WebSocket with an endpoint and a client that others wrote (programs/websocket.py, websocket_h2.py), in cleartext, over TLS
//! and over HTTP/2.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Addresses, BACKEND_PORT, Gateway, Lab, exec};

use crate::conformance::secured_gateway;
use crate::manifests::{documents, route, service};
use crate::secure::{eventually, pair, secret};
use crate::world::RAUTA;

const ALL_PASS: &str = "12 of 12 cases passed";

pub(crate) fn script(arguments: &[&str]) -> Command {
    program("websocket.py", arguments)
}

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs").join(name));
    command.args(arguments);
    command
}

/// Runs all cases against `uri`; what the script says.
fn check(lab: &Lab, uri: &str, more: &[&str]) -> String {
    said_by(lab, script(&[&["check", uri], more].concat()))
}

fn said_by(lab: &Lab, command: Command) -> String {
    let output = exec(Some(lab.client()), command, Duration::from_secs(300)).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_client_and_an_endpoint_of_others_speak_websocket_through_the_gateway() {
    let address = Addresses::GATEWAY.to_string();
    let certificate = pair(&address);
    let route = route("all", &[], &[("", "[{name: web, port: 80}]")]);
    let manifest =
        documents(&[&secured_gateway(), &secret("any", &certificate), &service("web", &[0]), &route]);

    let lab = Lab::builder().build().unwrap();
    let (host, port) = (Addresses::backend(0).to_string(), BACKEND_PORT.to_string());
    let endpoint = lab.spawn(lab.backend(0), "websocket", script(&["serve", &host, &port])).unwrap();
    eventually("the endpoint is ready", || endpoint.log().contains("ready"));
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().start(&lab).unwrap();
    eventually("the route is there", || gateway.admin("/readyz").is_ok_and(|ready| ready.status == 200));

    let said = check(&lab, &format!("ws://{address}:8080/chat?room=1"), &[]);
    assert!(said.contains(ALL_PASS), "{said}\n{}", gateway.log());
    let authority = lab.folder().join("ca.pem");
    std::fs::write(&authority, &certificate.0).unwrap();
    let uri = format!("wss://{address}:8443/chat?room=1");
    let authority = authority.to_str().unwrap();
    let said = check(&lab, &uri, &[authority]);
    assert!(said.contains(ALL_PASS), "{said}\n{}", gateway.log());
    // Over HTTP/2, where each is a stream (RFC 8441).
    let said = said_by(&lab, program("websocket_h2.py", &[&address, "8443", authority]));
    assert!(said.contains("7 of 7 cases passed"), "{said}\n{}", gateway.log());
}
