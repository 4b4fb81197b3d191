//! Connections that nobody uses: how they end, and what does not end them.

use std::time::Duration;

use testkit::{Connection, Faults, until};

use crate::manifests;
use crate::world::{Network, World};

on_two_networks!(a_fin_that_is_lost_comes_again, an_idle_client_outlives_its_endpoint,);

const IDLE: &[(&str, &str)] = &[("RAUTA_DATAPLANE_IDLE_TIMEOUT", "6s")];

/// Waits for the end of the connection; how it ends.
fn end(connection: &mut Connection) -> String {
    format!("{:?}", connection.some_bytes().unwrap_err())
}

fn a_fin_that_is_lost_comes_again(network: Network) {
    let world = World::tuned(network, IDLE);
    let mut connection = world.connect();
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    let nothing_passes = world.lab.faults(Faults { loss: 1.0, duplicate: 0.0, reorder: 0.0 }).unwrap();
    // The agent looks every five seconds.
    std::thread::sleep(Duration::from_secs(13));
    assert!(nothing_passes.counts().unwrap().lost > 0, "a FIN, at least");
    drop(nothing_passes);
    assert_eq!(end(&mut connection), "Closed");
    // The client's FIN is answered, too: a port that is free at once can be used at once.
    drop(connection);
    assert_eq!(world.get("/a").endpoint(), Some("b0"));
}

/// Its endpoint is taken out while it asks for nothing: there is no reason to tell it.
fn an_idle_client_outlives_its_endpoint(network: Network) {
    let world = World::new(network);
    let mut connections: Vec<Connection> = (0..8).map(|_| world.connect()).collect();
    for connection in &mut connections {
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    }
    // What was b0's is b1's.
    let moved = manifests::routes(network)
        .replace(&network.endpoint(0).ip().to_string(), &network.endpoint(1).ip().to_string());
    world.gateway.replace("all.yaml", &moved).unwrap();
    for (turn, connection) in (0u64..).zip(&mut connections) {
        // Before the agent has seen it, while it acts, and after.
        std::thread::sleep(Duration::from_millis(turn * 40));
        let answer = connection.get("a.test", "/a").unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        assert_eq!(answer.status, 200, "turn {turn}");
    }
    for (turn, connection) in connections.iter_mut().enumerate() {
        until(Duration::from_secs(10), "the connection to have the other endpoint", || {
            let answer =
                connection.get("a.test", "/a").unwrap_or_else(|error| panic!("turn {turn}: {error}"));
            (answer.endpoint() == Some("b1")).then_some(())
        })
        .unwrap();
    }
}
