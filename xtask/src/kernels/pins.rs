//! Which packages are a series of kernels: `lab/kernels.txt`.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::paths;

/// A package of Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) suite: String,
    /// SHA-256 of the file, in hexadecimal digits.
    pub(super) sha256: String,
    /// Below the mirror's address.
    pub(super) path: String,
}

impl Package {
    /// The name of its file.
    pub(super) fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// As it is pinned.
    pub(super) fn line(&self, series: &str) -> String {
        format!("{series} {} {} {}", self.suite, self.sha256, self.path)
    }
}

/// The pinned packages of `series`.
///
/// # Errors
/// There are none.
pub(super) fn pinned(series: &str) -> Result<Vec<Package>> {
    let path = paths::root().join("lab/kernels.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let packages = parse(&text, series)?;
    ensure!(!packages.is_empty(), "{} has no kernel {series}", path.display());
    Ok(packages)
}

fn parse(text: &str, series: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [of, suite, sha256, path] = fields[..] else {
            anyhow::bail!("not a series, a suite, a sum and a path: {line}");
        };
        ensure!(sha256.len() == 64, "not a SHA-256: {line}");
        if of == series {
            packages.push(Package { suite: suite.into(), sha256: sha256.into(), path: path.into() });
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::super::SERIES;
    use super::*;

    #[test]
    fn every_series_is_pinned_with_packages_of_one_suite() {
        for series in SERIES {
            let packages = pinned(series.name).unwrap();
            for package in &packages {
                assert_eq!(package.suite, packages[0].suite);
                assert!(package.file().contains(&format!("-{}.", series.name)), "{package:?}");
            }
        }
    }

    #[test]
    fn a_line_is_what_was_pinned() {
        let line = format!("6.12 trixie {} pool/main/l/linux/a_1_amd64.deb", "0a".repeat(32));
        let packages = parse(&format!("# why\n{line}\n"), "6.12").unwrap();
        assert_eq!((packages[0].file(), packages[0].line("6.12")), ("a_1_amd64.deb", line.clone()));
        assert_eq!(parse(&line, "6.1").unwrap(), []);
        assert!(parse("6.12 trixie 0a pool/a.deb", "6.12").is_err());
        assert!(parse("6.12 trixie", "6.1").is_err());
    }
}
