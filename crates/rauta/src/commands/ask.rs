//! `rauta status`, `routes` and `backends`: questions to the running agent.

use std::path::PathBuf;
use std::process::ExitCode;

use admin::{Cell, Mood, Table};
use api::Client;
use api::v1::Status;
use serde::Serialize;

use crate::cli::OutputArgs;
use crate::output::{self, Output, has_colour, print, print_json};
use crate::settings::Settings;
use crate::view::{kernel, tables};

/// Shows the agent at a glance.
pub(crate) fn status(args: OutputArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let (status, found) =
        with_client(socket, async |client| Ok((client.status().await?, client.diagnostics().await?)))?;
    if args.output == Output::Json {
        #[derive(Serialize)]
        struct Both {
            #[serde(flatten)]
            status: Status,
            diagnostics: Vec<api::v1::Diagnostic>,
        }
        print_json(&Both { status, diagnostics: found })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = facts(&status).to_text(has_colour());
    text.push('\n');
    text.push_str(&tables::listeners(&status.listeners).to_text(has_colour()));
    let in_kernel = status.dataplane.as_ref().map(|dataplane| dataplane.tables.as_slice());
    if let Some(in_kernel) = in_kernel.filter(|tables| !tables.is_empty()) {
        text.push('\n');
        text.push_str(&kernel::tables(in_kernel).to_text(has_colour()));
    }
    if !found.is_empty() {
        text.push('\n');
        text.push_str(&tables::diagnostics(&found).to_text(has_colour()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists the rules.
pub(crate) fn routes(args: OutputArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let routes = with_client(socket, async |client| Ok(client.routes().await?))?;
    show(args, &routes, |wide| tables::routes(&routes, wide))
}

/// Lists the backends.
pub(crate) fn backends(args: OutputArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let backends = with_client(socket, async |client| Ok(client.backends().await?))?;
    show(args, &backends, |wide| tables::backends(&backends, wide))
}

/// Connects to the agent and asks.
pub(crate) fn with_client<T>(
    socket: Option<&PathBuf>,
    ask: impl AsyncFnOnce(&mut Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = match (socket, std::env::var_os("RAUTA_SOCKET")) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => path.into(),
        (None, None) => Settings::default().socket,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { ask(&mut Client::connect(&path).await?).await })
}

fn show(args: OutputArgs, value: &impl Serialize, table: impl Fn(bool) -> Table) -> anyhow::Result<ExitCode> {
    match args.output {
        Output::Json => print_json(value)?,
        output => output::print(&table(output == Output::Wide).to_text(has_colour()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent as names and values.
fn facts(status: &Status) -> Table {
    let mut table = Table::new("Agent", &["rauta", ""], "");
    table.columns[1] = "";
    for (name, value) in crate::agent::page::facts(status) {
        table.row([name.into(), value]);
    }
    let state = if status.ready {
        Cell::new("serving", Mood::Good)
    } else {
        Cell::new(format!("not ready: {}", status.not_ready_reason), Mood::Bad)
    };
    table.rows.insert(0, vec!["state".into(), state]);
    table
}
