//! Programs that stand for images.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testkit::cluster::{Images, Program};

/// `NAME=PROGRAM` of a command line.
pub(super) fn parse(text: &str) -> Result<(String, PathBuf), String> {
    let (name, program) = text.split_once('=').ok_or("must be NAME=PROGRAM: rauta=target/debug/rauta")?;
    let program = fs::canonicalize(program).map_err(|error| format!("{program}: {error}"))?;
    Ok((name.to_owned(), program))
}

/// Those of `own`, then the conformance suite's and a `shell`. What they need beside themselves goes into `folder`.
pub(super) fn table(own: &[(String, PathBuf)], folder: &Path) -> Result<Images> {
    // One test asks the suite's CoreDNS a question, and any answer will do. Its arguments are CoreDNS's own.
    let dns = folder.join("dns");
    // A copy: the tests before may have built this program anew, which takes its file away.
    let own_program = folder.join("xtask");
    let _ = fs::remove_file(&own_program);
    fs::copy("/proc/self/exe", &own_program)
        .with_context(|| format!("cannot copy this program to {}", own_program.display()))?;
    fs::write(&dns, format!("#!/bin/sh\nexec '{}' cluster dns\n", own_program.display()))
        .with_context(|| format!("cannot write {}", dns.display()))?;
    fs::set_permissions(&dns, fs::Permissions::from_mode(0o755))?;
    let mut images = Images::default();
    for (name, program) in own {
        images = images.with(name, program);
    }
    Ok(images.with("echo-basic", Program::EchoBasic.path()?).with("coredns", dns).with("shell", "/bin/sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_on_the_command_line_has_a_name_and_a_program_that_exists() {
        assert_eq!(parse("shell=/bin/../bin").unwrap().0, "shell");
        assert!(parse("shell").unwrap_err().contains("NAME=PROGRAM"));
        assert!(parse("shell=/no/such").unwrap_err().contains("/no/such"));
    }
}
