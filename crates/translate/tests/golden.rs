//! Objects in, routes, listeners, backends and diagnostics out, as text: `cases/*.yaml` and beside each its `.expected`.
//!
//! `UPDATE_EXPECTED=1 cargo test -p translate --test golden` writes what comes out; read the difference before committing.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use translate::{Object, Options, Place, Store};

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(cases.len() >= 8, "the cases are missing: {cases:?}");
    let mut failed = Vec::new();
    for case in cases {
        let found = run(&fs::read_to_string(&case).unwrap());
        let expected = case.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            failed.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(failed.is_empty(), "not as expected:\n{}", failed.join("\n"));
}

/// A first line `# cluster` stands for the options of a cluster, `# cluster: NODE ZONE` for a gateway that runs there, `# listenHttps` for a
/// port of HTTPS that somebody chose.
fn run(text: &str) -> String {
    let mut options =
        if text.starts_with("# cluster") { Options::for_cluster() } else { Options::for_files() };
    let place = text.lines().next().and_then(|line| line.strip_prefix("# cluster: "));
    if let Some((node, zone)) = place.and_then(|place| place.split_once(' ')) {
        options.place = Place { node: Some(node.to_owned()), zone: Some(zone.to_owned()) };
    }
    options.redirects_by_default = text.starts_with("# listenHttps");
    let mut store = Store::new(options);
    let mut out = String::new();
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    for document in documents {
        let kind =
            Object::kind_of(document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap());
        let object = Object::decode(kind.unwrap(), &document).unwrap();
        for diagnostic in store.apply(object).err().unwrap_or_default() {
            writeln!(out, "refused: {diagnostic}").unwrap();
        }
    }
    let built = store.build();
    for diagnostic in &built.diagnostics {
        writeln!(out, "{diagnostic}").unwrap();
    }
    let json = serde_json::to_value(&*built.snapshot).unwrap();
    for part in ["listeners", "routes", "l4_routes", "backends", "certificates"] {
        if part == "l4_routes" && json[part] == Value::Array(Vec::new()) {
            continue;
        }
        writeln!(out, "{part}:").unwrap();
        for record in json[part].as_array().unwrap() {
            writeln!(out, "  {record}").unwrap();
        }
    }
    let again = store.build();
    assert!(
        std::sync::Arc::ptr_eq(&built.snapshot, &again.snapshot),
        "nothing changed, so it is the same snapshot"
    );
    out
}
