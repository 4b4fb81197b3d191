//! `rauta explain flow` of connections that never were: what the programs would do is what they do, and asking changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::{Netns, exec, until};

use crate::affinity::{ask, client, with_clients};
use crate::world::{Network, World};

on_two_networks!(what_the_programs_would_do_is_what_they_do, a_dry_run_leaves_no_trace,);

const PATIENCE: Duration = Duration::from_secs(60);

fn explain(world: &World, from: IpAddr, url: &str) -> Value {
    let vip = world.address().to_string();
    let output = world.gateway.cli(&["explain", "flow", &from.to_string(), &vip, url, "-o", "json"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn endpoint(world: &World, name: &str) -> SocketAddr {
    world.network.endpoint(name.trim_start_matches('b').parse().unwrap())
}

fn has_fact(explained: &Value, part: &str) -> bool {
    explained["facts"].as_array().unwrap().iter().any(|fact| fact.as_str().unwrap().contains(part))
}

fn what_the_programs_would_do_is_what_they_do(network: Network) {
    let world = with_clients(network);
    for n in 0..2 {
        let from = client(network, n);
        let before = explain(&world, from, "http://kept.test/");
        assert!(before["outcome"].as_str().unwrap().contains("the kernel tier decides it"), "{before}");
        let told: SocketAddr = before["flow"]["endpoint"].as_str().unwrap().parse().unwrap();
        assert!(has_fact(&before, "this one is new"), "{before}");
        let met = world.decides(1, || ask(&world, from, "/"));
        assert_eq!(endpoint(&world, &met), told, "client {n}: {before}");
        let after = explain(&world, from, "http://kept.test/");
        assert!(has_fact(&after, &format!("has {told} from before")), "{after}");

        let steps = before["steps"].as_array().unwrap();
        let packets: Vec<&str> = steps.iter().map(|step| step["packet"].as_str().unwrap()).collect();
        assert_eq!(
            packets,
            ["the client's SYN", "the client's ACK", "the request", "the endpoint's SYN-ACK"],
            "{before}"
        );
        let reasons = ["syn_cookie", "bare_ack", "bound"];
        for (step, reason) in steps.iter().zip(reasons) {
            assert_eq!(step["reasons"], serde_json::json!([reason]), "{before}");
        }
        let opened = steps[2]["left"].as_str().unwrap();
        assert!(opened.contains(&format!(" > {told} SYN seq ")), "{opened}");
        let sent: Vec<u8> = serde_json::from_value(steps[3]["payload"].clone()).unwrap();
        let head = String::from_utf8(sent).unwrap();
        assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.contains("Host: kept.test\r\n"), "{head}");
        assert!(head.contains(&format!("X-Forwarded-For: {from}\r\n")), "{head}");
    }
}

/// All that a packet that left, a record that was written or a handle that was kept would change.
#[derive(Debug, PartialEq)]
struct Traces {
    reasons: String,
    flows: u64,
    segments: [String; 3],
    descriptors: usize,
    pins: Vec<String>,
}

impl Traces {
    fn of(world: &mut World) -> Self {
        let said =
            |arguments: &[&str]| String::from_utf8(world.gateway.cli(arguments).unwrap().stdout).unwrap();
        let flows: Value = serde_json::from_str(&said(&["flows", "-o", "json"])).unwrap();
        let mut pins: Vec<String> = walk(&world.lab.bpffs().unwrap());
        pins.sort();
        let lab = &world.lab;
        let segments = [lab.client(), lab.backend(0), lab.backend(1)].map(segments);
        let reasons = said(&["drops", "-o", "json"]);
        let descriptors = format!("/proc/{}/fd", world.gateway.process().pid());
        Self {
            reasons,
            flows: flows["inUse"].as_u64().unwrap(),
            segments,
            descriptors: std::fs::read_dir(descriptors).unwrap().count(),
            pins,
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] })
        .collect()
}

/// What TCP has received and sent there (net/ipv4/proc.c), of both families.
fn segments(netns: &Netns) -> String {
    let mut command = Command::new("cat");
    command.arg("/proc/net/snmp");
    let output = exec(Some(netns), command, PATIENCE).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| line.starts_with("Tcp:")).collect::<Vec<_>>().join("\n")
}

fn a_dry_run_leaves_no_trace(network: Network) {
    let mut world = World::new(network);
    let from = client(network, 0);
    // Whatever the start began has come to its end.
    let mut before = Traces::of(&mut world);
    until(PATIENCE, "the gateway to be quiet", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = Traces::of(&mut world);
        let is_quiet = now == before && now.flows == 0;
        before = now;
        is_quiet.then_some(())
    })
    .unwrap();
    for (url, part) in [
        ("http://kept.test/", "the kernel tier decides it"),
        ("http://a.test/../x", "hands it off to userspace (Tier 3): the request has something in it"),
    ] {
        let explained = explain(&world, from, url);
        assert!(explained["outcome"].as_str().unwrap().contains(part), "{explained}");
    }
    until(PATIENCE, "the agent to have closed everything", || {
        let now = Traces::of(&mut world);
        (now.descriptors == before.descriptors).then_some(now)
    })
    .map(|now| assert_eq!(now, before))
    .unwrap();
}
