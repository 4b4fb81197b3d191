//! `rauta run --upgrade --linger` and `rauta ready`: agents that a kubelet starts and stops.

use std::process::Command;

use testkit::{Gateway, Lab, Nginx, Signal, exec};

use crate::manifests::all_to;
use crate::secure::eventually;
use crate::upgrade::ENDS;
use crate::world::{RAUTA, World};

/// An agent as in the Pod `pod`; the first one has manifests.
fn agent(lab: &Lab, pod: &str, manifests: &[(&str, &str)]) -> Gateway {
    let builder = Gateway::builder(lab, RAUTA, manifests).unwrap();
    builder.arguments(&["--upgrade", "--linger"]).env("POD_NAME", pod).start(lab).unwrap()
}

/// What `rauta ready` says in `pod`; none: ready.
fn not_ready(lab: &Lab, pod: &str) -> Option<String> {
    let mut command = Command::new(RAUTA);
    command.args(["ready", "--socket"]).arg(lab.folder().join("rauta.sock")).env("POD_NAME", pod);
    let output = exec(None, command, ENDS).unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

/// Sockets and locks that a process holds; others may come from whoever started it.
fn held(pid: u32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let names =
        folder.flatten().filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.display().to_string()));
    names.filter(|name| name.starts_with("socket:") || name.ends_with(".lock")).collect()
}

#[test]
fn who_was_taken_over_from_waits_to_be_stopped_and_holds_nothing() {
    let lab = Lab::builder().build().unwrap();
    let _endpoint = Nginx::start(&lab, 0).unwrap();
    let mut old = agent(&lab, "one", &[("all.yaml", &all_to(&[0]))]);
    assert_eq!(not_ready(&lab, "one"), None);
    let refused = not_ready(&lab, "two").expect("two does not run");
    assert!(refused.contains("one is at work, two is not"), "{refused}");

    assert!(!held(old.process().pid()).is_empty());
    let mut new = agent(&lab, "two", &[]);
    eventually("the new Pod is ready", || not_ready(&lab, "two").is_none());
    assert!(not_ready(&lab, "one").is_some());
    old.wait_for_log("waiting to be stopped").unwrap();
    let pid = old.process().pid();
    eventually("the old agent holds nothing", || held(pid).is_empty());

    // Neither ports nor the lock of the control socket: an agent may come in place of one that dies.
    new.process().signal(Signal::SIGKILL).unwrap();
    new.process().wait(ENDS).unwrap();
    let third = agent(&lab, "three", &[]);
    assert!(third.log().contains("no agent at work to take over from: starting as usual"), "{}", third.log());
    eventually("the third Pod is ready", || not_ready(&lab, "three").is_none());
    third.wait_for_answer(lab.client(), "a", "/128", |answer| answer.body.len() == 128).unwrap();

    assert!(old.process().ended().is_none(), "{}", old.log());
    old.process().signal(Signal::SIGTERM).unwrap();
    assert_eq!(old.process().wait(ENDS).unwrap().code(), Some(0), "{}", old.log());
}

#[test]
fn a_pod_that_comes_while_the_one_before_it_drains_waits_and_serves() {
    let mut world = World::simple();
    let mut slow = world.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    world.gateway.wait_for_log("draining").unwrap();
    let mut command = Command::new(RAUTA);
    command.args([
        "run",
        "--upgrade",
        "--linger",
        "--admin",
        "127.0.0.1:9901",
        "--metrics",
        "off",
        "--hook",
        "off",
    ]);
    command.arg("-f").arg(world.lab.folder().join("manifests")).env("POD_NAME", "two");
    command.arg("--socket").arg(world.lab.folder().join("rauta.sock"));
    let mut next = world.lab.spawn(world.lab.gateway(), "two", command).unwrap();
    let log = next.log_path().to_owned();
    let says = |text: &str| std::fs::read_to_string(&log).unwrap().contains(text);
    next.wait_for(ENDS, "the next agent to wait", || says("waiting until it is gone").then_some(())).unwrap();
    assert!(!says("starting as usual"), "it started beside the one that drains");
    assert_eq!(slow.rest().unwrap().len(), 16 * 1024, "{}", world.gateway.log());
    assert_eq!(world.gateway.process().wait(ENDS).unwrap().code(), Some(0), "{}", world.gateway.log());
    let (lab, address) = (&world.lab, world.gateway.address());
    let ask = || testkit::Connection::open(lab.client(), address).ok()?.get("a", "/128").ok();
    let answer = next.wait_for(ENDS, "the next agent to serve", ask).unwrap();
    assert_eq!(answer.body.len(), 128);
    assert_eq!(not_ready(lab, "two"), None);
    // Who waits can be stopped, too, as can who serves.
    assert_eq!(next.stop(ENDS).unwrap().code(), Some(0), "{}", next.log());
}

#[test]
fn a_signal_after_the_old_agent_drained_ends_it() {
    let lab = Lab::builder().build().unwrap();
    let _endpoint = Nginx::start(&lab, 0).unwrap();
    let mut old = agent(&lab, "one", &[("all.yaml", &all_to(&[0]))]);
    for (before, pod) in ["two", "three", "four", "five"].into_iter().enumerate() {
        let next = agent(&lab, pod, &[]);
        // Between here and the program that only waits the process executes itself anew. All write one log.
        let stopped = || old.log().matches("agent: stopped").count();
        eventually("the old agent to have drained", || stopped() > before);
        old.process().signal(Signal::SIGTERM).unwrap();
        let status = old.process().wait(ENDS).unwrap();
        assert_eq!(status.code(), Some(0), "{}", old.log());
        old = next;
    }
}

#[test]
fn a_signal_while_the_old_agent_drains_is_the_first() {
    let mut world = World::simple();
    let mut slow = world.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    let new = agent(&world.lab, "two", &[]);
    let mut old = std::mem::replace(&mut world.gateway, new);
    old.wait_for_log("another agent has taken over").unwrap();
    old.process().signal(Signal::SIGTERM).unwrap();
    assert_eq!(slow.rest().unwrap().len(), 16 * 1024, "{}", old.log());
    assert_eq!(old.process().wait(ENDS).unwrap().code(), Some(0), "{}", old.log());
    assert!(old.log().contains("draining already"), "{}", old.log());
}
