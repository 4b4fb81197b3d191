//! Which crate may use which: arrows point down, and some libraries belong to one crate alone.

use std::collections::BTreeSet;

use super::metadata::{Metadata, Package};

/// Ours, lowest first. A crate may use those on lower lines only: never one above it, never one beside it.
const LAYERS: &[&[&str]] = &[
    &["wire"],
    &["dataplane"],
    &["model", "ebpf"],
    &[
        "route",
        "balance",
        "compress",
        "policy",
        "telemetry",
        "resources",
        "tls",
        "jwt",
        "addresses",
        "netlink",
    ],
    &["translate", "http1", "kernel", "l4", "announce"],
    &["http2", "otlp"],
    &["proxy", "files", "kubernetes", "loader", "api", "admin"],
    &["rauta"],
];

/// Tools: may use everything. The lab and the corpora are dev-dependencies for all others.
const TOOLS: &[&str] = &["corpus", "testkit", "xtask"];

/// Libraries with one owner each, so that what they touch is touched in one place.
const OWNERS: &[(&str, &[&str])] = &[
    ("aya", &["loader"]),
    ("aya-obj", &["loader"]),
    ("aya-ebpf", &["ebpf"]),
    ("object", &["loader"]),
    ("notify", &["files"]),
    ("kube", &["resources", "translate", "kubernetes"]),
    ("k8s-openapi", &["resources", "translate"]),
    ("tonic", &["api"]),
    ("axum", &["admin"]),
    ("prometheus-client", &["telemetry"]),
    ("tracing-subscriber", &["telemetry"]),
    ("regex", &["route", "translate"]),
    ("rustls", &["tls"]),
    ("rustls-native-certs", &["tls"]),
    ("tokio-rustls", &["tls"]),
    ("x509-parser", &["tls"]),
    ("h2", &["http2"]),
    ("http", &["http2", "kubernetes"]),
    ("aws-lc-rs", &["tls", "jwt"]),
    ("brotli", &["compress"]),
    ("flate2", &["compress"]),
    ("zstd-safe", &["compress"]),
    ("hyper", &[]),
    ("reqwest", &[]),
    ("openssl", &[]),
];

/// Libraries that bring time, sockets or threads; the crates on the right decide without them.
const RUNTIME: &[&str] = &["tokio", "socket2", "nix", "libc", "mio", "async-std", "smol"];
const PURE: &[&str] = &[
    "wire",
    "dataplane",
    "model",
    "route",
    "balance",
    "compress",
    "policy",
    "jwt",
    "addresses",
    "resources",
    "translate",
    "http1",
    "kernel",
];

/// Says each forbidden edge.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let members: BTreeSet<&str> = metadata.members().map(|package| package.name.as_str()).collect();
    metadata.members().flat_map(|package| check_package(package, &members)).collect()
}

fn check_package(package: &Package, members: &BTreeSet<&str>) -> Vec<String> {
    let name = package.name.as_str();
    let mut findings = Vec::new();
    if TOOLS.contains(&name) {
        return findings;
    }
    let Some(own) = layer_of(name) else {
        findings
            .push(format!("{name}: has no layer; give it one in xtask/src/tidy/layers.rs (lowest first)"));
        return findings;
    };
    for dependency in &package.dependencies {
        let other = dependency.name.as_str();
        let is_dev = dependency.kind.as_deref() == Some("dev");
        if let Some(layer) = layer_of(other) {
            if layer > own && !is_dev {
                findings.push(format!(
                    "{name} (layer {own}) must not use {other} (layer {layer}): arrows point down"
                ));
            } else if layer == own && !is_dev {
                findings.push(format!(
                    "{name} must not use {other}: both are on layer {own}; move what they share below them"
                ));
            } else if layer > own {
                findings.push(format!(
                    "{name} (layer {own}) must not use {other} (layer {layer}) even for its tests: test it up there"
                ));
            }
            continue;
        }
        if TOOLS.contains(&other) {
            if !is_dev {
                findings
                    .push(format!("{name} must not use {other}: it is for tests only (dev-dependencies)"));
            }
            continue;
        }
        if members.contains(other) || is_dev {
            continue;
        }
        if let Some((_, owners)) = OWNERS.iter().find(|(library, _)| *library == other)
            && !owners.contains(&name)
        {
            let owners = if owners.is_empty() { "no crate".to_owned() } else { owners.join(" and ") };
            findings.push(format!("{name} must not use {other}: that is for {owners} only"));
        }
        if PURE.contains(&name) && RUNTIME.contains(&other) && dependency.kind.is_none() {
            findings.push(format!(
                "{name} must not use {other}: {name} decides without sockets, clocks and threads"
            ));
        }
    }
    findings
}

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Name, and dependencies with their kind.
    type Member<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    /// A workspace of these.
    fn workspace(packages: &[Member<'_>]) -> Metadata {
        let packages: Vec<_> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<_> =
                    dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
                json!({"id": name, "name": name, "version": "0.1.0", "license": "Apache-2.0", "source": null,
                       "manifest_path": format!("/w/crates/{name}/Cargo.toml"), "dependencies": dependencies})
            })
            .collect();
        let ids: Vec<_> = packages.iter().map(|package| package["id"].clone()).collect();
        serde_json::from_value(
            json!({"packages": packages, "workspace_members": ids, "workspace_root": "/w"}),
        )
        .unwrap()
    }

    fn findings(packages: &[Member<'_>]) -> String {
        check(&workspace(packages)).join("\n")
    }

    #[test]
    fn downward_edges_and_test_tools_pass() {
        let good = findings(&[
            ("wire", &[("zerocopy", None)]),
            ("model", &[("wire", None), ("proptest", Some("dev"))]),
            ("loader", &[("aya", None), ("wire", None), ("testkit", Some("dev"))]),
            ("rauta", &[("loader", None), ("tokio", None)]),
            ("testkit", &[("nix", None)]),
        ]);
        assert_eq!(good, "");
    }

    #[test]
    fn upward_sideways_and_foreign_edges_are_named() {
        for (bad, message) in [
            (("model", &[("proxy", None)] as &[_]), "model (layer 2) must not use proxy (layer 6)"),
            (("http1", &[("rauta", Some("build"))]), "http1 (layer 4) must not use rauta (layer 7)"),
            (("route", &[("proxy", Some("dev"))]), "even for its tests"),
            (("proxy", &[("files", None)]), "both are on layer 6"),
            (("proxy", &[("aya", None)]), "proxy must not use aya: that is for loader only"),
            (("admin", &[("rustls", None)]), "that is for tls only"),
            (("admin", &[("hyper", None)]), "that is for no crate only"),
            (("proxy", &[("testkit", None)]), "it is for tests only"),
            (("route", &[("tokio", None)]), "decides without sockets"),
            (("novel", &[]), "novel: has no layer"),
        ] {
            let found = findings(&[bad]);
            assert!(found.contains(message), "{message:?} not in {found:?}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }
}
