//! Edits of manifests while requests come in.

use std::time::{Duration, Instant};

use testkit::{Connection, Load};

use crate::manifests::{GATEWAY, all_to, documents, route, service};
use crate::world::World;

const REQUEST: &str = "GET /128 HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn two_hundred_edits_under_load_cost_no_request() {
    let world = World::with(2, &all_to(&[0]));
    let load = Load::start(world.lab.client(), world.gateway.address(), 8, REQUEST, |answer| {
        answer.body.len() == 128
    });
    let limit = Duration::from_secs(30);
    for edit in 0..200_u32 {
        let endpoints: &[u8] = match edit % 3 {
            0 => &[1],
            1 => &[0, 1],
            _ => &[0],
        };
        let mut parts = vec![all_to(endpoints)];
        parts.extend(
            (0..edit % 7).map(|index| {
                route(&format!("extra-{index}"), &["x.test"], &[("", "[{name: web, port: 80}]")])
            }),
        );
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        // As kubectl, kubelet and careful editors do: a new file in the place of the old one.
        world.gateway.replace("all.yaml", &documents(&parts)).unwrap();
        load.wait_for_more(20, limit).unwrap();
    }
    world.gateway.replace("all.yaml", &all_to(&[1])).unwrap();
    let client = world.lab.client();
    world.gateway.wait_for_answer(client, "a", "/128", |answer| answer.endpoint() == Some("b1")).unwrap();
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(report.answered >= 4000, "{report:?}");
    assert_eq!(report.endpoints.len(), 2, "{report:?}");
    // Nobody was sent away: the clients kept the connections they opened first.
    assert_eq!(report.connections, 8, "{report:?}");
}

#[test]
fn files_written_in_place_under_load_cost_no_request() {
    let world = World::with(2, &all_to(&[0]));
    let load = Load::start(world.lab.client(), world.gateway.address(), 8, REQUEST, |answer| {
        answer.body.len() == 128
    });
    let client = world.lab.client();
    for edit in 0..20_u8 {
        let endpoint = (edit + 1) % 2;
        let name = format!("b{endpoint}");
        world.gateway.write("all.yaml", &all_to(&[endpoint])).unwrap();
        world
            .gateway
            .wait_for_answer(client, "a", "/128", |answer| answer.endpoint() == Some(&name))
            .unwrap();
    }
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.endpoints.len(), 2, "{report:?}");
}

#[test]
fn an_edit_reaches_open_connections() {
    let world = World::with(2, &all_to(&[0]));
    let mut connection = world.connect();
    assert_eq!(connection.get("a", "/128").unwrap().endpoint(), Some("b0"));
    world.gateway.write("all.yaml", &all_to(&[1])).unwrap();
    let start = Instant::now();
    while connection.get("a", "/128").unwrap().endpoint() != Some("b1") {
        assert!(start.elapsed() < Duration::from_secs(10), "the edit never came:\n{}", world.gateway.log());
    }
}

#[test]
fn a_request_in_flight_outlives_the_removal_of_its_route() {
    let world = World::with(1, &all_to(&[0]));
    let mut connection = world.connect();
    connection.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    world.gateway.write("all.yaml", GATEWAY).unwrap();
    world.gateway.wait_for_answer(world.lab.client(), "a", "/", |answer| answer.status == 404).unwrap();
    let mut received = 0;
    while received < 16 * 1024 {
        received += connection.some_bytes().unwrap().len();
    }
    assert_eq!(connection.get("a", "/").unwrap().status, 404);
}

#[test]
fn a_bad_edit_keeps_the_last_good_state_and_names_the_place() {
    let mut world = World::with(1, &all_to(&[0]));
    let good = all_to(&[0]);
    let wrong_field = good.replace("backendRefs:", "backendReefs:");
    let not_yaml = "kind: [unclosed\n";
    for (bad, message) in [(wrong_field.as_str(), "backendReefs"), (not_yaml, "all.yaml")] {
        world.gateway.write("all.yaml", bad).unwrap();
        world.gateway.wait_for_log(message).unwrap();
        for _ in 0..20 {
            assert_eq!(world.get("a", "/128").status, 200, "{}", world.gateway.log());
        }
    }
    let diagnostics = world.gateway.metric("rauta_config_diagnostics", "error").unwrap();
    assert!(diagnostics >= 1.0, "{diagnostics}");
    // A good edit goes through afterwards.
    let moved = documents(&[
        GATEWAY,
        &service("web", &[0]),
        &route("web", &[], &[("[{path: {type: PathPrefix, value: /new}}]", "[{name: web, port: 80}]")]),
    ]);
    world.gateway.write("all.yaml", &moved).unwrap();
    world.gateway.wait_for_answer(world.lab.client(), "a", "/128", |answer| answer.status == 404).unwrap();
    assert_eq!(world.get("a", "/new").status, 200);
}

#[test]
fn files_come_and_go() {
    let world = World::with(1, GATEWAY);
    let more =
        documents(&[&service("web", &[0]), &route("web", &["a.test"], &[("", "[{name: web, port: 80}]")])]);
    let client = world.lab.client();
    assert_eq!(world.get("a.test", "/").status, 404);
    world.gateway.write("more.yaml", &more).unwrap();
    world.gateway.wait_for_answer(client, "a.test", "/", |answer| answer.status == 200).unwrap();
    world.gateway.remove("more.yaml").unwrap();
    world.gateway.wait_for_answer(client, "a.test", "/", |answer| answer.status == 404).unwrap();
}

#[test]
fn a_listener_moves_to_another_port_and_its_old_connections_finish() {
    let world = World::with(1, &all_to(&[0]));
    let mut old = world.connect();
    assert_eq!(old.get("a", "/128").unwrap().status, 200);
    world.gateway.write("all.yaml", &all_to(&[0]).replace("port: 8080}]", "port: 8090}]")).unwrap();
    let moved = (testkit::Addresses::GATEWAY, 8090).into();
    let mut new = testkit::until(Duration::from_secs(10), "the new port", || {
        Connection::open(world.lab.client(), moved).ok()
    })
    .unwrap();
    assert_eq!(new.get("a", "/128").unwrap().status, 200);
    testkit::until(Duration::from_secs(10), "the old port to close", || {
        Connection::open(world.lab.client(), world.gateway.address()).is_err().then_some(())
    })
    .unwrap();
}
