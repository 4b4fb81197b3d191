//! Limits of the process and of its threads.

use loader::Keep;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tracing::{debug, warn};

/// Raises the soft limit of open descriptors to the hard one: each connection takes one or two (the pipes of
/// large bodies are bounded by themselves: 64 a thread), and the usual soft limit of 1,024 is for programs that use select(2).
pub(crate) fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes to the struct that it is given, and nothing else.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0
        || limit.rlim_cur >= limit.rlim_max
    {
        return;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit only reads the struct.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        debug!(before, now = limit.rlim_cur, "raised the limit of open descriptors");
    } else {
        warn!(
            limit = before,
            "cannot raise the limit of open descriptors: raise it with `ulimit -n` or LimitNOFILE"
        );
    }
}

/// Takes all capabilities from the calling thread. The main thread keeps them, to open sockets and to load and attach programs, and
/// [`Privileged`](super::privileged::Privileged), and for seconds the one that makes tables larger: who reads what strangers send has none that could be turned against the machine.
pub(crate) fn confine() {
    keep(Keep::Nothing);
}

/// The same for a thread that opens files by their names.
pub(crate) fn confine_to_files() {
    keep(Keep::Files);
}

/// The same for a thread that announces addresses.
pub(crate) fn confine_to_network() {
    keep(Keep::Network);
}

fn keep(kept: Keep) {
    if let Err(error) = loader::give_up_capabilities(kept) {
        warn!(%error, "a thread keeps capabilities that it does not need");
    }
}

/// Lets SIGTERM and SIGINT end the process at once, with success, whichever thread gets them.
pub(super) fn end_on_signals() -> nix::Result<()> {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: _exit(2) may be called in a signal handler (signal-safety(7)).
        unsafe { libc::_exit(0) }
    }
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: the handler does nothing but to end the process.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}
