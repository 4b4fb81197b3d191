//! Devices of pods, which come and go under the running agent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testkit::until;

use crate::neighbours::ip;
use crate::path_mtu::wait_for_the_way;
use crate::world::{Network, World};

on_two_networks!(a_route_is_the_kernels_while_the_device_of_its_pod_is_there);

/// The pod of `/far` has no way to it at first, then a veth of its own, twice.
fn a_route_is_the_kernels_while_the_device_of_its_pod_is_there(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let fails = || {
        let answer = world.get("/far");
        assert!(matches!(answer.status, 502..=504), "{answer:?}");
    };
    for _ in 0..2 {
        wait_for_tier(&world, &["userspace (Tier 3) decides it", "there is no route to an endpoint"]);
        world.hands_off_for("no_endpoint", 1, fails);
        add_device(&world);
        let pod: IpAddr = if network.is_v6 { "fd78::2" } else { "10.78.0.2" }.parse().unwrap();
        wait_for_the_way(&world.lab, SocketAddr::new(pod, network.endpoint(0).port()));
        wait_for_tier(&world, &["the kernel (Tier 2) decides it"]);
        let mut kept = world.connect();
        world.decides(2, || {
            assert_eq!(kept.get("a.test", "/far").unwrap().endpoint(), Some("b0"));
            assert_eq!(world.get("/far").endpoint(), Some("b0"));
        });
        ip(world.lab.gateway(), "link del pod0");
    }
    wait_for_tier(&world, &["userspace (Tier 3) decides it", "there is no route to an endpoint"]);
    world.hands_off_for("no_endpoint", 1, fails);
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}

fn add_device(world: &World) {
    let (gateway, pod) = (world.lab.gateway(), world.lab.backend(0));
    ip(gateway, &format!("link add pod0 type veth peer name pod netns {}", pod.name()));
    let (prefix, rest) = if world.network.is_v6 { ("fd78::", "/64 nodad") } else { ("10.78.0.", "/24") };
    for (netns, device, number) in [(pod, "pod", 2), (gateway, "pod0", 1)] {
        let (length, nodad) = rest.split_once(' ').unwrap_or((rest, ""));
        ip(netns, format!("addr add {prefix}{number}{length} dev {device} {nodad}").trim());
        ip(netns, &format!("link set {device} up"));
    }
}

/// Waits until all of these are said of a request for `/far`.
fn wait_for_tier(world: &World, texts: &[&str]) {
    let mut said = String::new();
    let found = until(Duration::from_secs(15), texts[0], || {
        let output = world.gateway.cli(&["explain", "request", "http://a.test:8080/far"]).ok()?;
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        texts.iter().all(|text| said.contains(text)).then_some(())
    });
    found.unwrap_or_else(|error| panic!("{error:#}\n{said}"));
}
