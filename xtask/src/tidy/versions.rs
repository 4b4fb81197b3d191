//! Dependencies that must not be older than the release that mended them.

use super::metadata::Metadata;

/// Crate, first good version, and what the ones before it suffer from.
const MINIMA: &[(&str, [u64; 3], &str)] = &[
    ("h2", [0, 4, 18], "RUSTSEC-2026-0258: unbounded empty DATA frames"),
    ("rustls-webpki", [0, 103, 13], "RUSTSEC-2026-0049, 0098, 0099, 0104"),
    ("quinn-proto", [0, 11, 15], "RUSTSEC-2026-0037, 0185"),
    ("aws-lc-sys", [0, 39, 0], "RUSTSEC-2026-0044 to 0048"),
    ("hyper", [0, 14, 10], "RUSTSEC-2021-0078, 0079: request smuggling"),
    ("rustls", [0, 23, 18], "RUSTSEC-2024-0399: panic in Acceptor"),
    ("tonic", [0, 12, 3], "RUSTSEC-2024-0376: denial of service at accept"),
];

/// Crates that nobody maintains any more.
const RETIRED: &[(&str, &str)] = &[
    ("rustls-pemfile", "use rustls-pki-types"),
    ("serde_yaml", "use serde-saphyr"),
    ("dotenv", "not needed"),
];

/// Says each dependency that is too old or retired.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        for (name, minimum, why) in MINIMA {
            if package.name == *name && numbers(&package.version) < *minimum {
                let [major, minor, patch] = minimum;
                findings.push(format!(
                    "{name} {} is older than {major}.{minor}.{patch} ({why}): cargo update -p {name}",
                    package.version
                ));
            }
        }
        if let Some((name, instead)) = RETIRED.iter().find(|(name, _)| package.name == *name) {
            findings.push(format!("{name} {} is unmaintained: {instead}", package.version));
        }
    }
    findings
}

/// Major, minor and patch; a pre-release counts as its release.
fn numbers(version: &str) -> [u64; 3] {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn findings(name: &str, version: &str) -> Vec<String> {
        check(
            &serde_json::from_value(json!({"workspace_root": "/w", "workspace_members": [], "packages": [
                {"id": name, "name": name, "version": version, "license": "MIT", "source": null,
                 "manifest_path": "/w/Cargo.toml", "dependencies": []}]}))
            .unwrap(),
        )
    }

    #[test]
    fn old_and_retired_crates_are_named() {
        assert_eq!(findings("h2", "0.4.17").len(), 1);
        assert_eq!(findings("h2", "0.3.99").len(), 1);
        assert!(findings("h2", "0.4.18").is_empty());
        assert!(findings("h2", "0.5.0").is_empty());
        assert!(findings("rustls-webpki", "0.103.9")[0].contains("0.103.13"));
        assert_eq!(findings("serde_yaml", "0.9.34+deprecated").len(), 1);
        assert!(findings("serde", "1.0.0").is_empty());
    }
}
