//! Waiting for changes of the machine's network.

use std::io;
use std::time::Duration;

use loader::machine::Changes;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tracing::error;

use super::Kernel;

/// How long the network may go on changing before it is looked at: several changes in a row are one.
const SETTLE: Duration = Duration::from_millis(30);

/// News of the machine's network, if there are kernel programs to follow it.
pub(super) struct Network(Option<AsyncFd<Changes>>);

impl Network {
    /// Begins to listen.
    ///
    /// # Errors
    /// What the kernel answers to that.
    pub(super) fn listen(kernel: &Kernel) -> io::Result<Self> {
        let Some(changes) = kernel.changes()? else { return Ok(Self(None)) };
        // SAFETY: `Changes` owns its descriptor, never exchanges it, and closes it when it is dropped by the `AsyncFd`.
        let registered = unsafe { AsyncFd::register(changes) };
        Ok(Self(Some(registered?)))
    }

    /// Waits until something has changed; for ever without kernel programs.
    pub(super) async fn changed(&self) {
        if let Self(Some(network)) = self {
            while let Ok(mut ready) = network.readable().await {
                sleep(SETTLE).await;
                ready.clear_ready();
                match network.get_ref().take() {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => {
                        error!("changes of the network are no longer followed: {error}; restart the agent");
                        break;
                    }
                }
            }
        }
        std::future::pending().await
    }
}
