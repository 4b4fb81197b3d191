//! The scenes about the kernel tier: what it routes, what it costs, how much of the traffic is its own.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use testkit::{RunTimes, until};

use super::print::{Printer, bar};
use super::{LIMIT, Stage};
use crate::agent::{self, Tiers};

/// The least part of the demo's requests that the kernel must decide.
const SHARE_MIN: f64 = 0.9;
/// Routes of the quickstart that the kernel serves; the Ingress asks for round robin, which is userspace's.
const KERNEL_ROUTES: [&str; 2] = ["HTTPRoute demo/shop", "RoutingRule demo/users"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    object: String,
    rule: u32,
    served_tier: u32,
    tier_reason: String,
}

/// Waits until the kernel serves what it can: header names and neighbours are new to it when the agent starts.
pub(super) fn wait_for_routes(stage: &Stage) -> Result<()> {
    let mut missing = "rauta routes does not answer".to_owned();
    until(LIMIT, "the kernel to serve the quickstart's routes", || {
        missing = userspace_routes(stage).unwrap_or_else(|error| format!("{error:#}"));
        missing.is_empty().then_some(())
    })
    .with_context(|| {
        format!(
            "still userspace's: {missing}\n`./x doctor` says what the kernel lacks; `./x demo --hook off` plays without it\n{}",
            stage.gateway.log()
        )
    })
}

/// The time that the programs take for a packet, under load.
pub(super) fn cost(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading("What the kernel programs cost (measured by the kernel, for a moment)");
    let measuring = RunTimes::measure().context("the kernel does not measure the time of its programs")?;
    let before = Tiers::ask(&stage.lab, &stage.program)?;
    let load = stage.load();
    load.wait_for_more(2000, LIMIT)?;
    let report = load.stop();
    let after = Tiers::ask(&stage.lab, &stage.program)?;
    drop(measuring);
    ensure!(report.failed() == 0, "{:?}: {}", report.failures, report.first_failure.unwrap_or_default());
    let seen = after.since(before);
    ensure!(seen.packets > report.answered, "the kernel has measured {} packets only", seen.packets);
    print.good(&format!(
        "{:.0} ns per packet over {} packets, for {} requests on {} connections",
        seen.ns_per_packet(),
        seen.packets,
        report.answered,
        report.connections
    ));
    Ok(())
}

/// Which part of all requests the kernel has decided.
pub(super) fn share(print: &Printer, stage: &Stage) -> Result<()> {
    print.heading("Who decided the requests of this demo");
    let tiers = Tiers::ask(&stage.lab, &stage.program)?;
    let share = tiers.kernel_share();
    print.plain(&format!("  kernel (TC) {:>6} {:>6.2} %  {}", tiers.kernel, share * 100.0, bar(share)));
    print.plain(&format!("  userspace   {:>6} {:>6.2} %", tiers.userspace, (1.0 - share) * 100.0));
    ensure!(
        share >= SHARE_MIN,
        "the kernel decided {:.1} % of {} requests, not {:.0} %; what became of the others:\n{}",
        share * 100.0,
        tiers.requests(),
        SHARE_MIN * 100.0,
        agent::ask(&stage.lab, &stage.program, &["drops"])?
    );
    Ok(())
}

/// The routes that the kernel should serve and does not, with reasons.
fn userspace_routes(stage: &Stage) -> Result<String> {
    let text = agent::ask(&stage.lab, &stage.program, &["routes", "-o", "json"])?;
    let routes: Vec<Route> = serde_json::from_str(&text).context("rauta routes -o json")?;
    let is_ours = |route: &&Route| KERNEL_ROUTES.contains(&route.object.as_str());
    ensure!(routes.iter().filter(is_ours).count() >= KERNEL_ROUTES.len(), "routes are missing in {routes:?}");
    let missing: Vec<String> = routes
        .iter()
        .filter(is_ours)
        .filter(|route| route.served_tier != 2)
        .map(|route| format!("{} rule {}: {}", route.object, route.rule, route.tier_reason))
        .collect();
    Ok(missing.join("; "))
}
