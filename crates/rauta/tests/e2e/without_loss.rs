//! What changes every day costs no request: routes, endpoints, certificates. (Agents: `upgrade`.)

use std::process::Command;
use std::time::{Duration, Instant};

use testkit::{Addresses, Load, Response, exec, until};

use crate::manifests::{all_to, documents, route};
use crate::secure::{manifest, pair, secret};
use crate::world::World;

const KEPT: &str = "GET /128 HTTP/1.1\r\nHost: a\r\n\r\n";
const NEW: &str = "GET /128 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(20);

/// Clients that stay, and clients that connect for each request.
fn loads(world: &World) -> [Load; 2] {
    let is_well = |answer: &Response| answer.status == 200 && answer.body.len() == 128;
    [(KEPT, 4), (NEW, 2)].map(|(request, count)| {
        Load::start(world.lab.client(), world.gateway.address(), count, request, is_well)
    })
}

fn more(loads: &[Load], count: u64) {
    loads.iter().for_each(|load| load.wait_for_more(count, LIMIT).unwrap());
}

fn none_failed(loads: [Load; 2], endpoints: usize) {
    for load in loads {
        let report = load.stop();
        assert_eq!(report.failed(), 0, "{report:?}");
        assert_eq!(report.endpoints.len(), endpoints, "{report:?}");
    }
}

#[test]
fn three_thousand_changes_cost_no_request() {
    let world = World::with(2, &all_to(&[0]));
    let loads = loads(&world);
    let extra = |path: &str| {
        let matches = format!("[{{path: {{type: Exact, value: {path}}}}}]");
        route("extra", &["x.test"], &[(&matches, "[{name: web, port: 80}]")])
    };
    let versions = [
        documents(&[&all_to(&[0]), &extra("/one")]),
        documents(&[&all_to(&[0, 1]), &extra("/two")]),
        documents(&[&all_to(&[1]), &extra("/one")]),
        all_to(&[0, 1]),
    ];
    let applied = || world.gateway.metric("rauta_snapshot_version", "").unwrap();
    let (start, begun) = (applied(), Instant::now());
    let mut turns = versions.iter().cycle();
    while applied() - start < 3000.0 {
        assert!(begun.elapsed() < Duration::from_secs(240), "{} changes", applied() - start);
        for version in turns.by_ref().take(50) {
            world.gateway.replace("all.yaml", version).unwrap();
            std::thread::sleep(Duration::from_millis(6));
        }
    }
    more(&loads, 40);
    none_failed(loads, 2);
}

#[test]
fn every_endpoint_restarts_and_no_request_fails() {
    let mut world = World::with(3, &all_to(&[0, 1, 2]));
    let loads = loads(&world);
    for index in 0..3_u8 {
        more(&loads, 100);
        let others: Vec<u8> = (0..3).filter(|&other| other != index).collect();
        world.gateway.replace("all.yaml", &all_to(&others)).unwrap();
        // What is under way ends; connections that are kept in stock may be closed by the endpoint at any time.
        let version = world.gateway.metric("rauta_snapshot_version", "").unwrap();
        until(LIMIT, "the endpoint to be out", || {
            let is_listed = String::from_utf8_lossy(&world.gateway.cli(&["backends"]).unwrap().stdout)
                .contains(&Addresses::backend(index).to_string());
            (!is_listed).then_some(())
        })
        .unwrap();
        more(&loads, 100);
        let endpoint = &mut world.endpoints[usize::from(index)];
        endpoint.kill().unwrap();
        more(&loads, 100);
        endpoint.restart().unwrap();
        world.gateway.replace("all.yaml", &all_to(&[0, 1, 2])).unwrap();
        until(LIMIT, "a new version", || {
            (world.gateway.metric("rauta_snapshot_version", "").unwrap() > version).then_some(())
        })
        .unwrap();
    }
    more(&loads, 200);
    none_failed(loads, 3);
}

#[test]
fn handshakes_succeed_while_the_certificate_changes() {
    const HANDSHAKES: usize = 1000;
    let pairs: Vec<_> = (0..2).map(|_| pair("a.test")).collect();
    let world = World::with(1, &manifest(&["a.test"]));
    world.gateway.write("a.yaml", &secret("a.test", &pairs[0])).unwrap();
    // Either certificate is right; each connection is one that curl does not keep.
    let bundle = world.lab.folder().join("both.pem");
    std::fs::write(&bundle, format!("{}{}", pairs[0].0, pairs[1].0)).unwrap();
    let ask = |count: usize, limit: u64| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--parallel", "--parallel-max", "8", "--http1.1"]);
        command.args([
            "--header",
            "Connection: close",
            "--output",
            "/dev/null",
            "--max-time",
            &limit.to_string(),
        ]);
        command.args(["--connect-to", &format!("::{}:", world.gateway.address().ip())]);
        command.arg("--cacert").arg(&bundle).args(["--write-out", "%{response_code}\n"]);
        command.arg(format!("https://a.test:8443/128?[1-{count}]"));
        exec(Some(world.lab.client()), command, Duration::from_secs(limit + 10)).unwrap()
    };
    crate::secure::eventually("the Secret is read", || ask(1, 10).status.success());
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(HANDSHAKES, 120));
        let mut changes = 0;
        while !asked.is_finished() {
            changes += 1;
            world.gateway.replace("a.yaml", &secret("a.test", &pairs[changes % 2])).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        let output = asked.join().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let served = said.lines().filter(|line| *line == "200").count();
        assert_eq!(served, HANDSHAKES, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(changes >= 5, "{changes} changes only");
    });
}
