//! What the agent says about itself: metrics, status page, command line.

use crate::manifests::all_to;
use crate::world::World;

#[test]
fn requests_are_counted_by_gateway_and_status() {
    let world = World::simple();
    let mut connection = world.connect();
    for _ in 0..5 {
        connection.get("a", "/128").unwrap();
    }
    connection.get("a", "/status/404").unwrap();
    let count = |code: &str| world.gateway.metric("rauta_requests_total", code).unwrap();
    assert!((count("code=\"2xx\"") - 5.0).abs() < 0.5);
    assert!((count("code=\"4xx\"") - 1.0).abs() < 0.5);
    let by_protocol = r#"protocol="HTTP/1.1",scheme="http""#;
    assert!(
        (world.gateway.metric("rauta_downstream_requests_total", by_protocol).unwrap() - 6.0).abs() < 0.5
    );
    let text = world.gateway.metrics().unwrap();
    for name in [
        "rauta_request_duration_seconds_bucket",
        "rauta_downstream_connections_total",
        "rauta_upstream_connections_total",
        "rauta_snapshot_version",
        "rauta_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
}

#[test]
fn status_routes_and_backends_are_told_over_the_control_socket() {
    let world = World::with(2, &all_to(&[0, 1]));
    for (arguments, expected) in [
        (&["status"] as &[&str], "8080"),
        (&["routes"], "HTTPRoute default/web"),
        (&["backends"], "10.77.1.12:8080"),
        (&["explain", "request", "GET", "http://any.test/x"], "default/web"),
    ] {
        let output = world.gateway.cli(arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(expected), "{arguments:?}: {expected:?} not in\n{text}");
    }
}

#[test]
fn the_status_page_shows_routes_and_endpoints() {
    let world = World::simple();
    let page = world.gateway.admin("/").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text().contains("10.77.1.11:8080"), "{}", page.text());
}
