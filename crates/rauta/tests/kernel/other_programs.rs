//! Other programs at the same hook, as network plugins and firewalls have them, before ours and behind it.

use std::process::Command;
use std::time::Duration;

use testkit::{Neighbour, Nginx, Order, Verdict, exec};

use crate::world::{Network, RAUTA, World};

on_two_networks!(
    a_program_behind_ours_sees_nothing_of_kernel_connections,
    a_program_that_was_there_first_comes_behind_ours,
    a_program_before_ours_that_lets_pass_changes_nothing,
    a_program_before_ours_that_takes_all_leaves_userspace,
    a_program_before_ours_may_drop,
    the_doctor_names_programs_that_kernel_connections_pass_by,
);

/// What a network policy may be enforced by, and what not.
fn the_doctor_names_programs_that_kernel_connections_pass_by(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let told = || {
        let mut command = Command::new(RAUTA);
        command.args(["doctor", "--interfaces", "front0"]);
        let output = exec(Some(world.lab.gateway()), command, Duration::from_secs(30)).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("programs on front0")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{text}"))
    };
    assert!(told().contains("none behind ours"), "{}", told());
    let first = attach(&world, Order::First, Verdict::Next);
    assert!(told().contains("none behind ours"), "{}", told());
    drop(first);
    let _last = attach(&world, Order::Last, Verdict::Next);
    assert!(told().contains("at TC ingress, behind ours: neighbour"), "{}", told());
}

const DEVICES: [&str; 2] = ["front0", "back0"];

fn attach(world: &World, order: Order, verdict: Verdict) -> Vec<Neighbour> {
    let attach = |device| Neighbour::attach(world.lab.gateway(), device, order, verdict).unwrap();
    DEVICES.into_iter().map(attach).collect()
}

/// Even one that drops: the packets of a connection in the kernel do not come that far. Others' packets do.
fn a_program_behind_ours_sees_nothing_of_kernel_connections(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let mut connection = world.connect();
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    let neighbours = attach(&world, Order::Last, Verdict::Drop);
    world.decides(21, || {
        assert_eq!(world.get("/b").endpoint(), Some("b1"));
        for _ in 0..10 {
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
            assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        }
    });
    // Past the gateway, straight to an endpoint: what is not ours is the next program's.
    let before = neighbours[0].seen().unwrap();
    let direct = world.lab.client().run(|| {
        std::net::TcpStream::connect_timeout(&network.endpoint(1), std::time::Duration::from_millis(300))
    });
    assert!(direct.unwrap().is_err());
    assert!(neighbours[0].seen().unwrap() > before);
    drop(neighbours);
    assert_eq!(
        testkit::Connection::open(world.lab.client(), network.endpoint(1))
            .unwrap()
            .get("a", "/")
            .unwrap()
            .endpoint(),
        Some("b1")
    );
}

/// Who was attached before the agent came, first of all, still sees nothing of kernel connections.
fn a_program_that_was_there_first_comes_behind_ours(network: Network) {
    let lab = network.lab();
    let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    let attach = |device| Neighbour::attach(lab.gateway(), device, Order::First, Verdict::Next).unwrap();
    let neighbours = DEVICES.map(attach);
    let world = World::around(network, lab, nginx, None, &[]);
    if world.hook == "off" {
        return;
    }
    assert_eq!(world.get("/a").endpoint(), Some("b0"));
    let seen = || neighbours.iter().map(|neighbour| neighbour.seen().unwrap()).sum::<u64>();
    let before = seen();
    world.decides(101, || {
        let mut connection = world.connect();
        for _ in 0..50 {
            assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        }
        assert_eq!(world.get("/a").endpoint(), Some("b0"));
    });
    // Some hundred packets passed. What it saw are late ones of userspace's own connections.
    assert!(seen() - before < 40, "{} packets", seen() - before);
}

fn a_program_before_ours_that_lets_pass_changes_nothing(network: Network) {
    let world = World::new(network);
    let neighbours = attach(&world, Order::First, Verdict::Next);
    world.decides(2, || {
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
    });
    assert!(neighbours.iter().all(|neighbour| neighbour.seen().unwrap() > 0));
}

/// It keeps our programs from seeing anything, so the host's stack does the work: slower, and right.
fn a_program_before_ours_that_takes_all_leaves_userspace(network: Network) {
    let world = World::new(network);
    let neighbours = attach(&world, Order::First, Verdict::Pass);
    let mut connection = world.connect();
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
    drop(neighbours);
    // What userspace has stays there; new connections are the kernel's again.
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    world.decides(1, || assert_eq!(world.get("/b").endpoint(), Some("b1")));
}

/// It is asked first, and what it drops is dropped.
fn a_program_before_ours_may_drop(network: Network) {
    let world = World::new(network);
    let mut connection = world.connect();
    assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    let neighbours = attach(&world, Order::First, Verdict::Drop);
    connection.set_read_limit(std::time::Duration::from_millis(300)).unwrap();
    assert!(matches!(connection.get("a.test", "/b"), Err(testkit::ClientError::Timeout)));
    drop(neighbours);
    // The client repeats itself, and nothing is lost.
    connection.set_read_limit(std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(connection.response("GET").unwrap().endpoint(), Some("b1"));
}
