//! Routes and endpoints that change under connections that stay.

use std::time::{Duration, Instant};

use testkit::{Lab, Load, Nginx, Response, until};

use crate::manifests;
use crate::world::{Network, World};

on_two_networks!(
    a_change_reaches_open_connections,
    a_new_name_of_a_header_is_known_with_its_route,
    changes_under_load_cost_no_request,
    connections_at_rest_outlive_their_endpoints,
    a_rolling_replacement_costs_no_request,
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
        until(Duration::from_secs(30), "the change to arrive", || {
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

/// What the route answers first, the kernel decides: it looks for the name by then.
fn a_new_name_of_a_header_is_known_with_its_route(network: Network) {
    let world = World::new(network);
    let named =
        manifests::route("named", Some("named.test"), &[("PathPrefix", "/", "[{name: b, port: 80}]")])
            .replace("/\"}}]", "/\"}, headers: [{name: x-version, value: two}]}]");
    assert!(named.contains("x-version"), "{named}");
    let yaml = format!("{}{named}", manifests::routes(network));
    let request = "GET /named HTTP/1.1\r\nHost: named.test\r\nX-Version: two\r\n\r\n";
    let mut connection = world.connect();
    assert_eq!(connection.request(request).unwrap().endpoint(), Some("b0"));
    world.gateway.replace("all.yaml", &yaml).unwrap();
    world.decides_at_least(1, 0, || {
        until(Duration::from_secs(30), "the route to answer", || {
            (connection.request(request).unwrap().endpoint() == Some("b1")).then_some(())
        })
        .unwrap();
    });
    world.decides(1, || assert_eq!(world.connect().request(request).unwrap().endpoint(), Some("b1")));
}

/// How many changes take effect one after the other.
const CHANGES: f64 = 3000.0;

fn changes_under_load_cost_no_request(network: Network) {
    let mut world = World::new(network);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let loads = [
        Load::start(world.lab.client(), world.address(), 2, request, is_well),
        Load::start(world.lab.client_two(), world.address(), 2, &closing(request), is_well),
    ];
    // Another endpoint for the route that is asked for, and a route that comes and goes.
    let more = |index| only(network, index).replace("value: /mixed", "value: /mixed-again");
    let versions = [only(network, 0), more(0), only(network, 1), more(1), manifests::routes(network)];
    let applied = |world: &World| world.gateway.metric("rauta_snapshot_version", "").unwrap();
    let share = world.kernel_share_of(|world| {
        let (start, begun) = (applied(world), Instant::now());
        let mut turns = versions.iter().cycle();
        while applied(world) - start < CHANGES {
            assert!(begun.elapsed() < Duration::from_secs(600), "{} changes", applied(world) - start);
            for version in turns.by_ref().take(50) {
                world.gateway.replace("all.yaml", version).unwrap();
                std::thread::sleep(Duration::from_millis(6));
            }
        }
    });
    for load in loads {
        load.wait_for_more(40, Duration::from_secs(10)).unwrap();
        let report = load.stop();
        assert_eq!(report.failed(), 0, "{report:?}");
        assert_eq!(report.endpoints.len(), 2, "{report:?}");
    }
    assert!(share >= 0.99, "the kernel decided {share} of the requests");
}

/// Only endpoint `index` is known at all.
fn alone(network: Network, index: u8) -> String {
    let ip = |index| network.endpoint(index).ip().to_string();
    only(network, index).replace(&format!("\"{}\"", ip(1 - index)), &format!("\"{}\"", ip(index)))
}

/// Connections that rest between two requests when their endpoint is taken out: the next request goes to another.
fn connections_at_rest_outlive_their_endpoints(network: Network) {
    let world = World::new(network);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let pause = Duration::from_millis(50);
    let load = Load::paced(world.lab.client(), world.address(), 20, pause, request, is_well);
    for index in [0, 1].repeat(5) {
        load.wait_for_more(100, Duration::from_secs(10)).unwrap();
        world.gateway.replace("all.yaml", &alone(network, index)).unwrap();
        // All of them, and no longer than the answers of a moment take.
        until(Duration::from_secs(30), "the old endpoint to lose its connections", || {
            (crate::requests::established(&world, usize::from(1 - index)) == 0).then_some(())
        })
        .unwrap();
    }
    let report = load.stop();
    assert_eq!((report.failed(), report.connections), (0, 20), "{report:?}");
}

fn is_well(answer: &Response) -> bool {
    answer.status == 200
}

fn closing(request: &str) -> String {
    request.replace("Host: a.test", "Host: a.test\r\nConnection: close")
}

/// Each endpoint is replaced by another as a Deployment does it: the new one is ready first, the old one drains, is taken
/// out and ends.
fn a_rolling_replacement_costs_no_request(network: Network) {
    let lab = Lab::builder().backends(4).offloads(network.offloads).build().unwrap();
    let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    let mut world = World::around(network, lab, nginx, None, &[]);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let loads = [
        Load::start(world.lab.client(), world.address(), 6, request, is_well),
        Load::start(world.lab.client_two(), world.address(), 2, &closing(request), is_well),
    ];
    let more = |count| {
        loads.iter().for_each(|load| load.wait_for_more(count, Duration::from_secs(10)).unwrap());
    };
    for old in 0..2_u8 {
        more(200);
        let new = old + 2;
        world.nginx.push(Nginx::start(&world.lab, usize::from(new)).unwrap());
        let all = manifests::routes_with(network, &[old, old + 1, new]);
        world.gateway.replace("all.yaml", &all).unwrap();
        more(200);
        world.gateway.replace("all.yaml", &manifests::draining(network, &all, old)).unwrap();
        let old_one = usize::from(old);
        until(Duration::from_secs(30), "the old endpoint to lose its connections", || {
            (crate::requests::established(&world, old_one) == 0).then_some(())
        })
        .unwrap();
        world.nginx[old_one].kill().unwrap();
        let rest = manifests::routes_with(network, &[old + 1, new]);
        world.gateway.replace("all.yaml", &rest).unwrap();
        more(200);
    }
    let [kept, closing] = loads.map(|load| load.stop());
    assert_eq!((kept.failed(), closing.failed()), (0, 0), "{kept:?} {closing:?}");
    // Six connections that stay may all have one of two endpoints, once in 32 times.
    assert!(kept.endpoints.len() >= 3, "{kept:?}");
    assert_eq!(closing.endpoints.len(), 4, "{closing:?}");
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
    world.gateway.replace("all.yaml", &alone(network, 0)).unwrap();
    until(Duration::from_secs(30), "b1 to lose its connections", || {
        (crate::requests::established(&world, 1) == 0).then_some(())
    })
    .unwrap();
    // Their clients have noticed nothing.
    connections.push(world.connect());
    for connection in &mut connections {
        assert_eq!(connection.get("b.test", "/").unwrap().endpoint(), Some("b0"));
    }
}
