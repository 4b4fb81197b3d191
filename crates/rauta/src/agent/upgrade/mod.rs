//! An agent takes over from another one of the same machine: its listening sockets go over by SCM_RIGHTS (unix(7)), so that
//! no connection is refused.
//!
//! ```text
//!  new                                       old, at work
//!   │ ask: protocol, version, pid             │
//!   ├────────────────────────────────────────►│
//!   │            sockets, with descriptors    │  goes on as before; so it does if the new one ends now
//!   │◄────────────────────────────────────────┤
//!   │ loads its files, serves in userspace    │
//!   │ serving                                 │
//!   ├────────────────────────────────────────►│  accepts nothing more, leaves kernel programs and control socket
//!   │                            released     │
//!   │◄────────────────────────────────────────┤
//!   │ takes kernel programs, control socket   │  drains, ends
//!
//! Programs that the new one cannot take are removed by the old one, not left.
//! ```

mod channel;
mod give;
mod take;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::Transport;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

pub(super) use give::Giver;
pub(super) use take::{Inherited, Left, Predecessor, TakeError, ask};

/// What both must speak. Another number: another meaning of the messages.
const PROTOCOL: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Message {
    /// New to old: let me take over.
    /// `kernel`: the programs that can be taken over, as [`kernel_programs`] says; none: no programs are wanted.
    Ask { protocol: u32, version: String, pid: u32, kernel: Option<String> },
    /// Old to new: it cannot be.
    Refused { why: String },
    /// Old to new: I was told to end, and all will be free then.
    Ending,
    /// Old to new: what descriptors of this message are. `more`: others follow.
    Sockets { sockets: Vec<Purpose>, more: bool },
    /// New to old: I serve.
    Serving,
    /// Old to new: all is yours.
    Released,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Purpose {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Control,
    ControlLock,
    Admin,
    Metrics,
}

impl Purpose {
    fn of(transport: Transport, address: SocketAddr) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp(address),
            Transport::Udp => Self::Udp(address),
        }
    }
}

/// Kernel programs that one agent can take over from another: those of the same layout of maps at the same place.
fn kernel_programs(settings: &Settings) -> Option<String> {
    let dataplane = &settings.dataplane;
    let place = dataplane.pin_root.display();
    (dataplane.hook != loader::Hook::Off).then(|| format!("layout {} at {place}", wire::LAYOUT_VERSION))
}

/// Where an agent waits for the one that takes over: beside its control socket.
fn path(control: &Path) -> PathBuf {
    let mut path = control.as_os_str().to_owned();
    path.push(".upgrade");
    path.into()
}
