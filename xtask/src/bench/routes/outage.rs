//! The API server is killed under load, and comes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use testkit::{Addresses, Connection, until};

use super::world::{self, World};

/// What the absence cost.
#[derive(Debug, Serialize)]
pub(super) struct Outage {
    seconds: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// From the answer to the first change after it to its being in force.
    pub(super) change_s: f64,
}

const BACK: &str = "back.test";

/// Keeps the API server away for so long.
pub(super) fn run(world: &mut World, time: Duration) -> Result<Outage> {
    let load = super::load(world);
    world.control.stop_api_server()?;
    std::thread::sleep(time);
    world.control.start_api_server()?;
    world.control.client().create(&world::routes(), &world::route(BACK, world::NEW.0))?;
    let changed = Instant::now();
    until(Duration::from_secs(60), "a change behind the absence to be in force", || {
        let mut connection = Connection::open(world.client(), Addresses::gateway_socket()).ok()?;
        (connection.get(BACK, "/").ok()?.status == 200).then_some(())
    })?;
    let change_s = changed.elapsed().as_secs_f64();
    let seen = load.stop();
    Ok(Outage { seconds: time.as_secs(), answered: seen.answered, failed: seen.failed(), change_s })
}
