//! The scenes of the demo, in the order they are played.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::{Addresses, Connection, Failure, GATEWAY_PORT, Load, LoadReport, until};

use super::print::{Printer, bar};
use super::trace::Trace;
use super::{Hook, Stage};
use crate::agent;

/// A request of the shop that any endpoint may answer, in one piece: an endpoint that dies has answered or has not.
const SHOP: &str = "GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
/// Clients of the load, each on a connection of its own.
const LOAD_CONNECTIONS: u8 = 8;
/// How long anything in the demo may take before it counts as broken.
pub(super) const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn topology(print: &Printer) {
    print.heading("The network: five namespaces on this machine, real TCP between them");
    print.plain(&format!(
        "
          {front:<31}{back:<12}┌─ b0 nginx {b0}   shop-v1
   client ────────────── rauta run -f ───────────────┼─ b1 nginx {b1}   shop-v1
   {client:<19}examples/quickstart            └─ b2 nginx {b2}   shop-v2
",
        front = format!("{}:{GATEWAY_PORT}", Addresses::GATEWAY),
        back = Addresses::GATEWAY_BACK,
        client = Addresses::client(0),
        b0 = Addresses::backend(0),
        b1 = Addresses::backend(1),
        b2 = Addresses::backend(2),
    ));
}

pub(super) fn routes(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading("What it serves, and in which tier: $ rauta routes -o wide");
    let text = agent::ask(&stage.lab, &stage.program, &["routes", "-o", "wide"])?;
    for object in ["HTTPRoute demo/shop", "Ingress demo/docs", "RoutingRule demo/users"] {
        ensure!(text.contains(object), "{object} is missing in\n{text}");
    }
    print.plain(text.trim_end());
    Ok(())
}

