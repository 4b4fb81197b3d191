use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use super::LabError;

/// A named network namespace. The name goes with the [`super::Lab`]; clones keep the namespace itself alive.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Arc<str>,
    handle: Arc<File>,
}

impl Netns {
    /// Makes the namespace `name`, with its loopback up.
    pub(crate) fn create(name: &str) -> Result<Self> {
        super::ip(&["netns", "add", name])?;
        let netns = Self::open(name)?;
        super::ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Opens the existing namespace `name`.
    ///
    /// # Errors
    /// [`LabError::NoNamespace`] if there is none of this name.
    pub fn open(name: &str) -> Result<Self> {
        let handle =
            File::open(path_of(name)).map_err(|_| LabError::NoNamespace { name: name.to_owned() })?;
        Ok(Self { name: name.into(), handle: Arc::new(handle) })
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets `command` run in this namespace.
    pub fn place(&self, command: &mut Command) {
        let handle = Arc::clone(&self.handle);
        // SAFETY: setns(2) is a single system call on an open descriptor; nothing is allocated or locked after fork.
        unsafe {
            command.pre_exec(move || setns(&*handle, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from));
        }
    }

    /// Sets `/proc/sys/PATH` of this namespace, such as `net/ipv4/tcp_timestamps`.
    ///
    /// # Errors
    /// The kernel has no such knob, or refuses the value.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value))?
            .with_context(|| format!("cannot set {path} to {value} in {}", self.name))
    }

    /// Runs `work` on a thread in this namespace. Sockets made there stay in it, wherever they are used.
    ///
    /// # Errors
    /// The namespace cannot be entered (needs root), or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&*self.handle, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("cannot enter network namespace {}", self.name))?;
                    Ok(work())
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Where `ip netns` keeps `name`.
pub(super) fn path_of(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}
