//! A second agent on the same host: by mistake, and on purpose (attack X-12).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use testkit::{Connection, Load, Process, Signal, until};

use crate::manifests;
use crate::world::{Network, RAUTA, World};

on_two_networks!(
    the_same_agent_twice_is_refused,
    the_same_pins_twice_leave_the_second_in_userspace,
    two_agents_with_pins_and_ports_of_their_own_both_route,
);

const METRICS: &str = "127.0.0.1:9902";

/// What of the first agent's the second one has, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    Everything,
    Pins,
    Nothing,
}

/// Starts the second agent, whose listener has port 8081 unless it shares everything.
fn second(world: &World, shared: Shared) -> Process {
    let mut command = Command::new(RAUTA);
    let folder = world.lab.folder();
    let pins = |name| world.lab.bpffs().unwrap().join(name);
    let text = |path: PathBuf| path.display().to_string();
    command.args(["run", "--hook", &world.hook]);
    if shared == Shared::Everything {
        command.args(["-f", &text(folder.join("manifests")), "--socket", &text(folder.join("rauta.sock"))]);
        command.args(["--admin", "127.0.0.1:9901", "--metrics", "127.0.0.1:9900"]);
    } else {
        let manifest = folder.join("second.yaml");
        let yaml = manifests::routes(world.network).replace("HTTP, port: 8080", "HTTP, port: 8081");
        std::fs::write(&manifest, yaml).unwrap();
        command.args(["-f", &text(manifest), "--socket", &text(folder.join("second.sock"))]);
        command.args(["--admin", "off", "--metrics", METRICS]);
    }
    let root = if shared == Shared::Nothing { "second" } else { "pins" };
    command.env("RAUTA_DATAPLANE_PIN_ROOT", pins(root));
    if shared == Shared::Nothing {
        command.env("RAUTA_DATAPLANE_SNAT_PORTS", "3000-7999");
    }
    world.lab.spawn(world.lab.gateway(), "second", command).unwrap()
}

/// Where the second agent's clients reach it.
fn second_address(world: &World) -> SocketAddr {
    SocketAddr::new(world.address().ip(), 8081)
}

/// Requests that the second agent's programs decided.
fn second_decided(world: &World) -> Option<f64> {
    let mut connection = Connection::open(world.lab.gateway(), METRICS.parse().unwrap()).ok()?;
    let text = connection.get("localhost", "/metrics").ok()?.text();
    let bound =
        text.lines().find(|line| line.contains("rauta_kernel_events_total{") && line.contains("\"bound\""));
    bound?.rsplit(' ').next()?.parse().ok()
}

/// The first agent goes on as if nothing were while `work` is done.
fn unharmed<T>(world: &World, work: impl FnOnce() -> T) -> T {
    let load = |connection: &str| {
        let request = format!("GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: {connection}\r\n\r\n");
        Load::start(world.lab.client(), world.address(), 2, &request, |answer| {
            answer.endpoint() == Some("b1")
        })
    };
    world.decides(200, || {
        let loads = [load("keep-alive"), load("close")];
        let more = |loads: &[Load; 2]| {
            loads.iter().for_each(|load| load.wait_for_more(50, Duration::from_secs(30)).unwrap());
        };
        more(&loads);
        let result = work();
        more(&loads);
        for load in loads {
            let report = load.stop();
            assert_eq!(report.failed(), 0, "{report:?}");
        }
        result
    })
}

fn the_same_agent_twice_is_refused(network: Network) {
    let world = World::new(network);
    unharmed(&world, || {
        let mut second = second(&world, Shared::Everything);
        let status = second.wait(Duration::from_secs(60)).unwrap();
        let log = second.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("rauta.sock") && log.contains("another agent"), "{log}");
    });
    // The first one still has its socket.
    assert!(world.gateway.cli(&["status"]).unwrap().status.success());
}

fn the_same_pins_twice_leave_the_second_in_userspace(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    unharmed(&world, || {
        let mut second = second(&world, Shared::Pins);
        let answer = until(Duration::from_secs(60), "the second agent to answer", || {
            Connection::open(world.lab.client(), second_address(&world)).ok()?.get("a.test", "/b").ok()
        });
        let log = second.log();
        assert_eq!(answer.unwrap().endpoint(), Some("b1"), "{log}");
        assert!(log.contains("userspace serves everything") && log.contains("dataplane.pinRoot"), "{log}");
        second.signal(Signal::SIGTERM).unwrap();
        assert_eq!(second.wait(Duration::from_secs(20)).unwrap().code(), Some(0), "{}", second.log());
    });
}

fn two_agents_with_pins_and_ports_of_their_own_both_route(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    unharmed(&world, || {
        let mut second = second(&world, Shared::Nothing);
        until(Duration::from_secs(60), "the second agent to route in the kernel", || {
            let mut connection = Connection::open(world.lab.client(), second_address(&world)).ok()?;
            assert_eq!(connection.get("a.test", "/b").ok()?.endpoint(), Some("b1"));
            (second_decided(&world)? > 0.5).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", second.log()));
        // Connections through both, side by side.
        let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let load = Load::start(world.lab.client_two(), second_address(&world), 4, request, |answer| {
            answer.status == 200
        });
        load.wait_for_more(500, Duration::from_secs(10)).unwrap();
        let report = load.stop();
        assert_eq!(report.failed(), 0, "{report:?}");
        second.signal(Signal::SIGTERM).unwrap();
        assert_eq!(second.wait(Duration::from_secs(20)).unwrap().code(), Some(0), "{}", second.log());
    });
}
