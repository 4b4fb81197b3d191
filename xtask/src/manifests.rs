//! `./x manifests`: what is made of the chart and for it. The chart in `deploy/helm/rauta` is the source, but for the
//! definitions in it, which are of `crates/resources`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use testkit::cluster::{Program, build};
use testkit::sha256_hex;

use crate::paths::root;

/// Options of `./x manifests`.
#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing: fail if something is not as it would be written.
    #[arg(long)]
    check: bool,
}

/// The chart.
const CHART: &str = "deploy/helm/rauta";
/// The plain manifests.
const PLAIN: &str = "deploy/rauta.yaml";
/// Our definitions, and where the chart has them: a chart holds no files of elsewhere.
const DEFINITIONS: (&str, &str) = ("crates/resources/crds", "deploy/helm/rauta/files/crds");

/// Host network and folders of the host are for namespaces of this level only.
const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: rauta
  labels:
    pod-security.kubernetes.io/enforce: privileged
";

/// Writes the definitions into the chart, and the plain manifests.
pub(crate) fn run(options: &Options) -> Result<()> {
    for name in definitions(root())? {
        let text = fs::read_to_string(root().join(DEFINITIONS.0).join(&name))?;
        put(&root().join(DEFINITIONS.1).join(&name), &text, options.check)?;
    }
    build(&[Program::Helm])?;
    put(&root().join(PLAIN), &plain(root())?, options.check)
}

/// Names of the files of our definitions.
fn definitions(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join(DEFINITIONS.0);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().into());
        }
    }
    names.sort();
    Ok(names)
}

fn put(path: &Path, text: &str, check: bool) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let shown = path.strip_prefix(root()).unwrap_or(path).display();
    if check {
        bail!("{shown} is not what the chart and crates/resources make of it: run ./x manifests");
    }
    println!("{shown}");
    fs::write(path, text).with_context(|| format!("cannot write {shown}"))
}

/// The chart as it is by default, in the namespace `rauta`, without what is Helm's.
fn plain(root: &Path) -> Result<String> {
    let mut command = Command::new(Program::Helm.path()?);
    command.args(["template", "rauta", CHART, "--namespace", "rauta", "--set", "crds.keep=false"]);
    let output = command.current_dir(root).output().context("cannot run helm")?;
    ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr).trim());
    let rendered = String::from_utf8(output.stdout)?;
    let is_ours = |line: &&str| {
        let helms = ["# Source: ", "app.kubernetes.io/managed-by: ", "helm.sh/chart: "];
        !helms.iter().any(|start| line.trim_start().starts_with(start))
    };
    let lines: Vec<&str> = rendered.lines().filter(is_ours).collect();
    let documents = lines.join("\n");
    let documents = documents.split("---\n").map(str::trim).filter(|document| !document.is_empty());
    let head = head(root)?;
    Ok(documents.fold(format!("{head}{NAMESPACE}"), |text, document| format!("{text}---\n{document}\n")))
}

/// The first line of the plain manifests: it says of what they were made, so that it is seen without Helm when they are old.
fn head(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    find(&root.join(CHART), &mut files)?;
    files.sort();
    let mut pins = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_none_or(|extension| extension != "md")) {
        pins.extend(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        pins.extend(fs::read(file)?);
    }
    Ok(format!("# Made by ./x manifests of {CHART} ({}).\n", &sha256_hex(&pins)[..16]))
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).unwrap()
    }

    #[test]
    fn the_chart_holds_our_definitions_and_the_plain_manifests_are_made_of_it() {
        let names = definitions(root()).unwrap();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            let file = |folder: &str| fs::read_to_string(root().join(folder).join(&name)).unwrap();
            assert_eq!(file(DEFINITIONS.0), file(DEFINITIONS.1), "run ./x manifests");
        }
        let head = head(root()).unwrap();
        assert_eq!(read(PLAIN).lines().next().unwrap(), head.trim_end(), "run ./x manifests");
    }

    #[test]
    fn alerts_are_about_metrics_that_there_are_and_name_pages_that_there_are() {
        let rules = read("deploy/helm/rauta/templates/prometheusrule.yaml");
        let mut files = Vec::new();
        find(&root().join("crates/telemetry/src"), &mut files).unwrap();
        let metrics: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut named = 0;
        for word in rules.split(|c| !is_part(c)).filter(|word| word.starts_with("rauta_")) {
            // The ending of counters is the format's.
            let name = format!("\"{}\"", word.trim_end_matches("_total"));
            assert!(metrics.contains(&name), "{word} is no metric of crates/telemetry");
            named += 1;
        }
        assert!(named > 8, "{named}");
        let pages = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: {{ $base }}/"));
        let pages: Vec<&str> = pages.collect();
        assert_eq!(pages.len(), rules.matches("- alert: ").count());
        for page in pages {
            assert!(root().join("docs/operating").join(page).exists(), "{page}");
        }
    }

    /// Each right of the roles in these documents: group, resource, name, verb.
    fn rights(documents: &str) -> BTreeSet<[String; 4]> {
        let mut rights = BTreeSet::new();
        for document in documents.split("---\n") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            let list = |rule: &Value, field: &str| -> Vec<String> {
                let items = rule[field].as_array().into_iter().flatten();
                items.map(|item| item.as_str().unwrap().to_owned()).collect()
            };
            for rule in object["rules"].as_array().into_iter().flatten() {
                let names = Some(list(rule, "resourceNames")).filter(|names| !names.is_empty());
                let names = names.unwrap_or_else(|| vec![String::new()]);
                for (group, resource) in list(rule, "apiGroups").iter().flat_map(|group| {
                    list(rule, "resources").into_iter().map(move |resource| (group.clone(), resource))
                }) {
                    for (name, verb) in names.iter().flat_map(|name| {
                        list(rule, "verbs").into_iter().map(move |verb| (name.clone(), verb))
                    }) {
                        rights.insert([group.clone(), resource.clone(), name, verb]);
                    }
                }
            }
        }
        rights
    }

    #[test]
    fn the_rights_are_those_that_the_guide_names() {
        let guide = read("docs/guide/kubernetes.md");
        let named = guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let named = rights(named);
        assert!(named.len() > 30, "{named:?}");
        let mut given = rights(&read(PLAIN));
        // The guide's are those with a pool of addresses, which the plain manifests do not have.
        let lease = |verb: &str| ["coordination.k8s.io", "leases", "", verb].map(str::to_owned);
        given.extend(["list", "patch"].map(lease));
        assert_eq!(given, named);
    }

    #[test]
    fn versions_are_the_programs_own() {
        let chart = read("deploy/helm/rauta/Chart.yaml");
        let version = env!("CARGO_PKG_VERSION");
        assert!(chart.contains(&format!("\nappVersion: \"{version}\"\n")), "{chart}");
    }
}
