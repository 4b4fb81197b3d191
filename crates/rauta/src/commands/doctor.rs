//! `rauta doctor`.

use std::process::ExitCode;

use admin::{Cell, Mood, Table};
use anyhow::Context;
use loader::doctor::{Report, State, checks};

use crate::cli::DoctorArgs;
use crate::output::{Output, has_colour, print, print_json};
use crate::settings;

/// Looks at this machine and prints what it found, with what the settings would make of it. What is missing is no failure: userspace always works.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let effective = settings::load(&args.settings, None, std::env::vars_os()).context("bad settings")?;
    let report = checks(&effective.settings.loader_options());
    match args.output {
        Output::Json => print_json(&report)?,
        _ => print(&as_text(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(report: &Report) -> String {
    let mut table = Table::new("Doctor", &["area", "item", "state", "found"], "Nothing was looked at.");
    for row in &report.rows {
        let mood = match row.state {
            State::Ok => Mood::Good,
            State::Missing => Mood::Bad,
            State::Degraded => Mood::Warn,
            State::Info => Mood::Faint,
        };
        let state = Cell::new(row.state.as_str(), mood);
        table.row([row.area.into(), Cell::from(&row.item), state, Cell::from(&row.detail)]);
    }
    let mut out = table.to_text(has_colour());
    let to_mend: Vec<_> =
        report.rows.iter().filter(|row| !row.effect.is_empty() || !row.mend.is_empty()).collect();
    if !to_mend.is_empty() {
        out.push_str("\nWhat it means, and how to mend it:\n");
    }
    for row in to_mend {
        out.push_str(&format!("- {} {}", row.area, row.item));
        if !row.effect.is_empty() {
            out.push_str(&format!(": {}", row.effect));
        }
        if !row.mend.is_empty() {
            out.push_str(&format!("\n    {}", row.mend));
        }
        out.push('\n');
    }
    out.push_str(&format!(
        "\n{} ok, {} degraded, {} missing\n",
        report.count(State::Ok),
        report.count(State::Degraded),
        report.count(State::Missing)
    ));
    out
}
