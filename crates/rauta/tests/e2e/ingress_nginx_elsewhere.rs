//! Annotations of ingress-nginx that bring other Services in (copies, and who answers where endpoints do not), and what is told of requests.

use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::{Addresses, Connection, Gateway, Lab, Recorder, until};

use crate::ingress_nginx::{CLASS, ingress};
use crate::manifests::{documents, service};
use crate::world::RAUTA;

const PATIENCE: Duration = Duration::from_secs(10);

/// An endpoint that answers each request with the status that its path begins with, else 200, and with its name.
fn endpoint(lab: &Lab, index: u8, name: &'static str) -> Recorder {
    Recorder::start(lab.backend(usize::from(index)), Addresses::backend_socket(index), move |peer| {
        loop {
            let request = String::from_utf8_lossy(&peer.request()?).into_owned();
            let status = request.split(['/', ' ']).nth(2).and_then(|word| word.parse::<u16>().ok());
            let (status, length) = (status.unwrap_or(200), name.len());
            peer.send(format!("HTTP/1.1 {status} Any\r\nContent-Length: {length}\r\n\r\n{name}"))?;
        }
    })
    .unwrap()
}

#[test]
fn other_services_get_copies_and_answer_for_endpoints() {
    let lab = Lab::builder().backends(3).build().unwrap();
    let _endpoint = endpoint(&lab, 0, "inner");
    let (copies, pages) = (endpoint(&lab, 1, "copy"), endpoint(&lab, 2, "page"));
    let copy = ("mirror-target", "http://copies.default.svc.cluster.local$request_uri");
    let page = ("default-backend", "pages");
    let to = |service: &str, ingress: String| ingress.replace("name: s0", &format!("name: {service}"));
    let manifest = documents(&[
        CLASS,
        &service("s0", &[0]),
        &service("copies", &[1]),
        &service("pages", &[2]),
        &service("none", &[]),
        &ingress("mirrored", "/", &[copy]),
        &ingress("bodiless", "/", &[copy, ("mirror-request-body", "off"), ("mirror-host", "c.test")]),
        &ingress("outside", "/", &[("mirror-target", "https://elsewhere.example.com/")]),
        &ingress("errors", "/", &[page, ("custom-http-errors", "404,503")]),
        &to("none", ingress("empty", "/", &[page])),
        &to("nowhere", ingress("gone", "/", &[page])),
        &to("none", ingress("plain", "/", &[])),
        &ingress("alone", "/", &[("custom-http-errors", "404")]),
    ]);
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().start(&lab).unwrap();
    let ask = |host: &str, head: &str| {
        let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
        let answer = connection.request(&head.replace("HOST", &format!("Host: {host}.test"))).unwrap();
        (answer.status, answer.text())
    };
    let get = |host: &str, path: &str| ask(host, &format!("GET {path} HTTP/1.1\r\nHOST\r\n\r\n"));
    let post = "POST /x?y HTTP/1.1\r\nHOST\r\nContent-Length: 3\r\n\r\nabc";
    for host in ["mirrored", "bodiless", "outside"] {
        assert_eq!(ask(host, post), (200, "inner".to_owned()), "{host}");
    }
    copies.wait_for_text("Host: copies.default.svc.cluster.local\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    copies.wait_for_text("Host: c.test\r\nContent-Length: 0\r\n\r\n").unwrap();
    let copied = copies.received_text();
    assert_eq!(copied.matches("POST /x?y HTTP/1.1\r\n").count(), 2, "{copied}");
    assert_eq!(get("empty", "/404/a?b"), (404, "page".to_owned()));
    let served = pages.received_text();
    assert!(
        served.starts_with("GET /404/a?b HTTP/1.1\r\n") && served.contains("X-Code: 503\r\n"),
        "{served}"
    );
    assert_eq!(get("gone", "/"), (200, "page".to_owned()));
    assert_eq!(get("plain", "/").0, 503);
    assert_eq!(get("errors", "/404/a?b"), (200, "page".to_owned()), "the status is the default backend's");
    let asked = pages.received_text();
    for line in [
        "GET /?b HTTP/1.1\r\n",
        "X-Code: 404\r\n",
        "X-Original-URI: /404/a?b\r\n",
        "X-Namespace: default\r\n",
        "X-Ingress-Name: errors\r\n",
        "X-Service-Name: s0\r\n",
        "X-Service-Port: 80\r\n",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert_eq!(get("errors", "/500"), (500, "inner".to_owned()));
    assert_eq!(get("alone", "/404"), (404, "inner".to_owned()));
    let checked = gateway.cli(&["check", &gateway.folder().display().to_string()]).unwrap();
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    for wanted in ["is no Service", "so nothing is mirrored", "is without default-backend"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

/// With a default backend alone the kernel serves the path, until it has no endpoint; where answers are looked at, userspace does.
#[test]
fn a_default_backend_takes_over_from_the_kernel() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let (_endpoint, pages) = (endpoint(&lab, 0, "inner"), endpoint(&lab, 1, "page"));
    lab.bpffs().unwrap();
    let page = ("default-backend", "pages");
    let with = |endpoints: &[u8]| {
        documents(&[
            CLASS,
            &service("s0", endpoints),
            &service("pages", &[1]),
            &ingress("kernel", "/", &[page]),
            &ingress("errors", "/", &[page, ("custom-http-errors", "404")]),
        ])
    };
    let files = [("all.yaml", &*with(&[0]))];
    let gateway = Gateway::builder(&lab, RAUTA, &files).unwrap().hook("tc").start(&lab).unwrap();
    let is_routed = || gateway.admin("/").is_ok_and(|page| page.text().contains("TC routes 1 of 2"));
    until(PATIENCE, "the kernel to route", || is_routed().then_some(())).unwrap();
    let explain = |host: &str| {
        let output = gateway.cli(&["explain", "request", "GET", &format!("http://{host}.test/")]).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (kernel, errors) = (explain("kernel"), explain("errors"));
    assert!(kernel.contains("where no endpoint can serve, default/pages:80 does"), "{kernel}");
    assert!(errors.contains("a default backend answers its errors"), "{errors}");
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    let handed = || gateway.metric("rauta_listener_connections_total", "8080").unwrap();
    let before = handed();
    assert_eq!(connection.get("kernel.test", "/404").unwrap().text(), "inner");
    assert!(handed() - before < 0.5, "the kernel has it");
    gateway.replace("all.yaml", &with(&[])).unwrap();
    until(PATIENCE, "the default backend to answer", || {
        let mut connection = Connection::open(lab.client(), gateway.address()).ok()?;
        (connection.get("kernel.test", "/404").ok()?.text() == "page").then_some(())
    })
    .unwrap();
    assert!(pages.received_text().contains("X-Code: 503\r\n"));
}

#[test]
fn an_ingress_may_stay_out_of_the_access_log_and_redirect_by_path() {
    let lab = Lab::builder().build().unwrap();
    let log = lab.folder().join("access.log");
    let (root, path) = (("app-root", "/app"), ("permanent-redirect", "/new-location"));
    let relative = ("relative-redirects", "true");
    let manifest = documents(&[
        CLASS,
        &service("s0", &[0]),
        &ingress("quiet", "/", &[root, ("enable-access-log", "false")]),
        &ingress("rooted", "/", &[root, relative]),
        &ingress("absolute", "/", &[path]),
        &ingress("relative", "/", &[path, relative]),
    ]);
    let mut gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)])
        .unwrap()
        .env("RAUTA_ACCESS_LOG_PATH", log.to_str().unwrap())
        .env("RAUTA_ACCESS_LOG_FORMAT", "$host $path $status")
        .start(&lab)
        .unwrap();
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    for (host, status, location) in [
        ("quiet", 302, "http://quiet.test:8080/app"),
        ("rooted", 302, "http://rooted.test:8080/app"),
        ("absolute", 301, "http://absolute.test:8080/new-location"),
        ("relative", 301, "/new-location"),
    ] {
        let answer = connection.get(&format!("{host}.test"), "/").unwrap();
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{host}");
    }
    drop(connection);
    // All that was to be written is there when the agent has stopped.
    gateway.process().signal(Signal::SIGTERM).unwrap();
    gateway.process().wait(PATIENCE).unwrap();
    let expected = "rooted.test / 302\nabsolute.test / 301\nrelative.test / 301\n";
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
}
