//! The kernel's part as root: programs attached, packets counted, everything gone afterwards.

use std::process::Command;
use std::time::Duration;

use testkit::{Connection, Gateway, Lab, Nginx, exec};

use crate::manifests::all_to;
use crate::world::RAUTA;

/// The gateway with its kernel programs in front of one nginx.
fn start() -> (Gateway, Nginx, Lab) {
    let lab = Lab::builder().build().unwrap();
    let nginx = Nginx::start(&lab, 0).unwrap();
    let pins = lab.bpffs().unwrap().join("pins").display().to_string();
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))])
        .unwrap()
        .hook("tc")
        .env("RAUTA_DATAPLANE_PIN_ROOT", &pins)
        .start(&lab)
        .unwrap();
    (gateway, nginx, lab)
}

#[test]
fn packets_and_connections_are_counted_in_the_kernel() {
    let (mut gateway, _nginx, lab) = start();
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

/// What METRICS counts: all packets, those of each tier, dropped ones, and requests that the scanner gave up.
fn counted(gateway: &Gateway) -> [u64; 6] {
    let names = [
        "packets",
        "packets_tier1",
        "packets_tier2",
        "packets_tier3",
        "packets_dropped",
        "http_parse_errors",
    ];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters of a few packets")]
    names.map(|name| gateway.metric(&format!("rauta_datapath_{name}_total"), "").unwrap() as u64)
}

#[test]
fn each_of_the_six_counters_moves_with_what_it_counts_alone() {
    let (gateway, _nginx, lab) = start();
    let is_routed = || gateway.admin("/").is_ok_and(|page| page.text().contains("TC routes 1 of 1"));
    testkit::until(Duration::from_secs(20), "the kernel to route", || is_routed().then_some(())).unwrap();
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    let start = counted(&gateway);
    for _ in 0..10 {
        assert_eq!(connection.get("a", "/128").unwrap().status, 200);
    }
    // Each request is a packet and its answer one, at least.
    let [all, one, two, three, _, errors] = counted(&gateway);
    assert!(two >= start[2] + 20 && all >= start[0] + 20, "{start:?} {two} {all}");
    assert_eq!([one, three, errors], [start[1], start[3], start[5]], "decided in the kernel at TC");

    let odd = "GET /128 HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n";
    assert_eq!(connection.request(odd).unwrap().status, 200);
    let after = counted(&gateway);
    assert_eq!(after[5], errors + 1, "one request that only userspace reads");
    assert!(after[3] > three && after[1] == one);

    // At the end of a connection something is left over for nobody.
    let before = counted(&gateway)[4];
    let mut second = Connection::open(lab.client(), gateway.address()).unwrap();
    assert_eq!(second.get("a", "/128").unwrap().status, 200);
    drop(second);
    let has_dropped = || counted(&gateway)[4] > before;
    testkit::until(Duration::from_secs(10), "a dropped packet", || has_dropped().then_some(())).unwrap();
}
