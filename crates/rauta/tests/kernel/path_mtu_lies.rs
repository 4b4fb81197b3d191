//! ICMP "packet too big" that cannot be true: nobody is told (RFC 5927 section 4.1, RFC 8201 section 4).
//!
//! Who forges one knows addresses and ports, but hardly which bytes are under way.

use std::process::Command;
use std::time::Duration;

use testkit::{Netns, Options, RawConnection, RawHost, Segment, exec, flag};

use crate::attacks::{assert_lives, served};
use crate::options::{LIMIT, assert_answers, get, is_whole};
use crate::told;
use crate::world::{Network, World};

on_every_network!(lies_about_the_way_to_a_client, lies_about_the_way_to_an_endpoint);

/// What became of errors so far: passed on, not believed.
fn counted(world: &World) -> (f64, f64) {
    let count = |reason: &str| {
        world.gateway.metric("rauta_kernel_events_total", &format!("reason=\"{reason}\"")).unwrap_or_default()
    };
    (count("too_big_passed_on"), count("drop_too_big"))
}

/// Sends errors about `quoted`: `dropped` of them must be found out, `passed` passed on.
#[track_caller]
fn assert_counts(world: &World, (passed, dropped): (u32, u32), send: impl FnOnce()) {
    let before = counted(world);
    send();
    let mut after = before;
    // The wire takes its time; and nothing must follow.
    let wanted = (before.0 + f64::from(passed), before.1 + f64::from(dropped));
    let found = testkit::until(Duration::from_secs(30), "the errors to be counted", || {
        after = counted(world);
        (after == wanted).then_some(())
    });
    assert!(found.is_ok(), "{before:?}, then {after:?} and not {wanted:?}");
}

fn ip(netns: &Netns, arguments: &[&str]) -> String {
    let mut command = Command::new("ip");
    command.args(arguments);
    let output = exec(Some(netns), command, Duration::from_secs(5)).unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What endpoint `b0` believes of the way to the gateway.
fn way_of_b0(world: &World) -> String {
    ip(world.lab.backend(0), &["route", "get", back(world)])
}

/// The gateway as endpoints see it.
fn back(world: &World) -> &'static str {
    if world.network.is_v6 { "fd77:0:0:1::1" } else { "10.77.1.1" }
}

fn lies_about_the_way_to_a_client(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let host = RawHost::new(&world.lab).unwrap();
    let mut connection = served(&world, &host, 4900);
    // The answer is under way, and nothing of it acknowledged.
    host.write(&mut connection, &get("/1m")).unwrap();
    assert!(!host.receive(connection.local, LIMIT).unwrap().unwrap().payload.is_empty());
    let quoted = |connection: &RawConnection, behind: u32| Segment {
        seq: connection.ack.wrapping_add(behind),
        ..Segment::new(connection.remote, connection.local, flag::ACK, 0, connection.seq)
    };
    let wrong = [u32::MAX, 0_u32.wrapping_sub(100_000), 20_000_000, 1 << 31];
    assert_counts(&world, (0, 4), || {
        for behind in wrong {
            host.send_too_big(&quoted(&connection, behind), 1300).unwrap();
        }
    });
    if network.is_v6 {
        assert_counts(&world, (0, 3), || {
            for mtu in [0, 1000, 1279] {
                host.send_too_big(&quoted(&connection, 0), mtu).unwrap();
            }
        });
    }
    // No connection of the kernel tier has this port: the stack's, which does not know it either.
    assert_counts(&world, (0, 0), || {
        let other = Segment { destination: host.address(world.address(), 4901), ..quoted(&connection, 0) };
        host.send_too_big(&other, 1300).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    });
    assert!(!way_of_b0(&world).contains("mtu"), "{}", way_of_b0(&world));

    // What is true is told, or all of this would show nothing.
    assert_counts(&world, (1, 0), || host.send_too_big(&quoted(&connection, 0), 1300).unwrap());
    let way = way_of_b0(&world);
    assert!(way.contains("mtu 1300"), "{way}");
    host.read(&mut connection, LIMIT, |bytes| bytes.len() > 1_000_000).unwrap();
    assert_lives(&host, &mut connection);
}

fn lies_about_the_way_to_an_endpoint(network: Network) {
    let world = World::new(network);
    if world.hook == "off" {
        return;
    }
    let host = RawHost::new(&world.lab).unwrap();
    let mut connection = host.connect(world.address(), 4910, Options::LINUX, 7).unwrap();
    host.write(&mut connection, &get("/a")).unwrap();
    assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b0", "/a");
    // Nothing is under way.
    let leg = told::leg(&world, connection.local);
    let quoted =
        |behind: u32| Segment::new(leg.gateway, leg.endpoint, flag::ACK, leg.ack.wrapping_add(behind), 0);
    let wrong = [u32::MAX, 0_u32.wrapping_sub(100_000), 0, 1, 20_000_000, 1 << 31];
    assert_counts(&world, (0, 6), || {
        for behind in wrong {
            host.send_too_big(&quoted(behind), 1400).unwrap();
        }
    });
    // A request is, while its endpoint finds no way to acknowledge it.
    let silenced = format!("{}/{}", back(&world), if network.is_v6 { 128 } else { 32 });
    ip(world.lab.backend(0), &["route", "add", "blackhole", &silenced]);
    let request = get("/a/2");
    host.write(&mut connection, &request).unwrap();
    let length = u32::try_from(request.len()).unwrap();
    told::wait_for(&world, connection.local, "requests: ", "1 request without the end of its response");
    assert_counts(&world, (0, 2), || {
        host.send_too_big(&quoted(u32::MAX), 1400).unwrap();
        // Behind the request and all that may be inserted into it.
        host.send_too_big(&quoted(length + 128), 1400).unwrap();
    });
    if network.is_v6 {
        assert_counts(&world, (0, 3), || {
            for mtu in [0, 1000, 1279] {
                host.send_too_big(&quoted(0), mtu).unwrap();
            }
        });
    }
    assert_counts(&world, (0, 0), || {
        let other = Segment::new(leg.gateway, network.endpoint(1), flag::ACK, leg.ack, 0);
        host.send_too_big(&other, 1400).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    });
    assert_counts(&world, (1, 0), || host.send_too_big(&quoted(0), 1400).unwrap());
    ip(world.lab.backend(0), &["route", "del", "blackhole", &silenced]);
    assert_answers(&host.read(&mut connection, LIMIT, is_whole).unwrap(), "b0", "/a/2");
    assert_lives(&host, &mut connection);
}
