//! The lab: namespaces and the wires between them.

pub(crate) mod builder;
pub(crate) mod netns;
pub(crate) mod sweep;
mod wiring;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::faults::{Faults, FaultyNetwork};
use crate::process::Process;
use builder::LabBuilder;
use netns::Netns;

/// Why a lab cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Not root.
    #[error("the lab makes network namespaces, which needs root: run this with sudo")]
    NotRoot,
    /// A program is missing.
    #[error("cannot run {program}: install the Debian package {package} (`./x setup` does)")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// A namespace is gone or never was.
    #[error("there is no network namespace {name}: `./x lab up` makes the named lab")]
    NoNamespace {
        /// Its name.
        name: String,
    },
}

/// A network of its own: a switch, clients, the gateway and endpoints, each in its namespace.
///
/// ```text
///  client 10.77.0.2 ─┐                                              ┌─ b0 10.77.1.11
///                    ├─ front ─ 10.77.0.1 gateway 10.77.1.1 ─ back ─┤
/// client2 10.77.0.3 ─┘                                              └─ b1 10.77.1.12 …
/// ```
///
/// The gateway's interfaces are `front0` and `back0`; every other one is `eth0`. The gateway also routes packets, so
/// that clients reach endpoints without any proxy.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    keep: bool,
    switch: Netns,
    gateway: Netns,
    clients: Vec<Netns>,
    backends: Vec<Netns>,
    folder: tempfile::TempDir,
}

impl Lab {
    /// Starts from one endpoint, two clients, MTU 1500 and all offloads on.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// The namespace of the gateway.
    pub fn gateway(&self) -> &Netns {
        &self.gateway
    }

    /// The namespace of the first client.
    pub fn client(&self) -> &Netns {
        &self.clients[0]
    }

    /// The namespace of the second client.
    pub fn client_two(&self) -> &Netns {
        &self.clients[1]
    }

    /// The namespace of endpoint `index`.
    pub fn backend(&self, index: usize) -> &Netns {
        &self.backends[index]
    }

    /// How many endpoint namespaces there are.
    pub fn backend_count(&self) -> usize {
        self.backends.len()
    }

    /// The namespace of the bridges.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// A folder of this lab for configuration and logs; removed with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Mounts a BPF file system in the lab's folder (once) and says where: pins of this lab meet nobody else's.
    ///
    /// # Errors
    /// The kernel has none, or this may not mount.
    pub fn bpffs(&self) -> Result<std::path::PathBuf> {
        let path = self.folder().join(sweep::BPFFS);
        if !path.exists() {
            std::fs::create_dir(&path)?;
            nix::mount::mount(Some("bpf"), &path, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
                .with_context(|| format!("cannot mount a BPF file system at {}", path.display()))?;
        }
        Ok(path)
    }

    /// Makes every wire of the lab faulty until the guard is dropped. One guard at a time.
    ///
    /// # Errors
    /// The kernel has no tcx hook (Linux 6.6) or no token bucket filter.
    pub fn faults(&self, faults: Faults) -> Result<FaultyNetwork> {
        FaultyNetwork::start(self, faults, &wiring::ports(self))
    }

    /// What the names of this lab's namespaces begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Starts `command` in `netns`; its output goes to `NAME.log` in the lab's folder.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self, netns: &Netns, name: &str, command: Command) -> Result<Process> {
        Process::spawn(Some(netns), name, command, self.folder())
    }

    /// Takes away the namespaces (and the processes in them) of runs that no longer live. Every build does it.
    ///
    /// # Errors
    /// `ip` cannot be run.
    pub fn sweep() -> Result<usize> {
        sweep::sweep()
    }

    /// Takes away the named lab `prefix` with everything that runs in it. True if there was one.
    ///
    /// # Errors
    /// `ip` cannot be run.
    pub fn remove(prefix: &str) -> Result<bool> {
        sweep::remove(prefix)
    }

    fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        [&self.switch, &self.gateway].into_iter().chain(&self.clients).chain(&self.backends)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for netns in self.namespaces() {
            sweep::delete(netns.name());
        }
        sweep::unmount(self.folder());
    }
}

/// Runs `ip` with these arguments.
fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", "iproute2", arguments, None)
}

/// Runs a program of the lab's making, with `input`; its complaint becomes the error.
pub(crate) fn run(
    program: &'static str,
    package: &'static str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<()> {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|_| LabError::Missing { program, package })?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).with_context(|| format!("cannot write to {program}"))?;
    }
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "`{program} {}` failed: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim(),
        input.map(|text| format!("\ninput was:\n{text}")).unwrap_or_default(),
    );
    Ok(())
}
