//! What the kernel's tables must not keep.

use std::time::Duration;

use testkit::until;

use crate::world::World;

/// A connection that nobody has any more may rest in the tables for this long.
const LIMIT: Duration = Duration::from_secs(75);

/// Waits until no connection and no leg is left in the kernel's tables, and so no port of a leg is taken.
#[track_caller]
pub(crate) fn assert_none(world: &World) {
    if world.hook == "off" {
        return;
    }
    let mut left = String::new();
    let gone = until(LIMIT, "connections and legs to leave the kernel's tables", || {
        let count = |name: &str| world.gateway.metric(name, "").unwrap();
        let (flows, legs) = (count("rauta_kernel_flows"), count("rauta_kernel_legs"));
        left = format!("{flows} connections, {legs} legs");
        (flows + legs < 0.5).then_some(())
    });
    if let Err(error) = gone {
        let flows = world.gateway.cli(&["flows", "--limit", "20"]).unwrap();
        panic!("{error:#}: {left}\n{}", String::from_utf8_lossy(&flows.stdout));
    }
}
