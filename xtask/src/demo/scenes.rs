//! The scenes in which all is well: routes, single requests, weights, counters.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use testkit::{Addresses, Connection, GATEWAY_PORT};

use super::print::{Printer, bar};
use super::trace::Trace;
use super::{Hook, SHOP, Stage};
use crate::agent;

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
