//! What an agent writes that finds the maps of the one before it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::until;

use crate::manifests;
use crate::world::{Network, World, hook};

on_two_networks!(a_restart_writes_what_has_changed, what_was_left_in_the_maps_is_not_believed,);

/// Longer than anything rests in the tables.
const QUIET: Duration = Duration::from_secs(4);

/// Entries of tables that the agent has written, once it has had nothing to write for a while.
fn writes(world: &World) -> f64 {
    let (mut last, mut since) = (-1.0, Instant::now());
    let settled = until(Duration::from_secs(60), "the tables to be at rest", || {
        let now = world.gateway.metric("rauta_kernel_table_writes_total", "").unwrap();
        if now > last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > QUIET).then_some(now)
    });
    settled.unwrap()
}

fn asks_all(world: &World) {
    world.wait_for_the_kernel();
    world.decides(3, || {
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        assert_eq!(connection.get("a.test", "/b").unwrap().endpoint(), Some("b1"));
        assert_eq!(connection.get("b.test", "/").unwrap().endpoint(), Some("b1"));
    });
}

fn die_and_restart(world: &mut World) {
    world.gateway.process().kill().unwrap();
    world.restart();
    asks_all(world);
}

fn a_restart_writes_what_has_changed(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::new(network);
    let all = writes(&world);
    assert!(all > 20.0, "{all}");
    die_and_restart(&mut world);
    let none = writes(&world);
    assert!(none < 0.5, "{none} entries written without a change, {all} at first");

    // What a change and its opposite cost a running agent; the next one is started with the latter.
    let change = || world.gateway.replace("all.yaml", &manifests::routes_with(network, &[0])).unwrap();
    change();
    let there = writes(&world);
    world.gateway.replace("all.yaml", &manifests::routes(network)).unwrap();
    let back = writes(&world) - there;
    assert!(there > 0.5 && back > 0.5, "{there} and {back} entries");
    change();
    writes(&world);
    die_and_restart(&mut world);
    let again = writes(&world);
    assert!(again > 0.5 && again < back + 0.5, "{again} entries, {back} without a restart");
}

fn what_was_left_in_the_maps_is_not_believed(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::new(network);
    world.gateway.process().kill().unwrap();
    let pins = world.lab.bpffs().unwrap();
    // As from a version with other records: some are nothing, some are anything.
    for (map, byte) in
        [("CANDIDATES", 0xff), ("ROUTE_ACTIONS", 0x01), ("BACKENDS", 0xff), ("MAGLEV_TABLES", 0x01)]
    {
        let path = pinned(&pins, map).unwrap_or_else(|| panic!("no {map} below {}", pins.display()));
        for index in 1..4 {
            fill(&path, index, byte);
        }
    }
    world.restart();
    let written = writes(&world);
    assert!(written > 3.5, "{written} entries");
    asks_all(&world);
}

fn pinned(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => pinned(&path, name),
            false => (entry.file_name() == *name).then_some(path),
        }
    })
}

/// Writes a value of an array that is this byte all over.
fn fill(map: &Path, index: u32, byte: u8) {
    let mut show = Command::new("bpftool");
    show.args(["-j", "map", "show", "pinned"]).arg(map);
    let output = testkit::exec(None, show, Duration::from_secs(10)).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let size = usize::try_from(shown["bytes_value"].as_u64().unwrap()).unwrap();
    let mut update = Command::new("bpftool");
    update.args(["map", "update", "pinned"]).arg(map).arg("key");
    update.args(index.to_ne_bytes().map(|byte| byte.to_string())).arg("value");
    update.args(std::iter::repeat_n(byte.to_string(), size));
    let output = testkit::exec(None, update, Duration::from_secs(10)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
