//! `rauta check`: what is wrong with manifests, and what would be served.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use model::Severity;
use serde::Serialize;

use crate::cli::CheckArgs;
use crate::output::{Output, has_colour, print, print_json};
use crate::settings;
use crate::view::{self, placed, tables, text};

/// Bad usage, such as a path that does not exist; clap ends with the same.
const USAGE: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    files: usize,
    objects: usize,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<api::v1::Diagnostic>,
    listeners: Vec<api::v1::Listener>,
    routes: Vec<api::v1::Route>,
    backends: Vec<api::v1::Backend>,
}

/// Checks. Ends with 0 if there is no error, 1 if there is, 2 if a path does not exist.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    if let Some(missing) = missing(&args.paths) {
        eprint(&format!("error: {} does not exist or cannot be read\n", missing.display()));
        return Ok(ExitCode::from(USAGE));
    }
    let effective = settings::load(&args.settings, None, std::env::vars_os()).context("bad settings")?;
    let loaded = files::load_once(&args.paths, effective.settings.translate_options());
    let count = |severity| loaded.diagnostics.iter().filter(|found| found.severity == severity).count();
    let report = Report {
        files: loaded.files,
        objects: loaded.objects,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        diagnostics: loaded.diagnostics.iter().map(text::diagnostic).collect(),
        listeners: view::listeners(&loaded.snapshot, |_| String::new()),
        routes: routes(&loaded.snapshot, &effective.settings),
        backends: view::backends(&loaded.snapshot),
    };
    match args.output {
        Output::Json => print_json(&report)?,
        output => {
            for found in &loaded.diagnostics {
                print(&format!("{found}\n"))?;
            }
            print(&summary(&report, output == Output::Wide))?;
        }
    }
    Ok(if report.errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The rules, with the tier of each on a host where nothing stands in its way.
fn routes(snapshot: &model::Snapshot, settings: &settings::Settings) -> Vec<api::v1::Route> {
    let mut routes = view::routes(snapshot);
    let placements = placed::at_best(snapshot, settings.userspace(), settings.dataplane.tables.most());
    for (route, shown) in snapshot.routes.iter().zip(&mut routes) {
        (shown.served_tier, shown.tier_reason) = placed::served(placements.get(&route.id));
    }
    routes
}

/// The first path that is not there.
pub(crate) fn missing(paths: &[PathBuf]) -> Option<&PathBuf> {
    paths.iter().find(|path| std::fs::metadata(path).is_err())
}

fn summary(report: &Report, wide: bool) -> String {
    let mut out = String::new();
    if !report.diagnostics.is_empty() {
        out.push('\n');
    }
    let mut listeners = tables::listeners(&report.listeners);
    // Nothing listens yet: the state says nothing.
    listeners.columns.pop();
    listeners.rows.iter_mut().for_each(|row| row.truncate(listeners.columns.len()));
    let mut backends = tables::backends(&report.backends, wide);
    // Nor has anything been sent.
    let idle = ["active", "requests", "failures"];
    let kept: Vec<bool> = backends.columns.iter().map(|column| !idle.contains(column)).collect();
    backends.columns.retain(|column| !idle.contains(column));
    for row in &mut backends.rows {
        let mut keep = kept.iter();
        row.retain(|_| *keep.next().unwrap_or(&true));
    }
    for table in [&listeners, &tables::routes(&report.routes, wide), &backends] {
        out.push_str(&table.to_text(has_colour()));
        out.push('\n');
    }
    for route in placed::not_as_asked(&report.routes) {
        out.push_str(&format!("{route}\n"));
    }
    if !report.routes.is_empty() {
        out.push_str("Tiers are those of a host whose kernel programs reach all endpoints; `rauta routes` shows a running agent's.\n\n");
    }
    let number = |count: usize, one: &str| text::number(count as u64, one);
    out.push_str(&format!(
        "{}, {}: {}, {}, {}; {}, {}\n",
        number(report.files, "file"),
        number(report.objects, "object"),
        number(report.listeners.len(), "listener"),
        number(report.routes.len(), "route"),
        number(report.backends.len(), "backend"),
        number(report.errors, "error"),
        number(report.warnings, "warning"),
    ));
    out
}

fn eprint(text: &str) {
    use std::io::Write;
    // Nobody can be told that standard error is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
