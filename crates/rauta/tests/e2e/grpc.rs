//! gRPC with the client and the server of its own interoperability cases, which `./x setup` builds.

use std::process::Command;
use std::time::Duration;

use testkit::{Addresses, BACKEND_PORT, Gateway, Lab, Process, exec};

use crate::conformance::{program, secured_gateway};
use crate::manifests::{documents, service};
use crate::secure::{eventually, pair, secret};
use crate::upstream_tls::{bundle, policy};
use crate::world::RAUTA;

/// Where both are, by version.
pub(crate) const GRPC: &str = "grpc-1.62.2";
/// Makes both say what they do.
const LOG: (&str, &str) = ("GRPC_GO_LOG_SEVERITY_LEVEL", "info");

/// All that need nothing of a cloud, and what the client says at the end of each.
const CASES: [(&str, &str); 14] = [
    ("empty_unary", "EmptyUnaryCall done"),
    ("large_unary", "LargeUnaryCall done"),
    ("client_streaming", "ClientStreaming done"),
    ("server_streaming", "ServerStreaming done"),
    ("ping_pong", "Pingpong done"),
    ("empty_stream", "Emptystream done"),
    ("timeout_on_sleeping_server", "TimeoutOnSleepingServer done"),
    ("cancel_after_begin", "CancelAfterBegin done"),
    ("cancel_after_first_response", "CancelAfterFirstResponse done"),
    ("status_code_and_message", "StatusCodeAndMessage done"),
    ("special_status_message", "SpecialStatusMessage done"),
    ("custom_metadata", "CustomMetadata done"),
    ("unimplemented_method", "UnimplementedMethod done"),
    ("unimplemented_service", "UnimplementedService done"),
];

#[test]
fn every_interoperability_case_passes_in_cleartext_and_over_tls_on_both_sides() {
    let (shown, endpoints) = (pair("*.test"), pair("orders.test"));
    let plain = grpc_route("plain", "", "{service: grpc.testing.TestService}", "plain");
    let secured = grpc_route("secured", "secured.test", "", "web");
    let manifest = documents(&[
        &secured_gateway(),
        &secret("any", &shown),
        &service("plain", &[0]),
        &service("web", &[1]),
        &bundle("endpoints", &endpoints.0),
        &policy("orders.test"),
        &plain,
        &secured,
    ]);
    let lab = Lab::builder().backends(2).build().unwrap();
    let file = |name: &str, text: &str| {
        let path = lab.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let _plain = server(&lab, 0, &[]);
    let (chain, key) = (file("chain.pem", &endpoints.0), file("key.pem", &endpoints.1));
    let tls = ["--use_tls", &format!("--tls_cert_file={chain}"), &format!("--tls_key_file={key}")];
    let _secured = server(&lab, 1, &tls);
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().start(&lab).unwrap();
    eventually("the routes are there", || gateway.admin("/readyz").is_ok_and(|ready| ready.status == 200));

    judge(&lab, &gateway, &["--server_port=8080"]);
    let authority = format!("--ca_file={}", file("authority.pem", &shown.0));
    for name in ["plain.test", "secured.test"] {
        let name = format!("--server_host_override={name}");
        judge(&lab, &gateway, &["--server_port=8443", "--use_tls", "--use_test_ca", &authority, &name]);
    }
}

/// A GRPCRoute on `gw` with one rule to port 80 of `service`; `host` and `method` may be empty.
pub(crate) fn grpc_route(name: &str, host: &str, method: &str, service: &str) -> String {
    let some = |key: &str, value: String| if value.is_empty() { value } else { format!("{key}: [{value}]") };
    let (hostnames, matches) = (
        some("hostnames", host.to_owned()),
        some("matches", if method.is_empty() { String::new() } else { format!("{{method: {method}}}") }),
    );
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  parentRefs: [{{name: gw}}]\n  {hostnames}\n  rules:\n  - backendRefs: [{{name: {service}, port: 80}}]\n    {matches}\n"
    )
}

/// The server as endpoint `index` of the lab.
pub(crate) fn server(lab: &Lab, index: usize, arguments: &[&str]) -> Process {
    let mut command = Command::new(program(&format!("{GRPC}/server")));
    command.arg(format!("--port={BACKEND_PORT}")).args(arguments).env(LOG.0, LOG.1);
    let server = lab.spawn(lab.backend(index), &format!("grpc-{index}"), command).unwrap();
    eventually("the server listens", || server.log().contains("listening on"));
    server
}

/// Runs every case against the gateway.
pub(crate) fn judge(lab: &Lab, gateway: &Gateway, arguments: &[&str]) {
    for (case, done) in CASES {
        let mut command = Command::new(program(&format!("{GRPC}/client")));
        command.arg(format!("--server_host={}", Addresses::GATEWAY)).arg(format!("--test_case={case}"));
        command.args(arguments).env(LOG.0, LOG.1);
        let output = exec(Some(lab.client()), command, Duration::from_secs(60)).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let passed = output.status.success() && said.contains(done);
        assert!(passed, "{case} {arguments:?}: {said}\n{}", gateway.log());
    }
}
