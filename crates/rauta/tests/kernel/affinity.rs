//! Clients that keep their endpoint (host `kept.test`), whichever connection and tier their requests come by.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use testkit::{Load, exec, until};

use crate::manifests;
use crate::world::{Network, World, hook};

on_two_networks!(
    one_client_has_one_endpoint_and_clients_are_spread,
    clients_stay_when_an_endpoint_comes_and_move_at_once_when_theirs_goes,
    both_tiers_give_a_client_the_same_endpoint,
    clients_keep_their_endpoint_over_the_death_of_the_agent,
);

/// Further clients: addresses of the first client's machine.
const CLIENTS: u8 = 12;

pub(crate) fn client(network: Network, n: u8) -> IpAddr {
    if network.is_v6 {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 1, n.into()).into()
    } else {
        Ipv4Addr::new(10, 77, 0, 100 + n).into()
    }
}

pub(crate) fn with_clients(network: Network) -> World {
    let world = World::new(network);
    for n in 0..CLIENTS {
        let length = if network.is_v6 { 64 } else { 24 };
        let mut command = Command::new("ip");
        command.args(["address", "add", &format!("{}/{length}", client(network, n)), "dev", "eth0"]);
        if network.is_v6 {
            command.arg("nodad");
        }
        let done = exec(Some(world.lab.client()), command, Duration::from_secs(5)).unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    world
}

/// The endpoint of a request on a new connection.
pub(crate) fn ask(world: &World, from: IpAddr, path: &str) -> String {
    let mut connection = world.dial().from(from).open(world.lab.client()).unwrap();
    let answer = connection.get("kept.test", path).unwrap();
    assert_eq!(answer.status, 200);
    answer.endpoint().unwrap().to_owned()
}

fn all(world: &World, path: &str) -> Vec<String> {
    (0..CLIENTS).map(|n| ask(world, client(world.network, n), path)).collect()
}

/// Puts these endpoints behind the route, and waits until connections without affinity meet them all, and no other.
fn only(world: &World, endpoints: &[u8]) {
    world.gateway.replace("all.yaml", &manifests::routes_with(world.network, endpoints)).unwrap();
    let wanted: BTreeSet<String> = endpoints.iter().map(|index| format!("b{index}")).collect();
    until(Duration::from_secs(10), "the endpoints to change", || {
        let found = (0..24).map(|_| world.get("/both").endpoint().unwrap().to_owned());
        (found.collect::<BTreeSet<_>>() == wanted).then_some(())
    })
    .unwrap();
}

fn one_client_has_one_endpoint_and_clients_are_spread(network: Network) {
    let world = with_clients(network);
    world.decides(100, || {
        let found: BTreeSet<_> = (0..100).map(|_| ask(&world, client(network, 0), "/")).collect();
        assert_eq!(found.len(), 1, "{found:?}");
    });
    // All on one side: once in 2^11 networks, and addresses are fixed.
    let found = all(&world, "/");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 2, "{found:?}");
}

fn clients_stay_when_an_endpoint_comes_and_move_at_once_when_theirs_goes(network: Network) {
    let world = with_clients(network);
    let first_choices = all(&world, "/");
    only(&world, &[0]);
    assert_eq!(all(&world, "/"), vec!["b0"; CLIENTS.into()]);
    only(&world, &[0, 1]);
    for _ in 0..3 {
        assert_eq!(all(&world, "/"), vec!["b0"; CLIENTS.into()], "first choices: {first_choices:?}");
    }
    // Clients at work while their endpoint goes, and comes back.
    let request = "GET / HTTP/1.1\r\nHost: kept.test\r\n\r\n";
    let load = Load::start(world.lab.client(), world.address(), 4, request, |answer| answer.status == 200);
    load.wait_for_more(100, Duration::from_secs(10)).unwrap();
    only(&world, &[1]);
    load.wait_for_more(100, Duration::from_secs(10)).unwrap();
    assert_eq!(all(&world, "/"), vec!["b1"; CLIENTS.into()]);
    only(&world, &[0, 1]);
    load.wait_for_more(100, Duration::from_secs(10)).unwrap();
    assert_eq!(load.stop().failed(), 0);
    assert_eq!(all(&world, "/"), vec!["b1"; CLIENTS.into()]);
}

/// A path with an escape is userspace's to read.
const USERSPACES: &str = "/%41";

fn both_tiers_give_a_client_the_same_endpoint(network: Network) {
    let world = with_clients(network);
    let in_kernel = world.decides(CLIENTS.into(), || all(&world, "/"));
    assert_eq!(world.hands_off(|| all(&world, USERSPACES)), in_kernel, "first choices");
    // What only userspace has seen is known to the kernel, and the reverse.
    only(&world, &[0]);
    let (old, new) = (client(network, 0), world.network.client().parse::<IpAddr>().unwrap());
    assert_eq!(ask(&world, old, "/"), "b0");
    assert_eq!(world.hands_off(|| all(&world, USERSPACES)), vec!["b0"; CLIENTS.into()]);
    assert_eq!(ask(&world, new, USERSPACES), "b0");
    only(&world, &[0, 1]);
    assert_eq!(all(&world, "/"), vec!["b0"; CLIENTS.into()]);
    assert_eq!(all(&world, USERSPACES), vec!["b0"; CLIENTS.into()]);
    assert_eq!(ask(&world, new, "/"), "b0");
}

fn clients_keep_their_endpoint_over_the_death_of_the_agent(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = with_clients(network);
    only(&world, &[0]);
    assert_eq!(all(&world, "/"), vec!["b0"; CLIENTS.into()]);
    only(&world, &[0, 1]);
    world.gateway.process().kill().unwrap();
    assert_eq!(all(&world, "/"), vec!["b0"; CLIENTS.into()], "without an agent");
    world.restart();
    assert_eq!(all(&world, "/"), vec!["b0"; CLIENTS.into()], "with the next one");
    assert_eq!(all(&world, USERSPACES), vec!["b0"; CLIENTS.into()], "in userspace");
}
