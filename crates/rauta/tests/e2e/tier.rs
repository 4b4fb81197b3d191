//! What the agent tells of its kernel tier, as root: after real requests, each command shows what happened.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use testkit::{Addresses, Connection, Gateway, Lab, Nginx, Process, Signal, exec, until};

use crate::manifests::{GATEWAY, documents, route, service};
use crate::world::{RAUTA, World};

const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway whose kernel tier serves `/`, and userspace `/user`.
struct Tier {
    gateway: Gateway,
    _nginx: Nginx,
    pins: PathBuf,
    manifest: String,
    lab: Lab,
}

fn start(lab: &Lab, manifest: &str, settings: &[(&str, &str)]) -> Gateway {
    let builder = Gateway::builder(lab, RAUTA, &[("all.yaml", manifest)]).unwrap().hook("tc");
    let builder = builder.env("RAUTA_DATAPLANE_ON_EXIT", "keep");
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start(lab).unwrap()
}

impl Tier {
    fn start() -> Self {
        Self::tuned(&[])
    }

    fn tuned(settings: &[(&str, &str)]) -> Self {
        let lab = Lab::builder().build().unwrap();
        let nginx = Nginx::start(&lab, 0).unwrap();
        let pins = lab.bpffs().unwrap().join("pins");
        let user = "[{path: {type: PathPrefix, value: /user}, \
                    headers: [{type: RegularExpression, name: Host, value: \".+\"}]}]";
        let web = "[{name: web, port: 80}]";
        let routes = route("web", &[], &[("", web), (user, web)]);
        let manifest = documents(&[GATEWAY, &service("web", &[0]), &routes]);
        let gateway = start(&lab, &manifest, settings);
        let tier = Self { gateway, _nginx: nginx, pins, manifest, lab };
        // Endpoints enter the kernel's tables a moment after the agent is ready.
        until(PATIENCE, "a request to be bound in the kernel", || {
            tier.get(&mut tier.connect(), "/128");
            (tier.events("bound") > 0.5).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", tier.gateway.log()));
        tier
    }

    /// Starts `rauta trace`, and waits until programs tell of requests.
    fn trace(&self) -> Process {
        let mut command = Command::new(RAUTA);
        command.args(["trace", "-o", "json", "--socket"]).arg(self.lab.folder().join("rauta.sock"));
        let trace = self.lab.spawn(self.lab.gateway(), "trace", command).unwrap();
        until(PATIENCE, "the programs to be told", || self.is_traced().then_some(())).unwrap();
        trace
    }

    fn connect(&self) -> Connection {
        Connection::open(self.lab.client(), self.gateway.address()).unwrap()
    }

    fn get(&self, connection: &mut Connection, path: &str) {
        assert_eq!(connection.get("a.test", path).unwrap().status, 200, "{path}");
    }

    /// How often the kernel gave a reason.
    fn events(&self, reason: &str) -> f64 {
        self.gateway.metric("rauta_kernel_events_total", &format!("reason=\"{reason}\"")).unwrap_or(0.0)
    }

    /// The standard output of a command that succeeds.
    fn say(&self, arguments: &[&str]) -> String {
        let output = self.gateway.cli(arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.say(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Runs `rauta detach` where the agent runs.
    fn detach(&self) -> Output {
        let mut command = Command::new(RAUTA);
        command.arg("detach").env("RAUTA_DATAPLANE_PIN_ROOT", &self.pins);
        exec(Some(self.lab.gateway()), command, PATIENCE).unwrap()
    }

    /// Whether the programs send events.
    fn is_traced(&self) -> bool {
        let settings =
            std::fs::read_dir(&self.pins).unwrap().next().unwrap().unwrap().path().join("SETTINGS");
        let mut command = Command::new("bpftool");
        command.args(["-j", "map", "lookup", "pinned"]).arg(settings).args(["key", "0", "0", "0", "0"]);
        let output = exec(None, command, PATIENCE).unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        // `Settings::flags` begins behind the cookie's key and two times; TRACE is 4, TRACE_ERRORS is 8.
        let byte = found["value"][32].as_str().unwrap().trim_start_matches("0x");
        u8::from_str_radix(byte, 16).unwrap() & 12 != 0
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        // Told to keep its programs, the agent leaves them with the namespaces, and its pins with the lab's file system.
        let _ = self.gateway.process().kill();
        let _ = self.detach();
    }
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn what_was_served_and_handed_off_is_counted_by_reason() {
    let tier = Tier::start();
    let (bound, reused) = (tier.events("bound"), tier.events("reused"));
    let ok = || tier.gateway.metric("rauta_kernel_responses_total", "class=\"2xx\"").unwrap();
    let timed = || tier.gateway.metric("rauta_kernel_first_byte_seconds_count", "8080").unwrap();
    let (ok_before, timed_before) = (ok(), timed());
    let mut connection = tier.connect();
    for _ in 0..5 {
        tier.get(&mut connection, "/128");
    }
    assert!((tier.events("bound") - bound - 1.0).abs() < 0.1);
    assert!((tier.events("reused") - reused - 4.0).abs() < 0.1);
    assert!((ok() - ok_before - 5.0).abs() < 0.1);
    assert!((timed() - timed_before - 5.0).abs() < 0.1);
    assert!(tier.gateway.metric("rauta_kernel_flows", "").unwrap() >= 1.0);
    assert!(tier.gateway.metric("rauta_kernel_legs", "").unwrap() >= 1.0);
    assert!((tier.gateway.metric("rauta_kernel_flows_max", "").unwrap() - 65_536.0).abs() < 0.1);

    let handed = tier.events("hand_off_route");
    tier.get(&mut tier.connect(), "/user");
    assert!(
        (tier.events("hand_off_route") - handed - 1.0).abs() < 0.1,
        "{}",
        tier.gateway.metrics().unwrap()
    );

    let drops = tier.say(&["drops"]);
    assert_contains(&drops, &["REASON", "reused", "hand_off_route", "hand-off", "the route is userspace's"]);
    let drops = tier.json(&["drops"]);
    let counts: Vec<u64> =
        drops.as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).collect();
    assert!(counts.len() > 4 && counts.is_sorted_by(|a, b| a >= b), "{counts:?}");

    let status = tier.say(&["status"]);
    assert_contains(
        &status,
        &["requests by tier", "kernel ", "flows in the kernel", " of 65536", "kernel time"],
    );
    let status = tier.json(&["status"]);
    let kernel = &status["dataplane"]["tier"];
    assert!(
        kernel["requests"].as_u64().unwrap() >= 6 && kernel["handOffs"].as_u64().unwrap() >= 1,
        "{kernel}"
    );
    assert!(status["traffic"]["requests"].as_u64().unwrap() >= 1, "{status}");
}

#[test]
fn the_tier_of_a_route_is_told_with_its_reason() {
    let tier = Tier::start();
    let request = |path: &str| tier.say(&["explain", "request", &format!("http://a.test:8080{path}")]);
    assert_contains(&request("/x"), &["the kernel (Tier 2) decides it"]);
    assert_contains(&request("/user"), &["userspace (Tier 3) decides it: ", "regular expression"]);
    assert_contains(&tier.say(&["routes"]), &["TIER"]);
    assert_contains(&tier.say(&["routes", "-o", "wide"]), &["regular expression"]);
}

#[test]
fn connections_are_listed_and_explained() {
    let tier = Tier::start();
    let mut connection = tier.connect();
    tier.get(&mut connection, "/128");
    tier.get(&mut connection, "/128");
    let client = format!("{}:{}", Addresses::client(0), connection.local_port().unwrap());
    let vip = tier.gateway.address().to_string();
    let endpoint = Addresses::backend_socket(0).to_string();

    let flows = tier.say(&["flows", "--client", &client]);
    let row = ["spliced", "HTTPRoute default/web rule 0", "room for 65536"];
    assert_contains(&flows, &[&[client.as_str(), vip.as_str(), endpoint.as_str()][..], &row].concat());
    let flow = &tier.json(&["flows", "--client", &client, "--endpoint", &endpoint])["flows"][0];
    assert_eq!((flow["requests"].as_u64(), flow["outstanding"].as_u64()), (Some(2), Some(0)), "{flow}");
    assert!(flow["listener"].as_str().unwrap().contains("default/gw/http"), "{flow}");
    assert_contains(&tier.say(&["flows", "--endpoint", "192.0.2.1"]), &["no such connection"]);

    let explained = tier.say(&["explain", "flow", &client, &vip]);
    assert_contains(
        &explained,
        &[
            "both legs are joined",
            &endpoint,
            "2 requests so far",
            "nothing is outstanding",
            "MSS 1460",
            "SACK",
        ],
    );
    let nobody = tier.say(&["explain", "flow", "192.0.2.1:7", &vip]);
    assert_contains(&nobody, &["no connection from 192.0.2.1:7", "nor has userspace (Tier 3)"]);
    tier.get(&mut connection, "/user");
    let handed = tier.say(&["explain", "flow", &client, &vip]);
    assert_contains(&handed, &["handed off: userspace (Tier 3) has it, established"]);
    let mut at_once = tier.connect();
    tier.get(&mut at_once, "/user");
    let client = format!("{}:{}", Addresses::client(0), at_once.local_port().unwrap());
    let handed = tier.say(&["explain", "flow", &client, &vip]);
    assert_contains(
        &handed,
        &["the kernel tier has no connection", "userspace (Tier 3) has it, established"],
    );

    for (arguments, part) in [
        (&["explain", "flow", "192.0.2.1", &vip][..], "CLIENT `192.0.2.1` is no address and port"),
        (&["explain", "flow", &client, "web"], "VIP `web` is no address and port"),
        (&["flows", "--client", "me"], "--client `me` is no address"),
    ] {
        let output = tier.gateway.cli(arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_contains(&text, &[part]);
    }
}

#[test]
fn a_connection_that_never_was_is_explained_packet_by_packet() {
    let tier = Tier::start();
    let vip = tier.gateway.address().to_string();
    let client = Addresses::client(0).to_string();
    let explained = |more: &[&str]| tier.say(&[&["explain", "flow", &client, &vip], more].concat());
    let endpoint = Addresses::backend_socket(0).to_string();
    assert_contains(
        &explained(&["GET", "/128", "-H", "X-Mine: 1"]),
        &[
            &format!("the kernel tier decides it: HTTPRoute default/web rule 0, endpoint {endpoint}\n"),
            "1. the client's SYN: sent on",
            &format!("in   {client}:50000 > {vip} SYN seq "),
            "why  syn_cookie: ",
            "2. the client's ACK: ends here",
            "3. the request: sent on",
            "why  bound: ",
            &format!("> {endpoint} SYN seq "),
            "4. the endpoint's SYN-ACK: sent on",
            "        GET /128 HTTP/1.1\n",
            &format!("        Host: {vip}\n"),
            "        X-Mine: 1\n",
            &format!("        X-Forwarded-For: {client}\n"),
            "nothing was sent to it",
        ],
    );
    assert_contains(
        &explained(&["http://a.test/user"]),
        &[
            "hands it off to userspace (Tier 3): the route is userspace's",
            "userspace then: forwarded to",
            "the route: HTTPRoute default/web rule 1, which is userspace's since ",
            "regular expression",
            "why  hand_off_route: ",
        ],
    );
    let long = format!("/{}", "a".repeat(2000));
    assert_contains(
        &explained(&[&long]),
        &[
            "of which the first segment has 1388",
            "hand_off_undecidable",
            "3. the request: goes on to the host's",
        ],
    );
    assert_contains(&explained(&["POST", "/128"]), &["hand_off_undecidable"]);
    let elsewhere = vip.replace("8080", "8081");
    assert_contains(
        &tier.say(&["explain", "flow", &client, &elsewhere, "/"]),
        &["the host's stack gets it", "does not route for"],
    );
    let own = Addresses::gateway_socket().ip().to_string();
    assert_contains(&tier.say(&["explain", "flow", &own, &vip, "/"]), &["is an address of this machine"]);

    for (arguments, part) in [
        (&["me", &vip, "/"][..], "CLIENT `me` is no address, with or without a port"),
        (&[&client, "web", "/"], "VIP `web` is no address and port"),
        (&["::1", &vip, "/"], "CLIENT ::1 and VIP"),
        (&[&client, &vip, "ftp://a/"], "`ftp://a/` is no URL"),
        (&[&client, &vip, "https://a/"], "`https://a/` is sent over TLS, which userspace (Tier 3) ends"),
        (&[&client, &vip, "G T", "/"], "`G T` is no method"),
        (&[&client, &vip, "/", "-H", "a b: c"], "`a b` cannot be a header"),
    ] {
        let output = tier.gateway.cli(&[&["explain", "flow"], arguments].concat()).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_contains(&text, &[part]);
    }
}

#[test]
fn requests_are_traced_while_somebody_listens() {
    let tier = Tier::start();
    assert!(!tier.is_traced());
    let mut trace = tier.trace();

    let mut connection = tier.connect();
    tier.get(&mut connection, "/128");
    tier.get(&mut connection, "/128");
    tier.get(&mut tier.connect(), "/user");
    let events = until(PATIENCE, "the events", || {
        let events: Vec<Value> =
            trace.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        events.iter().any(|event| event["reason"] == "hand_off_route").then_some(events)
    })
    .unwrap();
    let client = format!("{}:{}", Addresses::client(0), connection.local_port().unwrap());
    let reasons: Vec<&str> = events
        .iter()
        .filter(|event| event["client"] == client)
        .filter_map(|e| e["reason"].as_str())
        // Where a response comes in two segments, its end is told of, too.
        .filter(|reason| *reason != "ended")
        .collect();
    assert_eq!(reasons, ["bound", "answered", "reused", "answered"], "{events:?}");
    let bound = events.iter().find(|event| event["reason"] == "bound").unwrap();
    assert_eq!(
        (&bound["method"], &bound["host"], &bound["path"]),
        (&"GET".into(), &"a.test".into(), &"/128".into())
    );
    let answered = events.iter().find(|event| event["reason"] == "answered").unwrap();
    assert_eq!((answered["status"].as_u64(), answered["tier"].as_u64()), (Some(200), Some(2)), "{answered}");
    assert_eq!(answered["endpoint"], Addresses::backend_socket(0).to_string(), "{answered}");
    assert_eq!(answered["route"], "HTTPRoute default/web rule 0", "{answered}");
    assert!(answered["firstByteNs"].as_u64().unwrap() > 0, "{answered}");
    let handed = events.iter().find(|event| event["reason"] == "hand_off_route").unwrap();
    assert_eq!(handed["tier"].as_u64(), Some(3), "{handed}");

    // However its reader ends, the programs stop to tell.
    trace.kill().unwrap();
    until(PATIENCE, "the programs to be quiet", || (!tier.is_traced()).then_some(())).unwrap();

    // Asked for again, it is there again, and ends by itself.
    let text = tier.say(&["trace", "--seconds", "1", "--one-in", "1000000"]);
    assert_contains(&text, &["TIME", "nothing came"]);
    until(PATIENCE, "the programs to be quiet", || (!tier.is_traced()).then_some(())).unwrap();
}

#[test]
fn a_trace_does_not_outlive_its_agent() {
    let mut tier = Tier::start();
    let mut trace = tier.trace();
    tier.gateway.process().kill().unwrap();
    let status = trace.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1), "{}", trace.log());
    assert_contains(&trace.log(), &["the agent"]);
    assert!(tier.is_traced(), "nobody could tell the programs");
    tier.gateway = start(&tier.lab, &tier.manifest, &[]);
    assert!(!tier.is_traced());
    tier.get(&mut tier.connect(), "/128");
}

#[test]
fn programs_tell_of_requests_only_while_a_log_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = ("RAUTA_ACCESS_LOG_PATH", path.to_str().unwrap());
    assert!(!Tier::tuned(&[log, ("RAUTA_ACCESS_LOG_KERNEL_SAMPLE_ONE_IN", "off")]).is_traced());
    let mut tier = Tier::tuned(&[log]);
    assert!(tier.is_traced());
    // Its programs stay at work.
    tier.gateway.process().signal(Signal::SIGTERM).unwrap();
    tier.gateway.process().wait(PATIENCE).unwrap();
    assert!(!tier.is_traced());
}

#[test]
fn what_an_agent_left_behind_is_detached_and_what_runs_is_not() {
    let mut tier = Tier::start();
    let busy = tier.detach();
    assert_eq!(busy.status.code(), Some(1));
    assert_contains(&String::from_utf8_lossy(&busy.stderr), &["an agent runs", "stop it", "onExit"]);
    tier.get(&mut tier.connect(), "/128");

    tier.gateway.process().kill().unwrap();
    let done = tier.detach();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_contains(&text, &["removed from the kernel", "(tcx)"]);
    assert!(!tier.pins.exists());
    let mut show = Command::new("bpftool");
    show.args(["net", "show"]);
    let output = exec(Some(tier.lab.gateway()), show, PATIENCE).unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("rauta"));
    assert_contains(&String::from_utf8_lossy(&tier.detach().stdout), &["no programs of rauta are attached"]);
}

#[test]
fn without_programs_each_command_says_why() {
    let world = World::simple();
    for arguments in [
        &["flows"][..],
        &["drops"],
        &["trace", "--seconds", "1"],
        &["explain", "flow", "192.0.2.1:1", "192.0.2.2:80"],
    ] {
        let output = world.gateway.cli(arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert_contains(&text, &["the kernel tier is not at work: off by settings", "rauta doctor"]);
    }
    let metrics = world.gateway.metrics().unwrap();
    assert!(!metrics.contains("rauta_kernel_"), "{metrics}");
}
