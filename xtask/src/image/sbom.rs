//! What the program is made of: CycloneDX 1.6, one component for each crate.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::run::cargo;

/// The crates that are linked into `rauta` here, as JSON.
///
/// # Errors
/// cargo cannot be asked.
pub(super) fn sbom() -> Result<String> {
    let mut command = cargo(&["tree", "--locked", "--package", "rauta", "--edges", "normal"]);
    command.args(["--prefix", "none", "--no-dedupe", "--format", "{p}\t{l}"]);
    let output = command.output().context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(document(&String::from_utf8(output.stdout)?))
}

fn document(tree: &str) -> String {
    let lines: BTreeSet<&str> = tree.lines().collect();
    let components: Vec<Value> = lines.into_iter().filter_map(component).collect();
    let document = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": {"type": "application", "name": "rauta", "version": env!("CARGO_PKG_VERSION")}},
        "components": components,
    });
    format!("{document:#}\n")
}

/// `bytes v1.12.1⇥MIT`; ours have a path behind the version, others perhaps `(proc-macro)`.
fn component(line: &str) -> Option<Value> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let mut component = json!({"type": "library", "name": name, "version": version});
    if !package.contains("(/") {
        component["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
    }
    if !licence.is_empty() {
        // An old way to write OR.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_is_named_once_with_its_licence() {
        let tree = "rauta v0.1.0 (/x/crates/rauta)\tApache-2.0\nbytes v1.12.1\tMIT\nbytes v1.12.1\tMIT\n\
                    serde_derive v1.0.2 (proc-macro)\tMIT/Apache-2.0\n";
        let document: Value = serde_json::from_str(&document(tree)).unwrap();
        let components = document["components"].as_array().unwrap();
        assert_eq!(components.len(), 3);
        assert_eq!(components[0]["purl"], "pkg:cargo/bytes@1.12.1");
        assert_eq!(components[1]["name"], "rauta");
        assert!(components[1]["purl"].is_null());
        assert_eq!(components[2]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }
}
