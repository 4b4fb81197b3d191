//! Metrics of routes and endpoints, which are there on request.

use crate::world::{Network, World};

on_two_networks!(routes_and_endpoints_are_counted_on_request,);

const ASKED: &[(&str, &str)] =
    &[("RAUTA_DATAPLANE_ROUTE_METRICS", "40"), ("RAUTA_DATAPLANE_ENDPOINT_METRICS", "40")];

/// The values of a series by the value of its label.
fn series(metrics: &str, name: &str, label: &str) -> Vec<(String, f64)> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(&format!("{name}{{")));
    let parsed = lines.filter_map(|line| {
        let value = line.split(&format!("{label}=\"")).nth(1)?.split('"').next()?;
        Some((value.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
    });
    parsed.collect()
}

fn routes_and_endpoints_are_counted_on_request(network: Network) {
    let world = World::tuned(network, ASKED);
    if world.hook == "off" {
        return;
    }
    let before = world.gateway.metrics().unwrap();
    let mut connection = world.connect();
    for _ in 0..5 {
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    }
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
    let after = world.gateway.metrics().unwrap();
    for (label, prefix) in [("route", "rauta_kernel_route"), ("endpoint", "rauta_kernel_endpoint")] {
        for name in [format!("{prefix}_responses_total"), format!("{prefix}_first_byte_seconds_count")] {
            let old = series(&before, &name, label);
            let new = series(&after, &name, label);
            let mut grown: Vec<f64> = new
                .iter()
                .map(|(of, value)| value - old.iter().find(|(o, _)| o == of).map_or(0.0, |(_, value)| *value))
                .filter(|grown| *grown > 0.0)
                .collect();
            grown.sort_by(f64::total_cmp);
            assert_eq!(grown, [1.0, 5.0], "{name}: {old:?} {new:?}");
        }
    }
    let endpoints = series(&after, "rauta_kernel_endpoint_responses_total", "endpoint");
    assert!(endpoints.iter().any(|(of, _)| *of == network.endpoint(0).to_string()), "{endpoints:?}");

    // Without the settings there are none, whatever an earlier agent counted.
    let plain = World::new(network);
    assert_eq!(plain.get("/a").endpoint(), Some("b0"));
    let metrics = plain.gateway.metrics().unwrap();
    assert!(
        !metrics.contains("rauta_kernel_route_") && !metrics.contains("rauta_kernel_endpoint_"),
        "{metrics}"
    );
}
