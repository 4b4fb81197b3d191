//! Licences and sources of what we build from, and of what we write.

use super::metadata::{Metadata, Package};

/// What dependencies may be under: each can be linked into an Apache-2.0 program without further duties than notice.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The crates that become part of the kernel's object: the kernel gives the helpers they need to GPL-compatible
/// programs only.
const IN_KERNEL: &[&str] = &["wire", "dataplane", "ebpf"];
const KERNEL_LICENCE: &str = "MIT OR GPL-2.0-only";
const LICENCE: &str = "Apache-2.0";

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Says each wrong licence and source.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        match &package.source {
            None => findings.extend(check_own(package, &metadata.workspace_root)),
            Some(source) => findings.extend(check_other(package, source)),
        }
    }
    findings
}

fn check_own(package: &Package, root: &str) -> Vec<String> {
    let Package { name, manifest_path, license, .. } = package;
    let mut findings = Vec::new();
    let wanted = if IN_KERNEL.contains(&name.as_str()) { KERNEL_LICENCE } else { LICENCE };
    match license.as_deref() {
        Some(found) if found == wanted => {}
        Some(found) => {
            findings.push(format!("{name}: license = \"{found}\" in {manifest_path}, must be \"{wanted}\""))
        }
        None => findings.push(format!("{name}: no license in {manifest_path}, must be \"{wanted}\"")),
    }
    // The kernel programs have a workspace of their own, two folders down, and use their neighbours.
    let root = root.strip_suffix("/crates/ebpf").unwrap_or(root);
    if !manifest_path.starts_with(&format!("{root}/")) {
        findings.push(format!("{name}: {manifest_path} is outside of the repository"));
    }
    findings
}

fn check_other(package: &Package, source: &str) -> Vec<String> {
    let Package { name, version, license, .. } = package;
    let mut findings = Vec::new();
    if source != CRATES_IO {
        findings.push(format!("{name} {version}: comes from {source}; dependencies come from crates.io"));
    }
    match license {
        Some(expression) if is_allowed(expression) => {}
        Some(expression) => {
            findings.push(format!("{name} {version}: licence {expression} is not among the allowed ones"));
        }
        None => findings.push(format!("{name} {version}: states no licence")),
    }
    findings
}

/// Whether an SPDX expression can be met with allowed licences. The old form `MIT/Apache-2.0` means OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    either(&mut words) && words.next().is_none()
}

type Words<'e> = std::iter::Peekable<std::str::SplitWhitespace<'e>>;

fn either(words: &mut Words<'_>) -> bool {
    let mut allowed = both(words);
    while words.next_if_eq(&"OR").is_some() {
        // Not short-circuited: the words must be consumed.
        let next = both(words);
        allowed = allowed || next;
    }
    allowed
}

fn both(words: &mut Words<'_>) -> bool {
    let mut allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        let next = one(words);
        allowed = allowed && next;
    }
    allowed
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let inner = either(words);
            words.next() == Some(")") && inner
        }
        Some(name) if words.next_if_eq(&"WITH").is_some() => {
            let exception = words.next().unwrap_or_default();
            ALLOWED.contains(&format!("{name} WITH {exception}").as_str())
        }
        Some(name) => ALLOWED.contains(&name),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0 WITH Other-exception", "(MIT", "", "MIT MIT"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn wrong_licences_and_sources_are_named() {
        let package = |name: &str, license: Option<&str>, source: Option<&str>, path: &str| {
            json!({"id": name, "name": name, "version": "1.2.3", "license": license, "source": source,
                   "manifest_path": path, "dependencies": []})
        };
        let metadata: Metadata = serde_json::from_value(json!({
            "workspace_root": "/w", "workspace_members": [],
            "packages": [
                package("wire", Some("Apache-2.0"), None, "/w/crates/wire/Cargo.toml"),
                package("dataplane", Some("MIT OR GPL-2.0-only"), None, "/w/crates/dataplane/Cargo.toml"),
                package("proxy", None, None, "/w/crates/proxy/Cargo.toml"),
                package("stray", Some("Apache-2.0"), None, "/elsewhere/Cargo.toml"),
                package("copyleft", Some("AGPL-3.0"), Some(CRATES_IO), "/r/Cargo.toml"),
                package("forked", Some("MIT"), Some("git+https://example.com/x"), "/r/Cargo.toml"),
                package("fine", Some("MIT"), Some(CRATES_IO), "/r/Cargo.toml"),
            ]
        }))
        .unwrap();
        let findings = check(&metadata);
        assert_eq!(findings.len(), 5, "{findings:#?}");
        for (finding, part) in findings.iter().zip([
            "wire: license = \"Apache-2.0\"",
            "proxy: no license",
            "stray: /elsewhere",
            "copyleft 1.2.3: licence AGPL-3.0",
            "forked 1.2.3: comes from git+",
        ]) {
            assert!(finding.contains(part), "{finding}");
        }
    }
}