/// Host, path, more header lines, status, the endpoints that may answer, and the tier that decides where the kernel may.
type Case = (&'static str, &'static str, &'static str, u16, &'static [&'static str], u32);

const CASES: &[Case] = &[
    ("shop.example.com", "/", "", 200, &["b0", "b1", "b2"], 2),
    ("shop.example.com", "/", "X-Canary: always\r\n", 200, &["b2"], 2),
    ("shop.example.com", "/cart/", "", 200, &["b0", "b1"], 2),
    ("shop.example.com", "/cartoons", "", 200, &["b0", "b1", "b2"], 2),
    ("any.example.com", "/api/v2/users", "X-API-Version: 2\r\n", 200, &["b0", "b1"], 2),
    ("ingress.example.com", "/docs/", "", 200, &["b0", "b1"], 3),
    ("ingress.example.com", "/elsewhere", "", 404, &[], 3),
    ("any.example.com", "/api/v2/users", "", 404, &[], 3),
];

pub(super) fn requests(print: &Printer, stage: &Stage) -> Result<()> {
    let mut trace = match stage.hook {
        Hook::Tc => Some(Trace::start(stage, SHOP)?),
        Hook::Off => None,
    };
    print.heading("One request for each route, and what $ rauta trace says of it");
    for (host, path, header, status, endpoints, tier) in CASES {
        let mut connection = Connection::open(stage.lab.client(), stage.gateway.address())?;
        let start = Instant::now();
        let response = connection.request(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n"))?;
        let time = start.elapsed();
        let request = format!("GET {host}{path} {}", header.trim_end());
        let expected = match response.endpoint() {
            Some(endpoint) => endpoints.contains(&endpoint),
            None => endpoints.is_empty(),
        };
        if response.status != *status || !expected {
            bail!("{request}: {status} from {endpoints:?} expected, got {response:?}");
        }
        let from = response.endpoint().map_or_else(|| format!("({})", response.text().trim()), str::to_owned);
        let decided = match &mut trace {
            Some(trace) => {
                let decision = trace.decision(connection.local_port()?)?;
                ensure!(decision.tier == *tier, "{request}: tier {tier} expected, got {decision:?}");
                decision.to_string()
            }
            None => String::new(),
        };
        let micros = time.as_micros();
        print.good(&format!("{request:<54} {} {from:<11}{micros:>5} us  {decided}", response.status));
    }
    Ok(())
}

pub(super) fn distribution(print: &Printer, stage: &Stage) -> Result<()> {
    // The kernel draws for each connection, and on it again every 32 requests.
    let (connections, requests) = (600, 5);
    let total = connections * requests;
    print.heading(&format!(
        "{total} requests for shop.example.com/ on {connections} connections: 90 % to shop-v1, 10 % to shop-v2"
    ));
    let mut counts = [0_u32; 3];
    for _ in 0..connections {
        let mut connection = Connection::open(stage.lab.client(), stage.gateway.address())?;
        for _ in 0..requests {
            let response = connection.request(SHOP)?;
            match response.endpoint() {
                Some("b0") => counts[0] += 1,
                Some("b1") => counts[1] += 1,
                Some("b2") => counts[2] += 1,
                _ => bail!("an answer of nobody we know: {response:?}"),
            }
        }
    }
    let share = |index: usize| f64::from(counts[index]) / f64::from(total);
    for (index, count) in counts.iter().enumerate() {
        print.plain(&format!("  b{index} {count:>5}  {}", bar(share(index))));
    }
    // Of 600 draws at 10 %: five standard deviations are 6 %.
    ensure!((0.04..=0.16).contains(&share(2)), "shop-v2 should get about a tenth of {total} requests");
    ensure!(share(0) > 0.3 && share(1) > 0.3, "b0 and b1 should share the rest about evenly");
    Ok(())
}

pub(super) fn live_edit(print: &Printer, stage: &Stage) -> Result<()> {
    print
        .heading("Under load, routes.yaml is edited: all of shop.example.com to shop-v2 (weights 0 and 100)");
    let before = std::fs::read_to_string(stage.manifest("routes.yaml"))?;
    let after = before.replace("weight: 90", "weight: 0").replace("weight: 10\n", "weight: 100\n");
    ensure!(before != after, "examples/quickstart/routes.yaml has no weights 90 and 10 any more");
    let load = stage.load();
    load.wait_for_more(200, LIMIT)?;
    let live = takes_effect(stage, &after, |endpoint| endpoint == "b2")?;
    load.wait_for_more(200, LIMIT)?;
    stage.gateway.write("routes.yaml", &before)?;
    let client = stage.lab.client();
    stage
        .gateway
        .wait_for_answer(client, "shop.example.com", "/", |answer| answer.endpoint() == Some("b0"))?;
    load.wait_for_more(200, LIMIT)?;
    nothing_failed(
        print,
        load.stop(),
        &format!("live {:.1} ms after the file was written", live.as_secs_f64() * 1e3),
    )
}

pub(super) fn bad_edit(print: &Printer, stage: &mut Stage) -> Result<()> {
    print.heading(
        "A mistake in routes.yaml: the last good state stays, and the log says where the mistake is",
    );
    let good = std::fs::read_to_string(stage.manifest("routes.yaml"))?;
    let load = stage.load();
    stage.gateway.write("routes.yaml", &good.replacen("backendRefs", "backendReefs", 1))?;
    stage.gateway.wait_for_log("backendReefs")?;
    load.wait_for_more(200, LIMIT)?;
    stage.gateway.write("routes.yaml", &good)?;
    let log = stage.gateway.log();
    let line = log.lines().find(|line| line.contains("backendReefs")).unwrap_or_default();
    print.plain(&format!("  {}", line.replace(&stage.lab.folder().display().to_string(), "…")));
    nothing_failed(print, load.stop(), "routes as before")
}

pub(super) fn drained_endpoint(print: &Printer, stage: &mut Stage) -> Result<()> {
    print.heading("Under load, b1 is taken out of its EndpointSlice, stopped, started and put back");
    let before = std::fs::read_to_string(stage.manifest("services.yaml"))?;
    let b1 = format!("  - addresses: [{}]\n", Addresses::backend(1));
    let after = before.replace(&b1, &format!("{b1}    conditions: {{ ready: false }}\n"));
    ensure!(before != after, "examples/quickstart/services.yaml has no endpoint b1 any more");
    let load = stage.load();
    load.wait_for_more(200, LIMIT)?;
    stage.gateway.write("services.yaml", &after)?;
    stage.wait_until_b1_is_out()?;
    load.wait_for_more(800, LIMIT)?;
    stage.endpoints[1].kill()?;
    load.wait_for_more(400, LIMIT)?;
    stage.endpoints[1].restart()?;
    stage.gateway.write("services.yaml", &before)?;
    stage.wait_for_b1()?;
    nothing_failed(print, load.stop(), "b0 took over, b1 has its share back")
}

/// An endpoint that is killed has acknowledged requests that it will never answer. Userspace asks another endpoint again, as a
/// proxy may for GET (RFC 9110 section 9.2.2). The kernel keeps no request that was acknowledged: its clients learn of the
/// reset, at most once for each connection.
pub(super) fn dead_endpoint(print: &Printer, stage: &mut Stage) -> Result<()> {
    print.heading("Under load, b1 is killed without a warning and started again");
    let load = stage.load();
    load.wait_for_more(200, LIMIT)?;
    stage.endpoints[1].kill()?;
    load.wait_for_more(1000, LIMIT)?;
    stage.endpoints[1].restart()?;
    stage.wait_for_b1()?;
    let mut report = load.stop();
    let lost = report.failures.get(&Failure::Reset).copied().unwrap_or(0);
    if stage.hook == Hook::Tc && lost > 0 && lost <= u64::from(LOAD_CONNECTIONS) {
        report.failures.remove(&Failure::Reset);
        print.plain(&format!(
            "  {lost} requests that b1 had acknowledged and not answered were reset with it"
        ));
    }
    nothing_failed(print, report, "b0 took over at once, b1 has connections again")
}

pub(super) fn counters(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading("Live counters: $ curl -s localhost:9900/metrics");
    for (name, labels) in [
        ("rauta_kernel_responses_total", "class=\"2xx\""),
        ("rauta_kernel_events_total", "reason=\"bound\""),
        ("rauta_kernel_events_total", "reason=\"reused\""),
        ("rauta_kernel_events_total", "reason=\"rebound\""),
        ("rauta_kernel_events_total", "kind=\"hand_off\""),
        ("rauta_requests_total", "code=\"2xx\""),
        ("rauta_requests_total", "code=\"4xx\""),
        ("rauta_requests_total", "code=\"5xx\""),
        ("rauta_downstream_connections_total", ""),
        ("rauta_datapath_packets_total", ""),
        ("rauta_listener_connections_total", ""),
    ] {
        let value = stage.gateway.metric(name, labels).map_or("-".to_owned(), |value| format!("{value:.0}"));
        print.plain(&format!("  {:<52}{value:>10}", format!("{name} {labels}")));
    }
    let both = |class: &str| {
        let of = |name: &str, label: &str| {
            stage.gateway.metric(name, &format!("{label}=\"{class}\"")).unwrap_or(0.0)
        };
        of("rauta_requests_total", "code") + of("rauta_kernel_responses_total", "class")
    };
    let (answered, broken) = (both("2xx"), both("5xx"));
    ensure!(answered >= 4000.0, "the gateway counts {answered} answered requests, fewer than this demo sent");
    ensure!(broken < 0.5, "the gateway answered {broken} requests with 5xx");
    print.heading("And in short: $ rauta status");
    print.plain(agent::ask(&stage.lab, &stage.program, &["status"])?.trim_end());
    Ok(())
}

pub(super) fn keep(print: &Printer, stage: &Stage) -> Result<()> {
    let (client, gateway) = (stage.lab.client().name(), stage.lab.gateway().name());
    print.heading("Kept running until you press Enter:");
    print.plain(&format!(
        "  ip netns exec {client} curl -i -H 'Host: shop.example.com' http://{}:{GATEWAY_PORT}/",
        Addresses::GATEWAY
    ));
    print.plain(&format!("  ip netns exec {gateway} curl -s localhost:9901/       the status page"));
    print.plain(&format!("  edit {}", stage.manifest("routes.yaml").display()));
    std::io::stdin().read_line(&mut String::new()).context("cannot read from the terminal")?;
    Ok(())
}

pub(super) fn next(print: &Printer) {
    print.heading("Everything is taken down again. What to try next:");
    print.plain("  ./x demo --keep          the same, and it stays up for you to play with");
    print.plain("  ./x lab up               an empty network of your own; prints how to enter it");
    print.plain("  ./x bench http --quick   beside nginx, haproxy and Envoy");
    print.plain("  ./x doctor               what this machine's kernel can do for the gateway");
    print.plain("  examples/local           without root: see README.md");
}

impl Stage {
    fn manifest(&self, name: &str) -> std::path::PathBuf {
        self.lab.folder().join("quickstart").join(name)
    }

    /// Waits until none of many new connections goes to b1.
    fn wait_until_b1_is_out(&self) -> Result<()> {
        until(LIMIT, "b1 to get no new connections", || {
            let is_out = || -> Result<bool> {
                for _ in 0..30 {
                    let mut connection = Connection::open(self.lab.client(), self.gateway.address())?;
                    if connection.request(SHOP)?.endpoint() == Some("b1") {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            is_out().unwrap_or(false).then_some(())
        })
    }

    /// Waits until new connections go to b1 again. The kernel leaves out an endpoint that refused some for 10 s.
    fn wait_for_b1(&self) -> Result<()> {
        until(LIMIT, "b1 to get connections again", || {
            let mut connection = Connection::open(self.lab.client(), self.gateway.address()).ok()?;
            let answer = connection.get("shop.example.com", "/cart/").ok()?;
            (answer.endpoint() == Some("b1")).then_some(())
        })
    }

    /// Keep-alive clients that never retry.
    pub(super) fn load(&self) -> Load {
        Load::start(
            self.lab.client(),
            self.gateway.address(),
            usize::from(LOAD_CONNECTIONS),
            SHOP,
            |answer| answer.text().starts_with("endpoint="),
        )
    }
}

/// Writes routes.yaml and watches new connections: how long until the last answer of an endpoint that is not meant. A
/// connection from before the edit must then follow with its next request.
fn takes_effect(stage: &Stage, routes: &str, is_meant: impl Fn(&str) -> bool) -> Result<Duration> {
    const IN_A_ROW: u32 = 60;
    let mut old = Connection::open(stage.lab.client(), stage.gateway.address())?;
    old.request(SHOP)?;
    let start = Instant::now();
    stage.gateway.write("routes.yaml", routes)?;
    let (mut live, mut in_a_row) = (Duration::ZERO, 0);
    while in_a_row < IN_A_ROW {
        let response = Connection::open(stage.lab.client(), stage.gateway.address())?.request(SHOP)?;
        if response.endpoint().is_some_and(&is_meant) {
            in_a_row += 1;
        } else {
            (live, in_a_row) = (start.elapsed(), 0);
        }
        ensure!(
            start.elapsed() < LIMIT,
            "the edit of routes.yaml never came into effect:\n{}",
            stage.gateway.log()
        );
    }
    let response = old.request(SHOP)?;
    ensure!(
        response.endpoint().is_some_and(&is_meant),
        "a connection from before the edit still goes where it went: {response:?}"
    );
    Ok(live)
}

fn nothing_failed(print: &Printer, report: LoadReport, what: &str) -> Result<()> {
    ensure!(
        report.failed() == 0,
        "{} of {} requests failed: {:?}; the first: {}",
        report.failed(),
        report.answered + report.failed(),
        report.failures,
        report.first_failure.unwrap_or_default()
    );
    print.good(&format!(
        "{what}; {} requests on {} connections meanwhile, 0 failed, slowest {:.1} ms",
        report.answered,
        report.connections,
        report.slowest.as_secs_f64() * 1e3
    ));
    Ok(())
}
