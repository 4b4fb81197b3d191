//! HTTPS of Ingresses with a client of others (curl), in front of nginx.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Connection, Lab, until};

use crate::ingress_nginx::{CLASS, ingress};
use crate::manifests::{documents, service};
use crate::secure::{eventually, pair, secret};
use crate::world::World;

const SETTINGS: [(&str, &str); 2] = [("RAUTA_TRUSTED_PROXIES", "10.77.0.3"), ("RAUTA_LISTEN_HTTPS", ":8443")];

/// An Ingress for `NAME.test` with this `spec.tls`.
fn secured(name: &str, tls: &str, annotations: &[(&str, &str)]) -> String {
    ingress(name, "/", annotations).replace("  rules:", &format!("  tls: [{tls}]\n  rules:"))
}

fn entry(host: &str, secret: &str) -> String {
    format!("{{hosts: [{host:?}], secretName: {secret}}}")
}

/// curl as the lab's client, with the gateway's address for all names.
fn curl(world: &World, trusted: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(trusted);
    command.args(["--connect-to", &format!("::{}:", world.gateway.address().ip())]).args(arguments);
    world.lab.client().place(&mut command);
    command
}

/// What a client gets of this URL; an error: what curl says of it.
fn get(world: &World, trusted: &Path, url: &str) -> Result<String, String> {
    let form = "%{http_version} %{response_code} %{redirect_url}";
    let output = curl(world, trusted, &["--output", "/dev/null", "--write-out", form, url]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn file(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.folder().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn each_host_has_its_certificate_and_what_is_wrong_with_one_is_no_matter_to_others() {
    let names = ["a.test", "*.apps.test", "exact.apps.test", "own.test", "b.test"];
    let pairs = names.map(pair);
    let world = World::tuned(
        1,
        &documents(&[
            CLASS,
            &service("s0", &[0]),
            &secured("a", &entry("a.test", "a"), &[]),
            &secured("wild", &entry("*.apps.test", "wild"), &[("server-alias", "any.apps.test")]),
            &secured("exact", &entry("exact.apps.test", "exact"), &[("server-alias", "exact.apps.test")]),
            // The names of the certificate.
            &secured("own", "{secretName: own}", &[("ssl-redirect", "false")]),
            &secured("gone", &entry("gone.test", "gone"), &[]),
            &secured("mixed", &format!("{}, {}", entry("mixed.test", "gone"), entry("b.test", "b")), &[]),
            &secret("a", &pairs[0]),
            &secret("wild", &pairs[1]),
            &secret("exact", &pairs[2]),
            &secret("own", &pairs[3]),
            &secret("b", &pairs[4]),
        ]),
        &SETTINGS,
    );
    let files: Vec<_> = pairs
        .iter()
        .enumerate()
        .map(|(i, (chain, _))| file(&world.lab, &format!("{i}.pem"), chain))
        .collect();
    eventually("HTTPS", || get(&world, &files[0], "https://a.test:8443/128").is_ok());
    for (certificate, url) in [
        (0, "https://a.test:8443/128"),
        (1, "https://any.apps.test:8443/128"),
        (2, "https://exact.apps.test:8443/128"),
        (3, "https://own.test:8443/128"),
    ] {
        assert_eq!(get(&world, &files[certificate], url).as_deref(), Ok("2 200"), "{url}");
        for (i, other) in files.iter().enumerate().filter(|(i, _)| *i != certificate) {
            let refused = get(&world, other, url).unwrap_err();
            assert!(refused.contains("certificate"), "{url} with certificate {i}: {refused}");
        }
    }
    // HTTP is sent there, unless the Ingress says otherwise or nothing is there.
    for (url, expected) in [
        ("http://a.test:8080/x?y=1", "1.1 308 https://a.test:8443/x?y=1"),
        ("http://exact.apps.test:8080/128", "1.1 308 https://exact.apps.test:8443/128"),
        ("http://own.test:8080/128", "1.1 200"),
        ("http://gone.test:8080/128", "1.1 200"),
        ("http://mixed.test:8080/128", "1.1 200"),
    ] {
        assert_eq!(get(&world, &files[0], url).as_deref(), Ok(expected), "{url}");
    }
    // Neither with a wrong name nor with none.
    for url in ["https://gone.test:8443/", "https://nobody.test:8443/", "https://a.b.apps.test:8443/"] {
        let refused = get(&world, &files[1], url).unwrap_err();
        assert!(refused.contains("unrecognized name"), "{url}: {refused}");
    }
    // A balancer that ended TLS is believed, and goes round in no circle; others are not.
    let asked = |netns: &testkit::Netns, scheme: &str| {
        let text = format!("GET /128 HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: {scheme}\r\n\r\n");
        Connection::open(netns, world.gateway.address()).unwrap().request(&text).unwrap().status
    };
    let (client, balancer) = (world.lab.client(), world.lab.client_two());
    assert_eq!((asked(balancer, "https"), asked(balancer, "http"), asked(client, "https")), (200, 308, 308));
    // What is missing is told, where it is and what to do, and may come later.
    let told = world.gateway.cli(&["check", &world.gateway.folder().display().to_string()]).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(
        told.contains("there is no Secret default/gone") && told.contains("spec.tls[0].secretName"),
        "{told}"
    );
    let gone = pair("gone.test");
    let gone_file = file(&world.lab, "gone.pem", &gone.0);
    world.gateway.write("gone.yaml", &secret("gone", &gone)).unwrap();
    eventually("the Secret that was missing", || {
        get(&world, &gone_file, "https://gone.test:8443/128").is_ok()
    });
    assert_eq!(
        get(&world, &gone_file, "http://gone.test:8080/").as_deref(),
        Ok("1.1 308 https://gone.test:8443/")
    );
}

#[test]
fn a_rotated_secret_is_shown_to_the_next_client_and_no_connection_is_lost() {
    let pairs = [pair("a.test"), pair("a.test")];
    let world = World::tuned(
        1,
        &documents(&[CLASS, &service("s0", &[0]), &secured("a", &entry("a.test", "a"), &[])]),
        &SETTINGS,
    );
    world.gateway.write("secret.yaml", &secret("a", &pairs[0])).unwrap();
    let files: Vec<_> = pairs
        .iter()
        .enumerate()
        .map(|(i, (chain, _))| file(&world.lab, &format!("{i}.pem"), chain))
        .collect();
    let both = file(&world.lab, "both.pem", &format!("{}{}", pairs[0].0, pairs[1].0));
    eventually("HTTPS", || get(&world, &files[0], "https://a.test:8443/128").is_ok());
    // One that takes its time, over a connection of the first certificate.
    let slow = world.lab.folder().join("slow.out");
    let mut command = curl(&world, &files[0], &["--limit-rate", "300k", "--output"]);
    let mut slow_client =
        command.arg(&slow).arg("https://a.test:8443/1m").stderr(Stdio::null()).spawn().unwrap();
    let has_begun = || std::fs::metadata(&slow).is_ok_and(|file| file.len() > 0).then_some(());
    until(Duration::from_secs(20), "the first bytes", has_begun).unwrap();
    for round in 1..=4 {
        let (new, old) = (round % 2, (round + 1) % 2);
        world.gateway.replace("secret.yaml", &secret("a", &pairs[new])).unwrap();
        eventually("the new certificate", || {
            // Whatever is shown meanwhile, no handshake fails.
            assert_eq!(get(&world, &both, "https://a.test:8443/128").as_deref(), Ok("2 200"));
            get(&world, &files[new], "https://a.test:8443/128").is_ok()
        });
        assert!(get(&world, &files[old], "https://a.test:8443/128").is_err(), "round {round}");
    }
    assert!(slow_client.wait().unwrap().success());
    assert_eq!(std::fs::metadata(&slow).unwrap().len(), 1_000_000);
    // A Secret that is no pair takes its name away and nothing else.
    let broken = (pairs[0].0.clone(), pairs[1].1.clone());
    world.gateway.replace("secret.yaml", &secret("a", &broken)).unwrap();
    let is_refused =
        || get(&world, &both, "https://a.test:8443/").is_err_and(|error| error.contains("unrecognized"));
    eventually("the refusal", is_refused);
    assert_eq!(get(&world, &both, "http://a.test:8080/128").as_deref(), Ok("1.1 200"));
}

#[test]
fn a_default_certificate_is_for_names_of_nobody() {
    let (own, default) = (pair("a.test"), pair("default.test"));
    let (root, joined) = (pair("root.test"), pair("*.joined.test"));
    let settings = [
        ("RAUTA_DEFAULT_CERTIFICATE", "default/fallback"),
        ("RAUTA_LISTEN_HTTPS", ":8443"),
        ("RAUTA_HTTPS_PORT", "443"),
    ];
    let world = World::tuned(
        1,
        &documents(&[
            CLASS,
            &service("s0", &[0]),
            &secured("a", &entry("a.test", "a"), &[]),
            &secured("default", "{hosts: [default.test]}", &[]),
            &ingress("plain", "/", &[]),
            &secured("root", &entry("root.test", "root"), &[("app-root", "/app")]),
            &secured("joined", &entry("joined.test", "joined"), &[("from-to-www-redirect", "true")]),
            &secret("root", &root),
            &secret("joined", &joined),
            &secret("a", &own),
            &secret("fallback", &default),
        ]),
        &settings,
    );
    let (own, default) = (file(&world.lab, "a.pem", &own.0), file(&world.lab, "default.pem", &default.0));
    let (root, joined) = (file(&world.lab, "root.pem", &root.0), file(&world.lab, "joined.pem", &joined.0));
    eventually("HTTPS", || get(&world, &own, "https://a.test:8443/128").is_ok());
    assert_eq!(get(&world, &default, "https://default.test:8443/128").as_deref(), Ok("2 200"));
    // Clients that know no better name it: they do not take it, or do not care.
    let refused = get(&world, &default, "https://plain.test:8443/128").unwrap_err();
    assert!(refused.contains("plain.test"), "{refused}");
    let output =
        curl(&world, &own, &["--insecure", "--output", "/dev/null", "--write-out", "%{response_code}"])
            .arg("https://plain.test:8443/128")
            .output()
            .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200");
    // Clients come to another port than the gateway's own.
    for host in ["a.test", "default.test"] {
        let redirect = get(&world, &own, &format!("http://{host}:8080/x"));
        assert_eq!(redirect, Ok(format!("1.1 308 https://{host}/x")));
    }
    assert_eq!(get(&world, &own, "http://plain.test:8080/128").as_deref(), Ok("1.1 200"));
    // Redirects that keep the port keep the one that clients know.
    for (trusted, url, expected) in [
        (&root, "https://root.test:8443/", "2 302 https://root.test/app"),
        (&joined, "https://www.joined.test:8443/x", "2 308 https://joined.test/x"),
    ] {
        eventually("its certificate", || get(&world, trusted, url).is_ok());
        assert_eq!(get(&world, trusted, url).as_deref(), Ok(expected));
    }
    let told = world.gateway.cli(&["explain", "request", "https://root.test:8443/"]).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("redirect to https://root.test/app"), "{told}");
}
