//! The newest kernel of a series that a suite has, by the suite's own index. apt checks the signature, with a configuration of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::pins::Package;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const FLAVOUR: &str = "-cloud-amd64";

/// Finds it. `folder` is for apt.
///
/// # Errors
/// There is no apt, it does not reach the mirror, or the suite has no such kernel.
pub(super) fn newest(series: &str, suite: &str, mirror: &str, folder: &Path) -> Result<Vec<Package>> {
    let config = configure(suite, mirror, folder)?;
    ask(&config, "apt-get", &["update", "-qq"])?;
    let names = ask(&config, "apt-cache", &["pkgnames", "linux-"])?;
    let chosen = choose(series, &names);
    ensure!(!chosen.is_empty(), "{suite} at {mirror} has no kernel {series}");
    chosen
        .iter()
        .map(|name| {
            let said = ask(&config, "apt-cache", &["show", "--no-all-versions", name])?;
            let field = |field: &str| {
                let found = said.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
                found.map(str::to_owned).with_context(|| format!("{name} in {suite} has no {field}"))
            };
            Ok(Package { suite: suite.to_owned(), sha256: field("SHA256")?, path: field("Filename")? })
        })
        .collect()
}

/// Of package names the newest kernel's: it and its modules apart, or both in one.
fn choose(series: &str, names: &str) -> Vec<String> {
    let versions = |prefix: &str| -> Vec<String> {
        let versions = names.lines().filter_map(|name| name.strip_prefix(prefix));
        let of_series = versions.filter(|version| version.ends_with(FLAVOUR));
        of_series
            .filter(|version| version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.')))
            .map(str::to_owned)
            .collect()
    };
    let (binaries, images) = (versions("linux-binary-"), versions("linux-image-"));
    let Some(newest) = binaries.iter().chain(&images).max_by_key(|version| numbers(version)) else {
        return Vec::new();
    };
    let kinds: &[&str] = if binaries.contains(newest) { &["binary", "modules"] } else { &["image"] };
    kinds.iter().map(|kind| format!("linux-{kind}-{newest}")).collect()
}

/// `6.1.0-50-cloud-amd64` is older than `6.1.0-100-cloud-amd64`.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// apt's files for this suite alone; the configuration's path.
fn configure(suite: &str, mirror: &str, folder: &Path) -> Result<String> {
    for made in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(made))?;
    }
    fs::write(folder.join("sources.list"), format!("deb [signed-by={KEYS}] {mirror} {suite} main\n"))?;
    let (config, folder) = (folder.join("apt.conf"), folder.display());
    fs::write(
        &config,
        format!(
            "Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"-\";\nDir::State::lists \"{folder}/lists\";\n\
             Dir::State::status \"/dev/null\";\nDir::Cache \"{folder}/cache\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures \"amd64\";\nAPT::Sandbox::User \"root\";\n"
        ),
    )?;
    Ok(config.display().to_string())
}

fn ask(config: &str, program: &str, words: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.env("APT_CONFIG", config).args(words).output();
    let output =
        output.with_context(|| format!("cannot run {program}, which knows Debian's newest kernels"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", words.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_number_and_comes_with_its_modules() {
        let names = "linux-image-6.1.0-47-cloud-amd64\nlinux-image-6.1.0-100-cloud-amd64\nlinux-image-6.1.0-200-amd64\n\
                     linux-image-6.1.0-300-cloud-amd64-unsigned\nlinux-image-6.12.94+deb13-cloud-amd64\n\
                     linux-image-7.2.9+deb13-cloud-amd64\nlinux-image-7.2.12+deb13-cloud-amd64\n\
                     linux-binary-7.2.12+deb13-cloud-amd64\nlinux-binary-7.2.9+deb13-cloud-amd64\n\
                     linux-modules-7.2.12+deb13-cloud-amd64\nlinux-image-cloud-amd64\n";
        assert_eq!(choose("6.1", names), ["linux-image-6.1.0-100-cloud-amd64"]);
        assert_eq!(choose("6.12", names), ["linux-image-6.12.94+deb13-cloud-amd64"]);
        let split = ["linux-binary-7.2.12+deb13-cloud-amd64", "linux-modules-7.2.12+deb13-cloud-amd64"];
        assert_eq!(choose("7.2", names), split);
        assert_eq!(choose("5.10", names), [""; 0]);
    }
}
