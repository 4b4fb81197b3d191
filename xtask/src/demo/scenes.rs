//! The scenes of the demo, in the order they are played.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::{Addresses, Connection, GATEWAY_PORT, Load, LoadReport};

use super::Stage;
use super::print::{Printer, bar};

/// A request of the shop that any endpoint may answer, in one piece: an endpoint that dies has answered or has not.
const SHOP: &str = "GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
/// How long anything in the demo may take before it counts as broken.
const LIMIT: Duration = Duration::from_secs(15);

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
    print.heading("What it serves: $ rauta routes");
    let output = stage.gateway.cli(&["routes"])?;
    ensure!(output.status.success(), "rauta routes: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for object in ["HTTPRoute demo/shop", "Ingress demo/docs", "RoutingRule demo/users"] {
        ensure!(text.contains(object), "{object} is missing in\n{text}");
    }
    print.plain(text.trim_end());
    Ok(())
}

/// Host, path, more header lines, status, and the endpoints that may answer.
type Case = (&'static str, &'static str, &'static str, u16, &'static [&'static str]);

const CASES: &[Case] = &[
    ("shop.example.com", "/", "", 200, &["b0", "b1", "b2"]),
    ("shop.example.com", "/", "X-Canary: always\r\n", 200, &["b2"]),
    ("shop.example.com", "/cart/", "", 200, &["b0", "b1"]),
    ("shop.example.com", "/cartoons", "", 200, &["b0", "b1", "b2"]),
    ("ingress.example.com", "/docs/", "", 200, &["b0", "b1"]),
    ("ingress.example.com", "/elsewhere", "", 404, &[]),
    ("any.example.com", "/api/v2/users", "X-API-Version: 2\r\n", 200, &["b0", "b1"]),
    ("any.example.com", "/api/v2/users", "", 404, &[]),
];

pub(super) fn requests(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading("One request for each route");
    for (host, path, header, status, endpoints) in CASES {
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
        print.good(&format!("{request:<62} {} {from:<12} {:>5} us", response.status, time.as_micros()));
    }
    Ok(())
}

pub(super) fn distribution(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading(
        "A thousand requests for shop.example.com/ on one connection: 90 % to shop-v1, 10 % to shop-v2",
    );
    let mut connection = Connection::open(stage.lab.client(), stage.gateway.address())?;
    let mut counts = [0_u32; 3];
    for _ in 0..1000 {
        let response = connection.request(SHOP)?;
        match response.endpoint() {
            Some("b0") => counts[0] += 1,
            Some("b1") => counts[1] += 1,
            Some("b2") => counts[2] += 1,
            _ => bail!("an answer of nobody we know: {response:?}"),
        }
    }
    for (index, count) in counts.iter().enumerate() {
        print.plain(&format!("  b{index} {count:>4}  {}", bar(f64::from(*count) / 1000.0)));
    }
    ensure!((40..=180).contains(&counts[2]), "shop-v2 should get about 100 of 1000 requests");
    ensure!(counts[0] > 250 && counts[1] > 250, "b0 and b1 should share the rest about evenly");
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

pub(super) fn dead_endpoint(print: &Printer, stage: &mut Stage) -> Result<()> {
    print.heading("Under load, b1 is killed and started again");
    let load = stage.load();
    load.wait_for_more(200, LIMIT)?;
    stage.endpoints[1].kill()?;
    load.wait_for_more(1000, LIMIT)?;
    stage.endpoints[1].restart()?;
    let address = (stage.lab.client(), "shop.example.com", "/cart/");
    stage
        .gateway
        .wait_for_answer(address.0, address.1, address.2, |answer| answer.endpoint() == Some("b1"))?;
    nothing_failed(print, load.stop(), "b0 took over at once, b1 has its share back")
}

pub(super) fn counters(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading("Live counters: $ curl -s localhost:9900/metrics");
    for (name, labels) in [
        ("rauta_requests_total", "code=\"2xx\""),
        ("rauta_requests_total", "code=\"4xx\""),
        ("rauta_requests_total", "code=\"5xx\""),
        ("rauta_downstream_connections_total", ""),
        ("rauta_upstream_connections_total", "ok"),
        ("rauta_upstream_reuses_total", ""),
        ("rauta_datapath_packets_total", ""),
        ("rauta_listener_connections_total", ""),
    ] {
        let value = stage.gateway.metric(name, labels).map_or("-".to_owned(), |value| format!("{value:.0}"));
        print.plain(&format!("  {:<52}{value:>10}", format!("{name} {labels}")));
    }
    let answered = stage.gateway.metric("rauta_requests_total", "code=\"2xx\"")?;
    ensure!(answered >= 2000.0, "the gateway counts {answered} answered requests, fewer than this demo sent");
    let broken = stage.gateway.metric("rauta_requests_total", "code=\"5xx\"").unwrap_or(0.0);
    ensure!(broken < 0.5, "the gateway answered {broken} requests with 5xx");
    print.heading("And in short: $ rauta status");
    let output = stage.gateway.cli(&["status"])?;
    ensure!(output.status.success(), "rauta status: {}", String::from_utf8_lossy(&output.stderr).trim());
    print.plain(String::from_utf8_lossy(&output.stdout).trim_end());
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

    /// Eight keep-alive clients that never retry.
    fn load(&self) -> Load {
        Load::start(self.lab.client(), self.gateway.address(), 8, SHOP, |answer| {
            answer.text().starts_with("endpoint=")
        })
    }
}

/// Writes routes.yaml and watches one open connection: how long until the last answer of an endpoint that is not meant.
fn takes_effect(stage: &Stage, routes: &str, is_meant: impl Fn(&str) -> bool) -> Result<Duration> {
    const IN_A_ROW: u32 = 60;
    let mut connection = Connection::open(stage.lab.client(), stage.gateway.address())?;
    connection.request(SHOP)?;
    let start = Instant::now();
    stage.gateway.write("routes.yaml", routes)?;
    let (mut live, mut in_a_row) = (Duration::ZERO, 0);
    while in_a_row < IN_A_ROW {
        let response = connection.request(SHOP)?;
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
