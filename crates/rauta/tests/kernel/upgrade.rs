//! Another agent takes over; what the kernel carries does not notice.

use std::time::Duration;

use testkit::{Load, Response};

use crate::world::{Network, World, hook};

on_two_networks!(
    connections_in_the_kernel_outlive_a_change_of_agents,
    a_successor_without_programs_leaves_none_at_work,
);

fn connections_in_the_kernel_outlive_a_change_of_agents(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::new(network);
    let is_well = |answer: &Response| answer.status == 200;
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let pause = Duration::from_millis(50);
    let kept = Load::paced(world.lab.client(), world.address(), 100, pause, request, is_well);
    let closing = "GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let new = Load::start(world.lab.client_two(), world.address(), 2, closing, is_well);
    let limit = Duration::from_secs(20);
    kept.wait_for_more(400, limit).unwrap();
    for _ in 0..3 {
        world.succeed();
        kept.wait_for_more(400, limit).unwrap();
        new.wait_for_more(50, limit).unwrap();
    }
    let (kept, new) = (kept.stop(), new.stop());
    for report in [&kept, &new] {
        assert_eq!(report.failed(), 0, "{report:?}\n{}", world.gateway.log());
    }
    // None of the connections that stay had to be opened again.
    assert_eq!(kept.connections, 100, "{kept:?}");
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}

/// Programs that nobody looks after would go on routing by what the last agent knew.
fn a_successor_without_programs_leaves_none_at_work(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::new(network);
    let mut kept = world.connect();
    world.decides(1, || assert_eq!(kept.get("a.test", "/b").unwrap().endpoint(), Some("b1")));
    world.hook = "off".to_owned();
    world.succeed();
    let mut show = std::process::Command::new("bpftool");
    show.args(["net", "show"]);
    let output = testkit::exec(Some(world.lab.gateway()), show, Duration::from_secs(10)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("rauta"), "{text}");
    // The connection has been ended, not left to nobody.
    assert!(kept.get("a.test", "/b").is_err());
    assert_eq!(world.get("/b").endpoint(), Some("b1"));
}
