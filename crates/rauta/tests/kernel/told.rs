//! What the agent tells of a connection: `rauta explain flow`.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Connection, until};

use crate::world::World;

/// The leg of a connection, as the endpoint at its end has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) endpoint: SocketAddr,
    /// The gateway's end.
    pub(crate) gateway: SocketAddr,
    /// What the endpoint sends next.
    pub(crate) seq: u32,
    /// What it expects next.
    pub(crate) ack: u32,
}

/// All that is told, a line for each matter. `client` is the client's end.
pub(crate) fn of(world: &World, client: SocketAddr) -> String {
    let output =
        world.gateway.cli(&["explain", "flow", &client.to_string(), &world.address().to_string()]).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The client's end of a connection of the first client.
pub(crate) fn end_of(world: &World, connection: &Connection) -> SocketAddr {
    SocketAddr::new(world.network.client().parse().unwrap(), connection.local_port().unwrap())
}

/// Waits until the line that begins with `matter` says `text`. Without kernel programs nothing is told.
#[track_caller]
pub(crate) fn wait_for(world: &World, client: SocketAddr, matter: &str, text: &str) {
    if world.hook == "off" {
        return;
    }
    let mut told = String::new();
    let found = until(Duration::from_secs(30), text, || {
        told = of(world, client);
        line(&told, matter)?.contains(text).then_some(())
    });
    found.unwrap_or_else(|error| panic!("{error:#}: {matter}\n{told}"));
}

/// The leg that a spliced connection has.
#[track_caller]
pub(crate) fn leg(world: &World, client: SocketAddr) -> Leg {
    let told = of(world, client);
    let word = |matter: &str, before: &str| {
        let rest = line(&told, matter).and_then(|line| line.split_once(before)).map(|(_, rest)| rest.trim());
        let word = rest.and_then(|rest| rest.split([' ', ',', ';']).next());
        word.unwrap_or_else(|| panic!("no {before:?} of {matter:?} in\n{told}")).to_owned()
    };
    Leg {
        endpoint: word("leg: ", "to endpoint").parse().unwrap(),
        gateway: word("leg: ", " from").parse().unwrap(),
        seq: word("the leg's space: ", "it sent up to").parse().unwrap(),
        ack: word("the leg's space: ", "acknowledged").parse().unwrap(),
    }
}

fn line<'t>(told: &'t str, matter: &str) -> Option<&'t str> {
    told.lines().find_map(|line| line.trim_start_matches("- ").strip_prefix(matter))
}
