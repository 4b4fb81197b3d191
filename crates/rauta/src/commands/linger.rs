//! An agent that another one has taken over from, where its end would be taken for a failure: a kubelet starts again what
//! ends, and the new process would take over in turn.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use tracing::info;

/// Makes this process one that only waits: nothing stays open, no socket, no lock, no memory of what was served.
///
/// # Errors
/// The program cannot be executed again.
pub(crate) fn become_idle() -> anyhow::Result<Infallible> {
    info!("waiting to be stopped");
    // Blocked from here on, and in the new program: a signal in between waits there.
    signals().thread_block().context("cannot block signals")?;
    let error = Command::new("/proc/self/exe").arg0("rauta").arg("linger").exec();
    Err(error).context("cannot execute /proc/self/exe to wait to be stopped")
}

/// Waits for SIGTERM or SIGINT.
pub(crate) fn wait() -> anyhow::Result<ExitCode> {
    let signals = signals();
    signals.thread_block().context("cannot block signals")?;
    signals.wait().context("cannot wait for signals")?;
    Ok(ExitCode::SUCCESS)
}

fn signals() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals
}
