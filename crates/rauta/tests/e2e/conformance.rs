//! What judges of others say: h2spec of HTTP/2, sslyze of TLS, slowhttptest of patience. `./x setup` gets them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use testkit::{Addresses, Connection, exec};

use crate::http2_floods::memory;
use crate::manifests::{GATEWAY, documents, route, service};
use crate::secure::{pair, secret};
use crate::world::World;

/// What version 2.2.1 says when nothing is amiss.
const ALL_PASS: &str = "145 tests, 145 passed, 0 skipped, 0 failed";

/// A program that `./x setup` put there.
pub(crate) fn program(place: &str) -> PathBuf {
    testkit::set_up(place).unwrap()
}

/// Runs every case against one port; a case that fails is run again once, for its limits are of time.
fn judge(world: &World, arguments: &[&str]) {
    let mut last = String::new();
    for _ in 0..2 {
        let mut command = Command::new(program("h2spec-2.2.1/h2spec"));
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

/// A certificate for `name` of three months and its key, and the authority that signed it, all PEM.
fn signed(name: &str) -> ((String, String), String) {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.use_authority_key_identifier_extension = true;
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) =
        ((SystemTime::now() - DAY).into(), (SystemTime::now() + 90 * DAY).into());
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    ((leaf.pem(), key.serialize_pem()), authority.pem())
}

/// The Gateway with another listener, which ends TLS on 8443 with the Secret `any`.
pub(crate) fn secured_gateway() -> String {
    let listener = ", {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: any}]}}]\n";
    GATEWAY.trim_end().strip_suffix(']').unwrap().to_owned() + listener
}

#[test]
fn tls_is_as_mozillas_intermediate_profile_wants_it() {
    let route = route("all", &[], &[("", "[{name: web, port: 80}]")]);
    let (certificate, authority) = signed("a.test");
    let secret = secret("any", &certificate);
    let world = World::with(1, &documents(&[&secured_gateway(), &secret, &service("web", &[0]), &route]));
    let file = world.lab.folder().join("authority.pem");
    std::fs::write(&file, authority).unwrap();
    let mut command = Command::new(program("sslyze-6.3.0/bin/sslyze"));
    command.args(["--mozilla_config", "intermediate", "--sni", "a.test", "--certinfo_ca_file"]).arg(file);
    command.arg(format!("{}:8443", Addresses::GATEWAY));
    let output = exec(Some(world.lab.client()), command, Duration::from_secs(300)).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(": OK - Compliant."), "{said}");
    for well in ["Client Renegotiation DoS Attack:   OK - Not vulnerable", "ROBOT Attack:", "Heartbleed"] {
        assert!(said.contains(well), "{well}: {said}");
    }
    assert!(!said.contains("VULNERABLE -"), "{said}");
}

/// 500 clients that are slow with their heads, with their bodies and in reading, each kind in turn.
#[test]
fn slow_clients_keep_nobody_else_from_being_served() {
    let mut world = World::simple();
    let before = memory(&mut world.gateway);
    let url = format!("http://{}/1m", world.gateway.address());
    let kinds: [(&str, &[&str]); 3] = [
        ("-H", &["-i", "5", "-x", "24"]),
        ("-B", &["-i", "5", "-x", "10", "-s", "8192"]),
        ("-X", &["-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"]),
    ];
    for (kind, more) in kinds {
        let mut command = Command::new("slowhttptest");
        command.args([kind, "-c", "500", "-r", "200", "-l", "15", "-p", "5", "-u", &url]).args(more);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let said = std::thread::scope(|scope| {
            let honest = scope.spawn(|| {
                let mut served = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let response = Connection::open(world.lab.client_two(), world.gateway.address())
                        .unwrap()
                        .get("a", "/128")
                        .unwrap();
                    assert_eq!(response.status, 200, "{kind}");
                    served += 1;
                }
                served
            });
            let output = exec(Some(world.lab.client()), command, Duration::from_secs(120));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(honest.join().unwrap() > 100, "{kind}");
            let output = output.unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        assert!(said.contains("YES"), "{kind}: {said}");
        let now = memory(&mut world.gateway);
        assert!(now < before + (96 << 20), "{kind}: {before} {now} bytes");
    }
}

#[test]
fn every_case_of_h2spec_passes_in_cleartext_and_over_tls() {
    let route = route("all", &[], &[("", "[{name: web, port: 80}]")]);
    let secret = secret("any", &pair("a.test"));
    let world = World::with(1, &documents(&[&secured_gateway(), &secret, &service("web", &[0]), &route]));
    judge(&world, &["--port", "8080"]);
    judge(&world, &["--port", "8443", "--tls", "--insecure"]);
}
