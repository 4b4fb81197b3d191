//! What a kernel serves, by what the doctor finds in it and never by its version. `./x kernels` runs these cases on kernels of
//! distributions, and knows from what they print what each of them did (`xtask/src/kernels`).

use std::process::Command;

use serde_json::Value;
use testkit::{Connection, exec};

use crate::older_kernels::userspace_serves;
use crate::options::LIMIT;
use crate::world::{Network, RAUTA, World, hook};
use crate::xdp::decided;

with_clsact!(on_two_networks: a_kernel_serves_by_what_it_has);

fn a_kernel_serves_by_what_it_has(network: Network) {
    if hook() == "off" {
        return;
    }
    let probe = Probe::ask();
    let attached = if probe.has_tcx && !network.is_clsact { "tcx" } else { "clsact" };
    let is_early = hook() == "xdp" && probe.hands_off;
    let early = if is_early && attached == "tcx" { "native XDP, " } else { "" };
    let (log, by) = if probe.hands_off {
        (kernel_serves(&World::new(network)), "kernel")
    } else {
        (userspace_serves(network, if network.is_clsact { "tcx" } else { "" }), "userspace")
    };
    for device in ["front0", "back0"] {
        assert!(
            log.contains(&format!("{device} ({early}{attached})")),
            "{device} is not attached by {attached}:\n{log}"
        );
    }
    assert_eq!(log.contains("TC instead of XDP: without tcx"), is_early && attached == "clsact", "{log}");
    eprintln!("\nserved by: {by}, {attached}");
}

/// The same with XDP before TC, where connections can be handed off at all.
#[test]
fn a_kernel_serves_in_xdp_what_it_can() {
    if hook() == "off" || !Probe::ask().hands_off {
        return;
    }
    let world = World::early(Network::V4_WIRE, &[]);
    let before = decided(&world);
    let log = kernel_serves(&world);
    assert!(log.contains("front0 (native XDP, tcx)"), "{log}");
    assert!(decided(&world) > before, "{}", world.gateway.metrics().unwrap());
    eprintln!("\nserved by: kernel, xdp");
}

/// Connections that the programs answer: one request routed, the next one to another endpoint, one for userspace in mid-stream, one for
/// userspace at once. What the agent has logged.
fn kernel_serves(world: &World) -> String {
    // Nobody has asked this endpoint before: a leg to it is opened.
    let mut connection =
        world.decides(1, || world.counts(&[("bound", 1)], || asked(world.connect(), &get("/a", ""), "b0")));
    connection =
        world.decides(1, || world.counts(&[("rebound", 1)], || asked(connection, &get("/b", ""), "b1")));
    // No end of the head in what the kernel reads.
    let undecidable = get("/b", &format!("X-Big: {}\r\n", "y".repeat(3000)));
    world.hands_off_for("undecidable", 1, || asked(connection, &undecidable, "b1"));
    world.hands_off_for("undecidable", 1, || asked(world.connect(), &undecidable, "b1"));
    world.gateway.log()
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

/// The connection after `request`, which `endpoint` must have answered.
#[track_caller]
fn asked(mut connection: Connection, request: &str, endpoint: &str) -> Connection {
    let answer = connection.request(request).unwrap();
    assert_eq!((answer.status, answer.endpoint()), (200, Some(endpoint)), "{answer:?}");
    connection
}

/// What the doctor finds in this kernel.
struct Probe {
    hands_off: bool,
    has_tcx: bool,
}

impl Probe {
    fn ask() -> Self {
        let mut command = Command::new(RAUTA);
        command.args(["doctor", "--output", "json"]);
        let output = exec(None, command, LIMIT).unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_ok = |area: &str, item: &str| {
            let row = said["rows"]
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["area"] == area && row["item"] == item);
            row.unwrap_or_else(|| panic!("no {area} {item} in {said}"))["state"] == "ok"
        };
        Self { hands_off: is_ok("kernel", "kfunc bpf_sk_assign_tcp_reqsk"), has_tcx: is_ok("hook", "tcx") }
    }
}
