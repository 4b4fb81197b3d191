//! HTTPS and HTTP/2 with a client of others (curl), through the binary, in front of nginx.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Lab, Load, until};

use crate::manifests::{GATEWAY, route, service};
use crate::world::World;

/// A self-signed certificate for `name` and its key, both PEM.
pub(crate) fn pair(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

pub(crate) fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}

pub(crate) fn secret(name: &str, (chain, key): &(String, String)) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(chain),
        indented(key)
    )
}

/// The Gateway with listeners for HTTPS on 8443, one for each of `hosts`, beside the one for HTTP.
pub(crate) fn manifest(hosts: &[&str]) -> String {
    let mut gateway = GATEWAY.trim_end().strip_suffix(']').unwrap().to_owned();
    for host in hosts {
        gateway += &format!(
            ", {{name: {0}, protocol: HTTPS, port: 8443, hostname: {0}, tls: {{certificateRefs: [{{name: {0}}}]}}}}",
            host
        );
    }
    [gateway + "]\n", service("web", &[0]), route("all", &[], &[("", "[{name: web, port: 80}]")])]
        .join("---\n")
}

/// What curl prints; `host` is looked up as the gateway's address and trusted with `chain`.
fn curl(lab: &Lab, chain: &Path, address: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--cacert"]).arg(chain);
    command.args(["--connect-to", &format!("::{address}:")]).args(arguments);
    lab.client().place(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

pub(crate) fn eventually(what: &str, is_true: impl Fn() -> bool) {
    until(Duration::from_secs(20), what, || is_true().then_some(())).unwrap();
}

#[test]
fn https_serves_both_protocols_by_name_and_a_changed_secret_is_shown_at_once() {
    let (a, b) = (pair("a.test"), pair("b.test"));
    let world = World::with(1, &manifest(&["a.test", "b.test"]));
    world.gateway.write("a.yaml", &secret("a.test", &a)).unwrap();
    world.gateway.write("b.yaml", &secret("b.test", &b)).unwrap();
    let address = world.gateway.address().ip().to_string();
    let file = |name: &str, (chain, _): &(String, String)| {
        let path = world.lab.folder().join(name);
        std::fs::write(&path, chain).unwrap();
        path
    };
    let (a_file, b_file) = (file("a.pem", &a), file("b.pem", &b));
    let get = |chain: &Path, url: &str, more: &[&str]| {
        let mut arguments = more.to_vec();
        arguments.extend(["--write-out", "\n%{http_version} %{response_code}", url]);
        curl(&world.lab, chain, &address, &arguments)
    };
    let served = || get(&a_file, "https://a.test:8443/128", &["--http1.1"]);
    eventually("the Secrets are read", || served().is_ok());

    assert!(served().unwrap().ends_with("\n1.1 200"));
    assert!(get(&a_file, "https://a.test:8443/128", &["--http2"]).unwrap().ends_with("\n2 200"));
    assert!(get(&b_file, "https://b.test:8443/128", &["--tls-max", "1.2"]).unwrap().ends_with("\n2 200"));
    let echoed = get(&a_file, "https://a.test:8443/", &["--http2"]).unwrap();
    assert!(echoed.contains("x-forwarded-proto=https"), "{echoed}");
    let plain = get(&a_file, "http://a.test:8080/128", &["--http2-prior-knowledge"]).unwrap();
    assert!(plain.ends_with("\n2 200"), "{plain}");
    // The name in TLS and the host of the request disagree.
    let misdirected = get(&a_file, "https://a.test:8443/", &["--http2", "--header", "Host: b.test"]).unwrap();
    assert!(misdirected.ends_with("\n2 421"), "{misdirected}");
    let unknown = get(&a_file, "https://c.test:8443/", &[]).unwrap_err();
    assert!(unknown.contains("unrecognized name"), "{unknown}");

    let new = pair("a.test");
    let new_file = file("new.pem", &new);
    world.gateway.replace("a.yaml", &secret("a.test", &new)).unwrap();
    let renewed = || get(&new_file, "https://a.test:8443/128", &[]).is_ok();
    eventually("the new certificate is shown", renewed);
    assert!(served().is_err(), "the old certificate is no longer shown");

    // A Secret that is no pair is told of, and the listener goes on with what it has.
    world.gateway.replace("a.yaml", &secret("a.test", &(new.0.clone(), b.1.clone()))).unwrap();
    let told = || {
        let output = world.gateway.cli(&["check", &world.gateway.folder().display().to_string()]).unwrap();
        String::from_utf8_lossy(&output.stdout).contains("does not belong to the certificate")
            || String::from_utf8_lossy(&output.stderr).contains("does not belong to the certificate")
    };
    eventually("the mismatch is told", told);
    assert!(get(&b_file, "https://b.test:8443/128", &[]).is_ok(), "the other listener is untouched");
}

#[test]
fn requests_beside_https_do_not_fail_while_certificates_change() {
    let pairs: Vec<_> = (0..2).map(|_| pair("a.test")).collect();
    let world = World::with(1, &manifest(&["a.test"]));
    world.gateway.write("a.yaml", &secret("a.test", &pairs[0])).unwrap();
    let request = "GET /128 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let load = Load::start(world.lab.client(), world.gateway.address(), 4, request, |answer| {
        answer.body.len() == 128
    });
    for round in 0..20 {
        world.gateway.replace("a.yaml", &secret("a.test", &pairs[round % 2])).unwrap();
        load.wait_for_more(20, Duration::from_secs(30)).unwrap();
    }
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
}

#[test]
fn the_access_log_says_which_tls_and_which_protocol() {
    let pair = pair("a.test");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let settings = [
        ("RAUTA_ACCESS_LOG_PATH", log.to_str().unwrap()),
        ("RAUTA_ACCESS_LOG_FORMAT", "$protocol $tls_version $sni $host $status"),
    ];
    let world = World::tuned(1, &manifest(&["a.test"]), &settings);
    world.gateway.write("a.yaml", &secret("a.test", &pair)).unwrap();
    let chain = world.lab.folder().join("a.pem");
    std::fs::write(&chain, &pair.0).unwrap();
    let address = world.gateway.address().ip().to_string();
    let get =
        |more: &[&str]| curl(&world.lab, &chain, &address, &[more, &["https://a.test:8443/128"]].concat());
    let read = || std::fs::read_to_string(&log).unwrap();
    eventually("the certificate", || get(&["--http2"]).is_ok());
    // Each thread writes what it has when it has time to.
    eventually("the first line", || read().lines().count() == 1);
    get(&["--http1.1", "--tls-max", "1.2"]).unwrap();
    eventually("both lines", || read().lines().count() == 2);
    assert_eq!(read(), "HTTP/2 TLSv1.3 a.test a.test 200\nHTTP/1.1 TLSv1.2 a.test a.test 200\n");
}
