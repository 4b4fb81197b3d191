//! The scenes in which something changes under load: routes, mistakes in them, endpoints.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::{Addresses, Connection, Failure, LoadReport, until};

use super::print::Printer;
use super::{Hook, LIMIT, LOAD_CONNECTIONS, SHOP, Stage};

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
    wait_until_b1_is_out(stage)?;
    load.wait_for_more(800, LIMIT)?;
    stage.endpoints[1].kill()?;
    load.wait_for_more(400, LIMIT)?;
    stage.endpoints[1].restart()?;
    stage.gateway.write("services.yaml", &before)?;
    wait_for_b1(stage)?;
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
    wait_for_b1(stage)?;
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

/// Waits until none of many new connections goes to b1.
fn wait_until_b1_is_out(stage: &Stage) -> Result<()> {
    until(LIMIT, "b1 to get no new connections", || {
        let is_out = || -> Result<bool> {
            for _ in 0..30 {
                let mut connection = Connection::open(stage.lab.client(), stage.gateway.address())?;
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
fn wait_for_b1(stage: &Stage) -> Result<()> {
    until(LIMIT, "b1 to get connections again", || {
        let mut connection = Connection::open(stage.lab.client(), stage.gateway.address()).ok()?;
        let answer = connection.get("shop.example.com", "/cart/").ok()?;
        (answer.endpoint() == Some("b1")).then_some(())
    })
}
