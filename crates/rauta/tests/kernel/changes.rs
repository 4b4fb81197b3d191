//! Routes and endpoints that change under connections that stay.

use std::time::Duration;

use testkit::{Load, until};

use crate::manifests;
use crate::world::{Network, World};

on_two_networks!(
    a_change_reaches_open_connections,
    changes_under_load_cost_no_request,
    an_endpoint_that_is_taken_out_loses_its_connections,
);

/// `/both` has only this endpoint.
fn only(network: Network, index: u8) -> String {
    manifests::routes_with(network, &[index])
}

fn a_change_reaches_open_connections(network: Network) {
    let world = World::new(network);
    let mut connection = world.connect();
    for (index, endpoint) in [(0, "b0"), (1, "b1"), (0, "b0")] {
        world.gateway.replace("all.yaml", &only(network, index)).unwrap();
        // Before the change both answered in turn.
        until(Duration::from_secs(5), "the change to arrive", || {
            let all =
                (0..20).all(|_| connection.get("a.test", "/both").unwrap().endpoint() == Some(endpoint));
            all.then_some(())
        })
        .unwrap();
    }
    world.decides(20, || {
        for _ in 0..20 {
            assert_eq!(connection.get("a.test", "/both").unwrap().endpoint(), Some("b0"));
        }
    });
}

fn changes_under_load_cost_no_request(network: Network) {
    let world = World::new(network);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let load = Load::start(world.lab.client(), world.address(), 4, request, |answer| answer.status == 200);
    for turn in 0..30 {
        world.gateway.replace("all.yaml", &only(network, turn % 2)).unwrap();
        load.wait_for_more(40, Duration::from_secs(10)).unwrap();
    }
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.endpoints.len(), 2, "{report:?}");
}

/// Within a moment, so that nothing hangs on an endpoint that the configuration no longer knows.
fn an_endpoint_that_is_taken_out_loses_its_connections(network: Network) {
    let world = World::new(network);
    world.gateway.replace("all.yaml", &only(network, 0)).unwrap();
    let mut connections: Vec<_> = (0..5).map(|_| world.connect()).collect();
    for connection in &mut connections {
        assert_eq!(connection.get("b.test", "/").unwrap().endpoint(), Some("b1"));
    }
    // No route leads to b1 any more.
    let without = only(network, 0)
        .replace(&network.endpoint(1).ip().to_string(), &network.endpoint(0).ip().to_string());
    world.gateway.replace("all.yaml", &without).unwrap();
    until(Duration::from_secs(5), "b1 to lose its connections", || {
        (crate::requests::established(&world, 1) == 0).then_some(())
    })
    .unwrap();
    let mut connection = world.connect();
    assert_eq!(connection.get("b.test", "/").unwrap().endpoint(), Some("b0"));
}
