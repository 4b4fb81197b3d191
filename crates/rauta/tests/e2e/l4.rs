//! TCP, TLS and UDP routes through the binary: curl and openssl in front, nginx, openssl and an echo behind.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Addresses, BACKEND_PORT, Lab, exec};

use crate::manifests::GATEWAY;
use crate::secure::{eventually, pair, secret};
use crate::world::World;

const TLS_PORT: u16 = 9443;
const UDP_PORT: u16 = 9053;

/// A Service `name` whose port 1 leads to `port` of endpoint 0.
fn service(name: &str, port: u16, protocol: &str, annotations: &str) -> String {
    let endpoint = Addresses::backend(0);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
         spec: {{ports: [{{port: 1, protocol: {protocol}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
         ports: [{{port: {port}, protocol: {protocol}}}]\nendpoints: [{{addresses: [\"{endpoint}\"]}}]\n"
    )
}

fn route(kind: &str, name: &str, section: &str, more: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
         spec: {{parentRefs: [{{name: gw, sectionName: {section}}}], {more}rules: [{{backendRefs: [{{name: {name}, port: 1}}]}}]}}\n"
    )
}

fn manifest() -> String {
    let listeners = "\
, {name: tcp, protocol: TCP, port: 7000}
  - {name: udp, protocol: UDP, port: 7000}
  - {name: pass, protocol: TLS, port: 7443, hostname: pass.test, tls: {mode: Passthrough}}
  - {name: end, protocol: TLS, port: 7443, hostname: end.test, tls: {certificateRefs: [{name: end.test}]}}
";
    let gateway = GATEWAY
        .replace(
            "listeners: [{name: http, protocol: HTTP, port: 8080}]",
            "listeners:\n  - {name: http, protocol: HTTP, port: 8080}",
        )
        .trim_end()
        .to_owned();
    let listeners = listeners.replace(", {name: tcp", "\n  - {name: tcp");
    [
        gateway + &listeners,
        service("plain", BACKEND_PORT, "TCP", ""),
        service("inner", TLS_PORT, "TCP", ""),
        service("echo", UDP_PORT, "UDP", ""),
        route("TCPRoute", "plain", "tcp", ""),
        route("TLSRoute", "inner", "pass", "hostnames: [pass.test], "),
        route("TLSRoute", "plain", "end", "hostnames: [end.test], "),
        route("UDPRoute", "echo", "udp", ""),
    ]
    .join("---\n")
}

fn output(lab: &Lab, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = exec(Some(lab.client()), command, Duration::from_secs(20)).unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn connections_and_datagrams_reach_programs_of_others() {
    let (inner, ended) = (pair("pass.test"), pair("end.test"));
    let world = World::with(1, &manifest());
    world.gateway.write("end.yaml", &secret("end.test", &ended)).unwrap();
    let lab = &world.lab;
    let file = |name: &str, text: &str| {
        let path = lab.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (inner_pem, inner_key) = (file("inner.pem", &inner.0), file("inner.key", &inner.1));
    let ended_pem = file("ended.pem", &ended.0);
    let mut endpoint = Command::new("openssl");
    endpoint.args(["s_server", "-quiet", "-www", "-accept", &TLS_PORT.to_string()]);
    endpoint.args(["-cert", &inner_pem, "-key", &inner_key]);
    let _endpoint = lab.spawn(lab.backend(0), "openssl", endpoint).unwrap();
    let echo = lab.backend(0).run(|| UdpSocket::bind(("0.0.0.0", UDP_PORT)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((read, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..read], from);
        }
    });
    let address = world.gateway.address().ip().to_string();
    let curl = |chain: &str, url: &str| {
        let to = format!("::{address}:");
        output(
            lab,
            "curl",
            &["--silent", "--show-error", "--max-time", "5", "--cacert", chain, "--connect-to", &to, url],
        )
    };

    // HTTP is bytes like any other: nginx answers itself, with its own idea of the host.
    eventually("TCP passes", || curl(&inner_pem, "http://any.test:7000/128").len() == 128);
    // openssl's own certificate and page: TLS ended there.
    eventually("TLS passes through", || curl(&inner_pem, "https://pass.test:7443/").contains("s_server"));
    // The gateway's certificate, nginx's answer.
    eventually("TLS ends here", || curl(&ended_pem, "https://end.test:7443/128").len() == 128);
    let connect = format!("{address}:7443");
    let refused = output(lab, "openssl", &["s_client", "-connect", &connect, "-servername", "none.test"]);
    let is_closed =
        refused.contains("no peer certificate available") && !refused.contains("unrecognized name");
    assert!(is_closed, "{refused}");
    let shown = output(lab, "openssl", &["s_client", "-connect", &connect, "-servername", "pass.test"]);
    assert!(shown.contains("Verification") && shown.contains("TLSv1.3"), "{shown}");

    let client = lab.client().run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    client.connect((world.gateway.address().ip(), 7000)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for said in ["one", "two"] {
        client.send(said.as_bytes()).unwrap();
        let mut heard = [0; 100];
        let read = client.recv(&mut heard).unwrap();
        assert_eq!(&heard[..read], said.as_bytes());
    }

    let metric = |protocol: &str| {
        let labels = format!("gateway=\"default/gw\",protocol=\"{protocol}\"");
        world.gateway.metric("rauta_l4_connections_total", &labels).unwrap()
    };
    assert!(metric("tcp") >= 1.0 && metric("tls") >= 3.0 && (metric("udp") - 1.0).abs() < 0.1);
    let said = |arguments: &[&str]| {
        let output = world.gateway.cli(arguments).unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let listed = said(&["routes"]);
    for object in ["TCPRoute default/plain", "TLSRoute default/inner", "UDPRoute default/echo"] {
        assert!(listed.contains(object), "{listed}");
    }
    for (url, expected) in [
        ("tcp://:7000", "TCPRoute default/plain"),
        ("udp://:7000", "UDPRoute default/echo"),
        ("tls://pass.test:7443", "passes TLS on as it is"),
        ("tls://end.test:7443", "ends TLS here"),
        ("tls://none.test:7443", "closed: nothing here has this name"),
        ("tcp://:7001", "nothing listens on TCP port 7001"),
    ] {
        let text = said(&["explain", "request", url]);
        assert!(text.contains(expected), "{url}: {text}");
    }
}
