//! HTTP/2 as a judge of others sees it: h2spec, which `./x setup` builds.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use testkit::{Addresses, exec};

use crate::manifests::{GATEWAY, documents, route, service};
use crate::secure::{pair, secret};
use crate::world::World;

/// What version 2.2.1 says when nothing is amiss.
const ALL_PASS: &str = "145 tests, 145 passed, 0 skipped, 0 failed";

fn h2spec() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap();
    let program = base.join("rauta/h2spec-2.2.1/h2spec");
    assert!(program.exists(), "{} is not there: run ./x setup", program.display());
    program
}

/// Runs every case against one port; a case that fails is run again once, for its limits are of time.
fn judge(world: &World, arguments: &[&str]) {
    let mut last = String::new();
    for _ in 0..2 {
        let mut command = Command::new(h2spec());
        command.args(["--host", &Addresses::GATEWAY.to_string(), "--path", "/128", "--timeout", "5"]);
        command.args(arguments);
        let output = exec(Some(world.lab.client()), command, Duration::from_secs(300)).unwrap();
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        if last.contains(ALL_PASS) {
            return;
        }
    }
    let failures = last.split_once("Failures:").map_or(last.as_str(), |(_, failures)| failures);
    panic!("h2spec {arguments:?}: {failures}");
}

#[test]
fn every_case_of_h2spec_passes_in_cleartext_and_over_tls() {
    let listener = ", {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: any}]}}]\n";
    let gateway = GATEWAY.trim_end().strip_suffix(']').unwrap().to_owned() + listener;
    let route = route("all", &[], &[("", "[{name: web, port: 80}]")]);
    let secret = secret("any", &pair("a.test"));
    let world = World::with(1, &documents(&[&gateway, &secret, &service("web", &[0]), &route]));
    judge(&world, &["--port", "8080"]);
    judge(&world, &["--port", "8443", "--tls", "--insecure"]);
}
