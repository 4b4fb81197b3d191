//! `rauta flows`, `drops`, `trace` and `explain flow`: what the kernel tier does.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use api::v1::{ExplainFlowRequest, ListFlowsRequest, Reason, TraceEvent};
use tokio::time::{Instant, sleep, timeout_at};

use super::ask::with_client;
use crate::cli::{DropsArgs, ExplainFlowArgs, FlowsArgs, TraceArgs};
use crate::output::{Output, has_colour, print, print_json, print_more};
use crate::view::{dry_run, kernel};

/// Between two looks of `rauta drops --watch`.
const LOOK: Duration = Duration::from_secs(1);

/// A trace without an end.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Lists connections.
pub(crate) fn flows(args: &FlowsArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let request = ListFlowsRequest {
        client: args.client.clone().unwrap_or_default(),
        endpoint: args.endpoint.clone().unwrap_or_default(),
        limit: args.limit,
    };
    let found = with_client(socket, async |client| Ok(client.flows(request).await?))?;
    match args.output {
        Output::Json => print_json(&found)?,
        output => {
            let table = kernel::flows(&found, output == Output::Wide).to_text(has_colour());
            print(&format!("{table}\n{}\n", kernel::flows_summary(&found)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts reasons, once or every second until the reader has enough.
pub(crate) fn drops(args: DropsArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    with_client(socket, async |client| {
        let mut before: Option<HashMap<String, u64>> = None;
        loop {
            let reasons = client.reasons().await?;
            let text = match args.output {
                Output::Json => format!("{}\n", serde_json::to_string_pretty(&reasons)?),
                _ => kernel::reasons(&reasons, before.as_ref()).to_text(has_colour()),
            };
            let is_read = print_more(&if before.is_some() { format!("\n{text}") } else { text })?;
            if !args.watch || !is_read {
                return Ok(ExitCode::SUCCESS);
            }
            before = Some(reasons.into_iter().map(|Reason { reason, count, .. }| (reason, count)).collect());
            sleep(LOOK).await;
        }
    })
}

/// Shows events as they come.
pub(crate) fn trace(args: TraceArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    with_client(socket, async |client| {
        let mut events = client.trace(args.one_in).await?;
        let end = Instant::now() + args.seconds.map_or(FOR_EVER, Duration::from_secs);
        let is_json = args.output == Output::Json;
        let mut is_read = is_json || print_more(&kernel::event_heads())?;
        let mut shown = 0;
        while is_read && args.count.is_none_or(|count| shown < count) {
            let Ok(event) = timeout_at(end, events.next()).await else { break };
            let Some(event) = event? else { anyhow::bail!("the agent ended") };
            is_read = print_more(&line(&event, is_json)?)?;
            shown += 1;
        }
        if shown == 0 && !is_json {
            print("nothing came: `rauta status` says what the kernel tier serves\n")?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Says what the kernel knows of a connection, or would do with a new one.
pub(crate) fn explain_flow(args: &ExplainFlowArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let request = ExplainFlowRequest {
        client: args.client.clone(),
        vip: args.vip.clone(),
        request: args.new_request(),
    };
    let found = with_client(socket, async |client| Ok(client.explain_flow(request).await?))?;
    match args.output {
        Output::Json => print_json(&found)?,
        _ => {
            let facts: String = found.facts.iter().map(|fact| format!("- {fact}\n")).collect();
            let gap = if facts.is_empty() { "" } else { "\n" };
            print(&format!("{}\n{gap}{facts}{}", found.outcome, dry_run::text(&found.steps)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(event: &TraceEvent, is_json: bool) -> anyhow::Result<String> {
    if is_json {
        return Ok(format!("{}\n", serde_json::to_string(event)?));
    }
    let lost = match event.lost {
        0 => String::new(),
        lost => format!("{lost} lost: --one-in N shows fewer\n"),
    };
    Ok(format!("{lost}{}", kernel::event(event)))
}
