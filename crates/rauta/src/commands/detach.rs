//! `rauta detach`: removes what an agent left in the kernel.

use std::process::ExitCode;

use anyhow::{Context, bail};
use loader::{Attachment, DetachError, PinError};

use crate::cli::DetachArgs;
use crate::output::print;
use crate::settings;

/// Removes programs and pins under the pin root of the settings, unless an agent runs on them.
pub(crate) fn run(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    let effective = settings::load(&args.settings, None, std::env::vars_os()).context("bad settings")?;
    let root = &effective.settings.dataplane.pin_root;
    match loader::detach_all(root) {
        Ok(removed) => print(&said(&removed, &root.display().to_string()))?,
        Err(DetachError::Pin(PinError::Busy { path })) => bail!(
            "an agent runs on the programs of {}: stop it; it removes them itself unless dataplane.onExit is keep",
            path.display()
        ),
        Err(error) => {
            return Err(anyhow::Error::from(error).context(format!(
                "cannot remove everything under {}: run this as root, in the network namespace of the agent",
                root.display()
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn said(removed: &[Attachment], root: &str) -> String {
    if removed.is_empty() {
        return format!("no programs of rauta are attached, and nothing is pinned under {root} any more\n");
    }
    let at = removed.iter().map(|at| format!("  {} ({})\n", at.interface, at.mechanism));
    format!("removed from the kernel, with the pins under {root}:\n{}", at.collect::<String>())
}

#[cfg(test)]
mod tests {
    use loader::Mechanism;

    use super::*;

    #[test]
    fn what_was_removed_is_listed() {
        let at = Attachment {
            interface: "eth0".into(),
            index: 2,
            mechanism: Mechanism::Tcx,
            pin: None,
            xdp: None,
        };
        let text = said(&[at], "/sys/fs/bpf/rauta");
        assert_eq!(text, "removed from the kernel, with the pins under /sys/fs/bpf/rauta:\n  eth0 (tcx)\n");
        assert!(said(&[], "/x").starts_with("no programs of rauta are attached"));
    }
}
