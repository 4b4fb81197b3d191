//! The agent dies and comes back; the kernel goes on.

use std::time::Duration;

use testkit::{ClientError, Connection, Load, ONE_MEGABYTE_SHA256, Response, sha256_hex, until};

use crate::world::{Network, World, hook};

with_clsact!(
    on_two_networks:
    requests_go_on_while_the_agent_is_dead,
    a_transfer_survives_the_death_of_the_agent,
    drains_and_leaves_nothing,
    an_agent_may_leave_its_programs_at_work,
);

/// How often the agent dies in a row.
const DEATHS: usize = 20;
/// Connections that stay, all of them the kernel's.
const CONNECTIONS: u32 = 200;

fn requests_go_on_while_the_agent_is_dead(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::new(network);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let pause = Duration::from_millis(100);
    let is_well = |answer: &Response| answer.status == 200;
    let count = usize::try_from(CONNECTIONS).unwrap();
    let kept = Load::paced(world.lab.client(), world.address(), count, pause, request, is_well);
    let closing = "GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let new = Load::start(world.lab.client_two(), world.address(), 2, closing, is_well);
    kept.wait_for_more(4 * u64::from(CONNECTIONS), Duration::from_secs(20)).unwrap();
    let share = world.kernel_share_of(|world| {
        for _ in 0..DEATHS {
            let flows = world.gateway.metric("rauta_kernel_flows", "").unwrap();
            assert!(flows >= f64::from(CONNECTIONS), "{flows} connections in the kernel");
            world.gateway.process().kill().unwrap();
            // Each connection asks at least once meanwhile.
            kept.wait_for_more(3 * u64::from(CONNECTIONS), Duration::from_secs(20)).unwrap();
            new.wait_for_more(200, Duration::from_secs(20)).unwrap();
            world.restart();
            kept.wait_for_more(u64::from(CONNECTIONS), Duration::from_secs(20)).unwrap();
            new.wait_for_more(50, Duration::from_secs(20)).unwrap();
        }
    });
    for report in [kept.stop(), new.stop()] {
        assert_eq!(report.failed(), 0, "{report:?}");
    }
    assert!(share >= 0.999, "the kernel decided {share} of the requests");
}

fn a_transfer_survives_the_death_of_the_agent(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::new(network);
    let mut connection = world.dial().receive_buffer(32 * 1024).open(world.lab.client()).unwrap();
    connection.send("GET /1m HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    world.gateway.process().kill().unwrap();
    let mut body = connection.some_bytes().unwrap();
    world.restart();
    while body.len() < 1_000_000 {
        body.extend(connection.some_bytes().unwrap());
    }
    assert_eq!(sha256_hex(&body), ONE_MEGABYTE_SHA256);
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
}

/// Told to end, the agent leaves the network as it found it.
fn drains_and_leaves_nothing(network: Network) {
    let mut world = World::new(network);
    assert_eq!(world.get("/b").status, 200);
    world.gateway.process().signal(testkit::Signal::SIGTERM).unwrap();
    let status = world.gateway.process().wait(Duration::from_secs(20)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.gateway.log());
    let mut show = std::process::Command::new("bpftool");
    show.args(["net", "show"]);
    let output = testkit::exec(Some(world.lab.gateway()), show, Duration::from_secs(10)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("rauta"), "{text}");
    // A port that nobody listens on refuses: no half of a gateway stays.
    assert!(matches!(Connection::open(world.lab.client(), world.address()), Err(ClientError::Refused)));
}

/// With `dataplane.onExit: keep` the programs go on for as long as an agent may be away; then they take nothing new, and
/// a node without an agent refuses instead of being silent. What is not ours passes all the time.
fn an_agent_may_leave_its_programs_at_work(network: Network) {
    if hook() == "off" {
        return;
    }
    let settings = [("RAUTA_DATAPLANE_ON_EXIT", "keep"), ("RAUTA_DATAPLANE_HEARTBEAT_TIMEOUT", "15s")];
    let mut world = World::tuned(network, &settings);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let kept =
        Load::start(world.lab.client_two(), world.address(), 4, request, |answer| answer.status == 200);
    let goes_on = || kept.wait_for_more(200, Duration::from_secs(10)).unwrap();
    goes_on();
    world.gateway.process().signal(testkit::Signal::SIGTERM).unwrap();
    let status = world.gateway.process().wait(Duration::from_secs(20)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.gateway.log());

    // Nobody is there, and both old and new connections are served.
    goes_on();
    assert_eq!(world.get("/b").endpoint(), Some("b1"));
    // Then nothing new is taken: the host answers, which has no listener.
    // Those opened meanwhile stay: their ends would be repeated until the next agent gets them.
    let mut opened = Vec::new();
    until(Duration::from_secs(40), "new connections to be refused", || {
        match Connection::open(world.lab.client(), world.address()) {
            Ok(connection) => opened.push(connection),
            Err(error) => return matches!(error, ClientError::Refused).then_some(()),
        }
        None
    })
    .unwrap();
    goes_on();
    // Through the node, past the gateway.
    let mut transit = Connection::open(world.lab.client(), network.endpoint(1)).unwrap();
    assert_eq!(transit.get("a.test", "/").unwrap().endpoint(), Some("b1"));

    // The next agent takes over where they are.
    world.restart();
    goes_on();
    world.wait_for_the_kernel();
    world.decides(2, || {
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
    });
    let report = kept.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
}
