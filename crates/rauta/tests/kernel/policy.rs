//! Who enforces network policy on the gateway's host, and whose endpoints are not the kernel's then (`dataplane.policy: auto`).

use std::process::Command;
use std::time::Duration;

use testkit::{Neighbour, Order, Verdict, exec, until};

use crate::nftables;
use crate::world::{Network, World};

on_two_networks!(
    who_enforces_policy_takes_endpoints_from_the_kernel_and_gives_them_back,
    a_firewall_of_the_host_takes_nothing,
    programs_that_enforce_policy_are_known_by_their_names,
    the_operator_may_say_otherwise,
);

/// Longer than the agent leaves it at that between two looks.
const PATIENCE: Duration = Duration::from_secs(20);

fn chain(world: &World, table: &'static str, name: &'static str, policy: Option<u32>) {
    world.lab.gateway().run(|| nftables::add(table, name, policy)).unwrap();
}

/// What `rauta status` says of the kernel programs.
fn status(world: &World) -> String {
    String::from_utf8(world.gateway.cli(&["status"]).unwrap().stdout).unwrap()
}

fn says(world: &World, part: &str) {
    until(PATIENCE, part, || status(world).contains(part).then_some(())).unwrap();
}

/// Has the agent look now, by news of the network, and waits until it has.
fn look(world: &World, address: &str) {
    let mut command = Command::new("ip");
    command.args(["address", "add", address, "dev", "lo"]);
    let done = exec(Some(world.lab.gateway()), command, PATIENCE).unwrap();
    assert!(done.status.success(), "{done:?}");
    std::thread::sleep(Duration::from_secs(1));
}

fn who_enforces_policy_takes_endpoints_from_the_kernel_and_gives_them_back(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    world.decides(1, || assert_eq!(world.get("/a").status, 200));
    chain(&world, "filter", "KUBE-NWPLCY-7G2", None);
    says(&world, "network policy is enforced by kube-router (chain inet filter KUBE-NWPLCY-7G2)");
    world.hands_off(|| assert_eq!(world.get("/a").status, 200));
    let routes = String::from_utf8(world.gateway.cli(&["routes", "-o", "wide"]).unwrap().stdout).unwrap();
    assert!(routes.contains("network policy is enforced for an endpoint"), "{routes}");

    world.lab.gateway().run(|| nftables::remove("filter")).unwrap();
    until(PATIENCE, "the kernel to have its endpoints again", || {
        let handed = world.gateway.metric("rauta_kernel_events_total", "reason=\"bound\"").unwrap();
        assert_eq!(world.get("/a").status, 200);
        let now = world.gateway.metric("rauta_kernel_events_total", "reason=\"bound\"").unwrap();
        (now > handed + 0.5).then_some(())
    })
    .unwrap();
    assert!(!status(&world).contains("network policy"), "{}", status(&world));
}

fn a_firewall_of_the_host_takes_nothing(network: Network) {
    let world = World::new(network);
    for name in ["forward", "DOCKER-USER", "KUBE-FORWARD"] {
        chain(&world, "filter", name, (name == "forward").then_some(nftables::DROP));
    }
    look(&world, "192.0.2.77/32");
    world.decides(5, || (0..5).for_each(|_| assert_eq!(world.get("/a").status, 200)));
    assert!(!status(&world).contains("network policy"), "{}", status(&world));
}

fn programs_that_enforce_policy_are_known_by_their_names(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let attach =
        |name| Neighbour::named(name, world.lab.gateway(), "back0", Order::Last, Verdict::Next).unwrap();
    let other = attach("handle_ingress");
    look(&world, "192.0.2.77/32");
    world.decides(1, || assert_eq!(world.get("/a").status, 200));
    drop(other);
    let _cilium = attach("cil_from_netdev");
    says(&world, "network policy is enforced by Cilium (program cil_from_netdev on back0)");
    world.hands_off(|| assert_eq!(world.get("/a").status, 200));
}

fn the_operator_may_say_otherwise(network: Network) {
    let world = World::tuned(network, &[("RAUTA_DATAPLANE_POLICY", "ignore")]);
    chain(&world, "filter", "cali-tw-cali123", None);
    look(&world, "192.0.2.77/32");
    world.decides(5, || (0..5).for_each(|_| assert_eq!(world.get("/a").status, 200)));
    assert!(!status(&world).contains("network policy"), "{}", status(&world));
}
