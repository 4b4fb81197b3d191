//! Connections that are opened ahead, or kept, and used minutes later.

use std::time::Duration;

use crate::world::{Network, World};

/// Longer than the two minutes for which a connection may be opened ahead at least.
const IDLE: Duration = Duration::from_secs(125);
const CONNECTIONS: usize = 4;

/// On all networks at once: the time passes for all of them.
#[test]
fn connections_may_be_silent_for_two_minutes() {
    let networks = [Network::V4_OFFLOADS, Network::V4_WIRE, Network::V6_OFFLOADS, Network::V6_WIRE];
    let worlds: Vec<World> = networks.into_iter().map(World::new).collect();
    std::thread::scope(|scope| {
        for world in &worlds {
            scope.spawn(|| silence(world));
        }
    });
}

fn silence(world: &World) {
    // Opened ahead; used once; handed to userspace.
    let mut ahead: Vec<_> = (0..CONNECTIONS).map(|_| world.connect()).collect();
    let mut used: Vec<_> = (0..CONNECTIONS).map(|_| world.connect()).collect();
    for connection in &mut used {
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    }
    let mut userspaces = world.connect();
    assert_eq!(userspaces.get("a.test", "/user").unwrap().endpoint(), Some("b1"));

    std::thread::sleep(IDLE);

    world.decides(2 * u32::try_from(CONNECTIONS).unwrap(), || {
        for connection in ahead.iter_mut().chain(&mut used) {
            assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"), "{:?}", world.network);
        }
    });
    assert_eq!(userspaces.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    for connection in ahead.iter_mut().chain(&mut used) {
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
    }
}
