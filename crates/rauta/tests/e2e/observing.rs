//! What is seen of single requests: ids, traces, the access log.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{Addresses, Connection, Gateway, Lab, Recorder, until};

use crate::manifests::all_to;
use crate::world::RAUTA;

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway with its kernel programs, these settings, and an endpoint that records.
fn with_kernel(settings: &[(&str, &str)]) -> (Gateway, Recorder, Lab) {
    let lab = Lab::builder().build().unwrap();
    let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
    lab.bpffs().unwrap();
    let mut builder = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))]).unwrap().hook("tc");
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    (builder.start(&lab).unwrap(), endpoint, lab)
}

#[test]
fn the_kernel_leaves_requests_that_get_an_id_to_userspace_and_says_so() {
    let (gateway, endpoint, lab) = with_kernel(&[("RAUTA_REQUEST_ID", "x-request-id")]);
    for _ in 0..4 {
        let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
        assert_eq!(connection.get("a.test", "/").unwrap().status, 200);
    }
    let received =
        (0..endpoint.connections()).map(|index| endpoint.received(index)).collect::<Vec<_>>().concat();
    let received = String::from_utf8(received).unwrap();
    assert_eq!(received.matches("\r\nx-request-id: ").count(), 4, "{received}");
    for arguments in
        [&["routes", "-o", "wide"][..], &["explain", "request", "GET", "http://a.test/"], &["status"]]
    {
        let output = gateway.cli(arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("every request gets an id (requestId)"), "{arguments:?}: {text}");
    }
}

/// The lines of the access log, once there are so many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    until(PATIENCE, "lines of the access log", || (read().lines().count() >= count).then_some(())).unwrap();
    read().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn the_access_log_outlives_a_rotation_and_has_the_last_request() {
    let lab = Lab::builder().build().unwrap();
    let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
    let (path, old) = (lab.folder().join("access.log"), lab.folder().join("access.old"));
    let mut gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))])
        .unwrap()
        .env("RAUTA_ACCESS_LOG_PATH", path.to_str().unwrap())
        .start(&lab)
        .unwrap();
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    for _ in 0..3 {
        assert_eq!(connection.get("a.test", "/one").unwrap().status, 200);
    }
    let first: Value = serde_json::from_str(&lines(&path, 3)[0]).unwrap();
    assert_eq!(
        (&first["path"], &first["status"], &first["protocol"]),
        (&"/one".into(), &200.into(), &"HTTP/1.1".into())
    );
    assert_eq!(first["endpoint"], endpoint.address().to_string());
    assert!(first["client"].as_str().unwrap().starts_with("10.77.0.2:"), "{first}");
    std::fs::rename(&path, &old).unwrap();
    gateway.process().signal(Signal::SIGHUP).unwrap();
    until(PATIENCE, "a new file", || path.exists().then_some(())).unwrap();
    assert_eq!(connection.get("a.test", "/two").unwrap().status, 200);
    assert!(lines(&path, 1)[0].contains("/two"));
    // The last line is there when the agent has stopped.
    assert_eq!(connection.get("a.test", "/three").unwrap().status, 200);
    drop(connection);
    gateway.process().signal(Signal::SIGTERM).unwrap();
    gateway.process().wait(PATIENCE).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().contains("/three"));
    assert_eq!(std::fs::read_to_string(&old).unwrap().lines().count(), 3);
}

#[test]
fn with_accesslog_complete_the_kernel_leaves_every_request_to_userspace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (gateway, _endpoint, lab) = with_kernel(&[
        ("RAUTA_ACCESS_LOG_PATH", path.to_str().unwrap()),
        ("RAUTA_ACCESS_LOG_FORMAT", "$method $path"),
        ("RAUTA_ACCESS_LOG_COMPLETE", "true"),
    ]);
    for _ in 0..4 {
        let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
        assert_eq!(connection.get("a.test", "/x").unwrap().status, 200);
    }
    assert_eq!(lines(&path, 4), vec!["GET /x"; 4]);
    let output = gateway.cli(&["status"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("every request is in the access log (accessLog.complete)"), "{text}");
}

/// Whether `all` holds these bytes.
fn holds(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn spans_of_a_callers_trace_reach_the_collector_and_the_endpoint_gets_their_context() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CALLER: &str = "00f067aa0ba902b7";
    let lab = Lab::builder().backends(2).build().unwrap();
    let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
    let collector = Recorder::answering(lab.backend(1), Addresses::backend_socket(1), "").unwrap();
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))]).unwrap();
    let url = format!("http://{}", Addresses::backend_socket(1));
    let gateway = gateway.env("RAUTA_TRACING_ENDPOINT", &url).start(&lab).unwrap();
    let mut client = Connection::open(lab.client(), gateway.address()).unwrap();
    let request = format!(
        "GET /orders HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: a=b\r\n\r\n"
    );
    assert_eq!(client.request(&request).unwrap().text(), "fine");

    let got = endpoint.received_text();
    assert!(got.contains("tracestate: a=b\r\n"), "{got}");
    let (_, context) = got.split_once(&format!("traceparent: 00-{TRACE}-")).unwrap();
    let span = context.split('-').next().unwrap();
    assert_ne!(span, CALLER);
    let sent = || (0..collector.connections()).flat_map(|i| collector.received(i)).collect::<Vec<u8>>();
    // Ids are 16 and 8 bytes of the message (trace.proto of OpenTelemetry); the caller's span is the parent of the gateway's.
    crate::secure::eventually("the spans", || {
        [TRACE, CALLER, span].iter().all(|id| holds(&sent(), &bytes_of(id))) && holds(&sent(), b"/orders")
    });
    let sent = String::from_utf8_lossy(&sent()).into_owned();
    assert!(sent.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("application/x-protobuf"), "{sent}");
}
