//! The kernel's part as root: programs attached, packets counted, everything gone afterwards.

use std::process::Command;
use std::time::Duration;

use testkit::{Connection, Gateway, Lab, Nginx, exec};

use crate::manifests::all_to;
use crate::world::RAUTA;

#[test]
fn packets_and_connections_are_counted_in_the_kernel() {
    let lab = Lab::builder().build().unwrap();
    let _nginx = Nginx::start(&lab, 0).unwrap();
    let pins = lab.bpffs().unwrap().join("pins").display().to_string();
    let mut gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))])
        .unwrap()
        .hook("tc")
        .env("RAUTA_DATAPLANE_PIN_ROOT", &pins)
        .start(&lab)
        .unwrap();
    for _ in 0..5 {
        let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
        assert_eq!(connection.get("a", "/128").unwrap().status, 200);
    }
    let metrics = testkit::until(Duration::from_secs(10), "packets in the metrics", || {
        (gateway.metric("rauta_datapath_packets_total", "").ok()? >= 15.0).then(|| gateway.metrics().unwrap())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", gateway.metrics().unwrap(), gateway.log()));
    for known in ["packets_tier1", "packets_tier2", "packets_tier3", "packets_dropped", "http_parse_errors"] {
        assert!(metrics.contains(known), "{known} is missing in\n{metrics}");
    }
    let connections = gateway.metric("rauta_listener_connections_total", "8080").unwrap();
    assert!((connections - 5.0).abs() < 0.5, "{connections}\n{metrics}");

    // Told to end, it leaves nothing attached.
    gateway.process().signal(testkit::Signal::SIGTERM).unwrap();
    assert_eq!(gateway.process().wait(Duration::from_secs(20)).unwrap().code(), Some(0), "{}", gateway.log());
    let mut show = Command::new("bpftool");
    show.args(["net", "show"]);
    let output = exec(Some(lab.gateway()), show, Duration::from_secs(10)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("rauta"), "{text}\n{}", gateway.log());
}
