//! Endpoints that are told who the client is (`rauta.io/proxy-protocol` on their Service), in the kernel as in userspace.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Connection, Faults, PROXY_PORT, Response, until};

use crate::manifests;
use crate::world::{Network, World};

on_every_network!(
    endpoints_hear_of_each_client_from_both_tiers,
    a_leg_is_told_before_whatever_is_repeated_on_it,
    version_1_is_userspaces,
);

/// Host `told.test` goes to servers of both endpoints that take nothing without a header.
fn world(network: Network, version: &str) -> World {
    let world = World::new(network);
    let endpoints = [0, 1].map(|index| SocketAddr::new(network.endpoint(index).ip(), PROXY_PORT));
    tell(&world, version, &endpoints);
    world
}

/// Host `told.test` goes to these, which are told of clients.
pub(crate) fn tell(world: &World, version: &str, endpoints: &[SocketAddr]) {
    let service = manifests::service("told", endpoints).replace(
        "{name: told, namespace: default}",
        &format!("{{name: told, namespace: default, annotations: {{rauta.io/proxy-protocol: {version}}}}}"),
    );
    let route =
        manifests::route("told", Some("told.test"), &[("PathPrefix", "/", "[{name: told, port: 80}]")]);
    let all = [manifests::routes(world.network), service, route].concat();
    world.gateway.replace("all.yaml", &all).unwrap();
    // Until then the route for everything else answers.
    let is_told = || ask(&mut world.connect()).text().starts_with("told=");
    until(Duration::from_secs(10), "the route", || is_told().then_some(())).unwrap();
    world.wait_for_the_kernel();
}

fn ask(connection: &mut Connection) -> Response {
    connection.get("told.test", "/").unwrap()
}

/// What an endpoint says that it was told of the connection.
pub(crate) fn told(world: &World, connection: &Connection) -> String {
    let (client, gateway) = (world.network.client(), world.address());
    let port = connection.local_port().unwrap();
    format!("told={client} {port} {} {}\n", gateway.ip(), gateway.port())
}

fn endpoints_hear_of_each_client_from_both_tiers(network: Network) {
    let world = world(network, "v2");
    let ask_thrice = |connection: &mut Connection| {
        let own = told(&world, connection);
        for _ in 0..3 {
            let text = ask(connection).text();
            assert!(text.starts_with(&own), "{text} is not of {own}");
            assert!(text.contains(&format!("x-forwarded-for={}\n", world.network.client())), "{text}");
        }
    };
    world.decides(12, || (0..4).for_each(|_| ask_thrice(&mut world.connect())));
    // Another endpoint's leg in between, and userspace behind it.
    let mut connection = world.connect();
    world.decides(5, || {
        ask_thrice(&mut connection);
        assert_eq!(connection.get("a.test", "/").unwrap().endpoint(), Some("b0"));
        assert!(ask(&mut connection).text().starts_with("told="));
    });
    world.hands_off(|| {
        connection.get("a.test", "/user").unwrap();
        ask_thrice(&mut connection);
    });
}

fn a_leg_is_told_before_whatever_is_repeated_on_it(network: Network) {
    let world = world(network, "v2");
    let faulty = world.lab.faults(Faults { loss: 0.05, duplicate: 0.02, reorder: 0.02 }).unwrap();
    for _ in 0..60 {
        let mut connection = world.connect();
        let own = told(&world, &connection);
        for _ in 0..2 {
            let text = ask(&mut connection).text();
            assert!(text.starts_with(&own), "{text} is not of {own}");
        }
    }
    assert!(faulty.counts().unwrap().lost > 0);
}

fn version_1_is_userspaces(network: Network) {
    let world = world(network, "v1");
    let mut connection = world.connect();
    let own = told(&world, &connection);
    world.hands_off(|| {
        let text = ask(&mut connection).text();
        assert!(text.starts_with(&own), "{text} is not of {own}");
    });
}
