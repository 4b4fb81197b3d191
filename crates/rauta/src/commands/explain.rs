//! `rauta explain request`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::v1::{ExplainRequestRequest, Explanation};

use super::ask::with_client;
use super::check::missing;
use crate::cli::ExplainRequestArgs;
use crate::output::{Output, has_colour, print, print_json};
use crate::settings;
use crate::view::{explain, tables};

/// Explains a request, by the running agent or by manifests.
pub(crate) fn run(args: &ExplainRequestArgs, socket: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let (method, url) = args.method_and_url();
    let request = ExplainRequestRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: args.headers.clone(),
        client: args.client.map(|client| client.to_string()).unwrap_or_default(),
    };
    let explanation = if args.files.is_empty() {
        with_client(socket, async |client| Ok(client.explain(request).await?))?
    } else {
        offline(args, &request)?
    };
    match args.output {
        Output::Json => print_json(&explanation)?,
        output => print(&as_text(method, url, &explanation, output == Output::Wide))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn offline(args: &ExplainRequestArgs, request: &ExplainRequestRequest) -> anyhow::Result<Explanation> {
    if let Some(missing) = missing(&args.files) {
        bail!("{} does not exist or cannot be read", missing.display());
    }
    let effective = settings::load(&args.settings, None, std::env::vars_os()).context("bad settings")?;
    let loaded = files::load_once(&args.files, effective.settings.translate_options());
    let table = route::Table::build(&loaded.snapshot);
    Ok(explain::explain(&loaded.snapshot, &table, effective.settings.proxy.paths, request)?)
}

fn as_text(method: &str, url: &str, explanation: &Explanation, wide: bool) -> String {
    let mut out = format!("{method} {url}\n  {}\n\n", explanation.outcome);
    for (i, step) in explanation.steps.iter().enumerate() {
        out.push_str(&format!("{}. {step}\n", i + 1));
    }
    if let Some(route) = &explanation.route {
        out.push('\n');
        out.push_str(&tables::routes(std::slice::from_ref(route), wide).to_text(has_colour()));
    }
    if !explanation.candidates.is_empty() {
        out.push('\n');
        out.push_str(&tables::candidates(&explanation.candidates).to_text(has_colour()));
    }
    out
}
