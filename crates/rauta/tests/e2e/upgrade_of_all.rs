//! `rauta run --upgrade` under everything at once: TLS, HTTP/2, gRPC, WebSocket and TCP routes.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::{
    Addresses, Connection, Ended, Gateway, Http2, Lab, Load, Nginx, Process, Response, exec, frame,
};

use crate::conformance::{program, secured_gateway};
use crate::grpc::{GRPC, grpc_route, server};
use crate::manifests::{documents, route, service};
use crate::secure::{eventually, pair, secret};
use crate::upgrade::{ENDS, pid, successor};
use crate::websocket::script;
use crate::world::RAUTA;

const TCP_PORT: u16 = 7000;
/// What is open must not be cut before the test has looked at it.
const DRAIN: (&str, &str) = ("RAUTA_TIMEOUTS_DRAIN", "5m");
/// Requests of one run of curl.
const BATCH: usize = 40;

/// nginx, a WebSocket endpoint and gRPC's own server behind one gateway.
struct Everything {
    gateway: Gateway,
    authority: String,
    _endpoints: (Nginx, Process, Process),
    lab: Lab,
}

impl Everything {
    fn start() -> Self {
        let certificate = pair(&Addresses::GATEWAY.to_string());
        let gateway = secured_gateway().trim_end().strip_suffix(']').unwrap().to_owned()
            + &format!(", {{name: tcp, protocol: TCP, port: {TCP_PORT}}}]\n");
        let passed_on = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: tcp, namespace: default}\n\
             spec:\n  parentRefs: [{name: gw, sectionName: tcp}]\n  rules: [{backendRefs: [{name: web, port: 80}]}]\n";
        let chat = "[{path: {type: PathPrefix, value: /chat}}]";
        let http = route("all", &[], &[("", "[{name: web, port: 80}]"), (chat, "[{name: chat, port: 80}]")]);
        let manifest = documents(&[
            &gateway,
            &secret("any", &certificate),
            &service("web", &[0]),
            &service("chat", &[1]),
            &service("grpc", &[2]),
            &http,
            &grpc_route("grpc", "", "{service: grpc.testing.TestService}", "grpc"),
            passed_on,
        ]);
        let lab = Lab::builder().backends(3).build().unwrap();
        let nginx = Nginx::start(&lab, 0).unwrap();
        let (host, port) = (Addresses::backend(1).to_string(), testkit::BACKEND_PORT.to_string());
        let chat = lab.spawn(lab.backend(1), "websocket", script(&["serve", &host, &port])).unwrap();
        eventually("the endpoint is ready", || chat.log().contains("ready"));
        let grpc = server(&lab, 2, &[]);
        let authority = lab.folder().join("ca.pem");
        std::fs::write(&authority, &certificate.0).unwrap();
        let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap();
        let gateway = gateway.env(DRAIN.0, DRAIN.1).start(&lab).unwrap();
        let authority = authority.to_str().unwrap().to_owned();
        Self { gateway, authority, _endpoints: (nginx, chat, grpc), lab }
    }

    /// Runs curl for requests over TLS until `stops`: how many there were, and what went wrong.
    fn curl(&self, stops: &AtomicBool, more: &[&str]) -> (usize, String) {
        let (mut asked, mut wrong) = (0, String::new());
        while !stops.load(Ordering::SeqCst) {
            let mut command = Command::new("curl");
            command.args([
                "--silent",
                "--show-error",
                "--parallel",
                "--parallel-max",
                "4",
                "--output",
                "/dev/null",
            ]);
            command.args([
                "--max-time",
                "60",
                "--cacert",
                &self.authority,
                "--write-out",
                "%{response_code}\n",
            ]);
            command.args(more).arg(format!("https://{}:8443/128?[1-{BATCH}]", Addresses::GATEWAY));
            let output = exec(Some(self.lab.client()), command, Duration::from_secs(90)).unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            if said.lines().filter(|line| *line == "200").count() != BATCH {
                wrong += &format!("{said}{}", String::from_utf8_lossy(&output.stderr));
            }
            asked += BATCH;
        }
        (asked, wrong)
    }

    /// The same with a unary call of gRPC's own client.
    fn calls(&self, stops: &AtomicBool) -> (usize, String) {
        let (mut asked, mut wrong) = (0, String::new());
        while !stops.load(Ordering::SeqCst) {
            let mut command = Command::new(program(&format!("{GRPC}/client")));
            command.arg(format!("--server_host={}", Addresses::GATEWAY));
            command.args(["--server_port=8443", "--use_tls", "--use_test_ca", "--test_case=large_unary"]);
            command.arg(format!("--ca_file={}", self.authority));
            let output = exec(Some(self.lab.client()), command, Duration::from_secs(90)).unwrap();
            if !output.status.success() {
                wrong += &String::from_utf8_lossy(&output.stderr);
            }
            asked += 1;
        }
        (asked, wrong)
    }

    /// A client that talks over a WebSocket until the file `told` is there.
    fn talks(&self, name: &str, uri: &str, told: &str, more: &[&str]) -> Process {
        let arguments = [&["stay", uri, told], more].concat();
        let client = self.lab.spawn(self.lab.client(), name, script(&arguments)).unwrap();
        eventually("messages come back", || client.log().contains("echoed 3\n"));
        client
    }
}

