//! Kernels that lack something, as far as one that has it can play them.

use std::process::Command;
use std::time::Duration;

use testkit::{Connection, Filter, Gateway, Nginx, Verdict, exec};

use crate::manifests;
use crate::world::{Network, RAUTA, World, hook};

with_clsact!(a_filter_of_somebody_comes_behind_ours_and_stays);

const DEVICES: [&str; 2] = ["front0", "back0"];

/// One was there before the agent came; another drops all that it sees.
fn a_filter_of_somebody_comes_behind_ours_and_stays(network: Network) {
    if hook() == "off" {
        return;
    }
    let lab = network.lab();
    let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    let first = DEVICES.map(|device| Filter::add(&lab, device, 10, Verdict::Next).unwrap());
    let mut world = World::around(network, lab, nginx, None, &[]);
    assert_eq!(world.get("/a").endpoint(), Some("b0"));
    let text = world.gateway.log();
    assert!(text.contains("front0 (clsact)") && !text.contains("(tcx)"), "{text}");
    let dropping = DEVICES.map(|device| Filter::add(&world.lab, device, 20, Verdict::Drop).unwrap());
    let seen = |filters: &[Filter]| filters.iter().map(|filter| filter.seen().unwrap()).sum::<u64>();
    let before = (seen(&first), seen(&dropping));
    world.decides(21, || {
        assert_eq!(world.get("/b").endpoint(), Some("b1"));
        let mut connection = world.connect();
        for _ in 0..10 {
            assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        }
    });
    // Some hundred packets passed. What they saw are late ones of userspace's own connections.
    let passed = (seen(&first) - before.0, seen(&dropping) - before.1);
    assert!(passed.0 < 20 && passed.1 < 20, "{passed:?} packets");
    // Past the gateway, straight to an endpoint: what is not ours is theirs.
    let direct = world
        .lab
        .client()
        .run(|| std::net::TcpStream::connect_timeout(&network.endpoint(1), Duration::from_millis(300)));
    assert!(direct.unwrap().is_err());
    assert!(seen(&first) > before.0 && seen(&dropping) > before.1);

    // When the agent goes it takes its own filter and no other.
    world.gateway.process().signal(testkit::Signal::SIGTERM).unwrap();
    assert_eq!(world.gateway.process().wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    for device in DEVICES {
        let mut show = Command::new("tc");
        show.args(["filter", "show", "dev", device, "ingress"]);
        let output = exec(Some(world.lab.gateway()), show, Duration::from_secs(10)).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.matches("direct-action").count() == 2 && !text.contains("rauta"), "{text}");
    }
}

/// What the agent says where the programs could hand nothing to userspace.
const LINE: &str = "kernel programs only count packets: this kernel lacks bpf_sk_assign_tcp_reqsk, so that \
                    connections could not be handed to userspace: use Linux 6.9 or later";

#[test]
fn without_the_function_for_hand_off_userspace_serves() {
    if hook() != "off" {
        userspace_serves(Network::V4_OFFLOADS, "kernel-functions");
    }
}

/// Without what `lacks` names, and whatever else this kernel lacks, the programs count packets, one line says why, and userspace
/// serves. What the agent has logged.
pub(crate) fn userspace_serves(network: Network, lacks: &str) -> String {
    let lab = network.lab();
    let _nginx: Vec<Nginx> = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    let manifest = manifests::routes(network);
    let builder = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().hook(&hook());
    let gateway = builder.env("RAUTA_PRETEND_WITHOUT", lacks).start(&lab).unwrap();
    let mut connection = Connection::open(lab.client(), network.gateway()).unwrap();
    for (path, endpoint) in [("/a", "b0"), ("/b", "b1"), ("/user", "b1")] {
        let answer = connection.get("a.test", path).unwrap();
        assert_eq!((answer.status, answer.endpoint()), (200, Some(endpoint)), "{path}");
    }
    let log = gateway.log();
    assert_eq!(log.matches(LINE).count(), 1, "{log}");
    // Nothing is routed in the kernel, and what passes is counted.
    let metrics = gateway.metrics().unwrap();
    assert!(!metrics.contains("reason=\"syn_cookie\""), "{metrics}");
    assert!(gateway.metric("rauta_datapath_packets_total", "").unwrap() > 0.0);
    log
}
