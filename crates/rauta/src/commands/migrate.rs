//! `rauta migrate ingress-nginx`: what becomes of each annotation, by the table that the translation uses.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use translate::nginx::{Examined, Finding, examine};

use crate::cli::MigrateArgs;
use crate::commands::check::missing;
use crate::commands::run::connect;
use crate::output::{Output, print, print_json};

/// Bad usage, such as a path that does not exist; clap ends with the same.
const USAGE: u8 = 2;

/// Ends with 0 if all Ingresses can be read and all annotations are understood, 1 if not, 2 if a path does not exist.
pub(crate) fn run(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let (piped, paths): (Vec<PathBuf>, Vec<PathBuf>) =
        args.paths.iter().cloned().partition(|path| path.as_os_str() == "-");
    if let Some(path) = missing(&paths) {
        let line = format!("error: {} does not exist or cannot be read\n", path.display());
        // Nobody can be told that standard error is gone.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        return Ok(ExitCode::from(USAGE));
    }
    let mut found = Vec::new();
    if args.kubernetes {
        let connection = connect(args.kubeconfig.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = kubernetes::ingresses(&connection, args.namespace.as_deref());
        let objects =
            runtime.block_on(asked).with_context(|| format!("cannot read from {}", connection.url()))?;
        found.extend(objects.iter().filter_map(examine));
    }
    let mut read = |text: &str, place: &str| {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).with_context(|| format!("{place} is no YAML"))?;
        found.extend(documents.iter().flat_map(objects).filter_map(examine));
        anyhow::Ok(())
    };
    if !piped.is_empty() {
        let text = std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?;
        read(&text, "standard input")?;
    }
    for file in all_files(&paths)? {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        read(&text, &file.display().to_string())?;
    }
    let is_whole = found.iter().all(|one| one.error.is_none() && one.annotations.iter().all(is_served));
    match args.output {
        Output::Json => print_json(&json!({ "ingresses": found.iter().map(record).collect::<Vec<_>>() }))?,
        Output::Table | Output::Wide => print(&text(&found))?,
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Files, and the YAML of folders and of those in them, by name.
fn all_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let listed = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let listed = listed.with_context(|| format!("cannot read {}", path.display()))?;
        let mut inside: Vec<_> = listed
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() || is_yaml(path))
            .collect();
        inside.sort();
        found.extend(all_files(&inside)?);
    }
    Ok(found)
}

fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

/// An object, or those of a List.
fn objects(document: &Value) -> Vec<&Value> {
    match document.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![document],
    }
}

fn is_served(finding: &Finding) -> bool {
    finding.is_understood && finding.problem.is_none()
}

fn record(one: &Examined) -> Value {
    let row = |finding: &Finding| {
        json!({
            "name": finding.name,
            "support": finding.support,
            "isUnderstood": finding.is_understood,
            "note": finding.note,
            "problem": finding.problem,
        })
    };
    let annotations: Vec<_> = one.annotations.iter().map(row).collect();
    json!({ "namespace": one.namespace, "name": one.name, "annotations": annotations, "error": one.error })
}

fn text(found: &[Examined]) -> String {
    let mut out = String::new();
    let (mut all, mut served) = (0, 0);
    for one in found {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "Ingress {}/{}", one.namespace, one.name);
        for finding in &one.annotations {
            all += 1;
            served += usize::from(is_served(finding));
            let problem = finding.problem.as_ref().map(|problem| format!("bad value: {problem}"));
            let said = problem.unwrap_or_else(|| finding.note.to_owned());
            let line = format!("  {:<9}  {}  {said}", finding.support, finding.name);
            let _ = writeln!(out, "{}", line.trim_end());
        }
        if let Some(error) = &one.error {
            let _ = writeln!(out, "  cannot be read: {error}");
        } else if one.annotations.is_empty() {
            let _ = writeln!(out, "  no annotations of ingress-nginx");
        }
    }
    let _ = writeln!(
        out,
        "Ingresses: {}; annotations of ingress-nginx: {all}, understood: {served}",
        found.len()
    );
    out
}