/// A bidirectional stream of gRPC, by hand: `grpc.testing.TestService/FullDuplexCall`.
struct Duplex(Http2);

impl Duplex {
    fn open(world: &Everything) -> Self {
        let mut client = Http2::open(world.lab.client(), world.gateway.address(), &[]).unwrap();
        let head: [(&[u8], &[u8]); 6] = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", b"/grpc.testing.TestService/FullDuplexCall"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ];
        client.request(1, &head, false).unwrap();
        Self(client)
    }

    /// Asks for a message of 10 bytes (`response_parameters: {size: 10}`), and waits for it.
    fn exchange(&mut self) {
        self.0.send(frame::DATA, 0, 1, b"\0\0\0\0\x04\x12\x02\x08\x0a").unwrap();
        loop {
            let next = self.0.frame().unwrap();
            assert!(next.kind != frame::RST_STREAM, "{next:?}");
            if next.kind == frame::DATA && !next.payload.is_empty() {
                return;
            }
        }
    }

    fn end(mut self) {
        self.0.send(frame::DATA, frame::END_STREAM, 1, b"").unwrap();
        let ended = self.0.ended(1).unwrap();
        assert!(matches!(ended, Ended::Answered { .. }), "{ended:?}");
    }
}

#[test]
fn nothing_fails_and_streams_go_on_while_agents_take_over() {
    let mut world = Everything::start();
    let is_well = |answer: &Response| answer.body.len() == 128;
    let load = |port, request: &str| {
        Load::start(world.lab.client(), (Addresses::GATEWAY, port).into(), 2, request, is_well)
    };
    let loads = [
        load(8080, "GET /128 HTTP/1.1\r\nHost: a\r\n\r\n"),
        load(8080, "GET /128 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        // The gateway cannot ask clients of a TCP route to come again: these do so for each request.
        load(TCP_PORT, "GET /128 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ];
    for (round, threads) in ["1", "2"].into_iter().enumerate() {
        let told = world.lab.folder().join(format!("told-{round}")).display().to_string();
        let plain = format!("ws://{}:8080/chat", Addresses::GATEWAY);
        let secured = format!("wss://{}:8443/chat", Addresses::GATEWAY);
        let talkers = [
            world.talks(&format!("plain-{round}"), &plain, &told, &[]),
            world.talks(&format!("secured-{round}"), &secured, &told, &[&world.authority]),
        ];
        let mut duplex = Duplex::open(&world);
        duplex.exchange();
        let mut passed_on =
            Connection::open(world.lab.client(), (Addresses::GATEWAY, TCP_PORT).into()).unwrap();
        assert!(is_well(&passed_on.get("a", "/128").unwrap()));

        let stops = AtomicBool::new(false);
        let close = ["--http1.1", "--header", "Connection: close"];
        let (next, asked) = std::thread::scope(|scope| {
            let asking = [
                scope.spawn(|| world.curl(&stops, &close)),
                scope.spawn(|| world.curl(&stops, &["--http1.1"])),
                scope.spawn(|| world.curl(&stops, &["--http2"])),
                scope.spawn(|| world.calls(&stops)),
            ];
            loads.iter().for_each(|load| load.wait_for_more(50, ENDS).unwrap());
            let next = successor(&world.lab, &["--threads", threads]).env(DRAIN.0, DRAIN.1);
            let next = next.start(&world.lab).unwrap();
            loads.iter().for_each(|load| load.wait_for_more(100, ENDS).unwrap());
            stops.store(true, Ordering::SeqCst);
            (next, asking.map(|thread| thread.join().unwrap()))
        });
        let mut old = std::mem::replace(&mut world.gateway, next);
        for (count, wrong) in asked {
            assert!(count > 0 && wrong.is_empty(), "of {count}: {wrong}\n{}", old.log());
        }

        // What was open is the old agent's, and goes on there.
        duplex.exchange();
        assert!(is_well(&passed_on.get("a", "/128").unwrap()));
        for talker in &talkers {
            let echoes = || talker.log().lines().filter(|line| line.starts_with("echoed")).count();
            let before = echoes();
            eventually("messages come back still", || echoes() >= before + 3);
        }
        duplex.end();
        drop(passed_on);
        std::fs::write(&told, "").unwrap();
        for talker in &talkers {
            eventually("it has closed", || talker.log().contains("closed 1000 told to"));
        }
        assert_eq!(old.process().wait(ENDS).unwrap().code(), Some(0), "{}", old.log());
        world.gateway.wait_ready().unwrap();
        assert_eq!(pid(&world.lab), world.gateway.process().pid().to_string());
    }
    for load in loads {
        let report = load.stop();
        assert_eq!(report.failed(), 0, "{report:?}\n{}", world.gateway.log());
    }
}
