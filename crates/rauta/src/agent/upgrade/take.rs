//! The new agent's part.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use api::SharedControlSocket;
use model::Transport;
use proxy::ListeningSocket;

use super::channel::{Channel, is_ours};
use super::{Message, PROTOCOL, Purpose};
use crate::agent::control::SharedSockets;
use crate::settings::Settings;

/// The agent that is taken over from: it serves as before until [`Predecessor::serving`].
#[derive(Debug)]
pub(in crate::agent) struct Predecessor {
    channel: Channel,
    path: PathBuf,
}

/// Its sockets.
#[derive(Debug)]
pub(in crate::agent) struct Inherited {
    /// Those of traffic.
    pub(in crate::agent) traffic: Vec<ListeningSocket>,
    /// Those of looking at the agent.
    pub(in crate::agent) control: SharedSockets,
}

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub(in crate::agent) enum TakeError {
    /// The other agent is there, and something went wrong.
    #[error("cannot take over from the agent at {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Whoever listens there is none of ours.
    #[error("{} is another user's (uid {uid}): nothing is taken from there", path.display())]
    Stranger { path: PathBuf, uid: u32 },
    /// It does not want to.
    #[error("cannot take over: {why}")]
    Refused { why: String },
    /// It ends by itself.
    #[error("cannot take over: the agent at work is stopping already: start this one when it is gone")]
    Ending,
    /// It ended, or says something that is not understood.
    #[error("the agent at {} ended or says what is not understood; nothing was taken over", path.display())]
    Broken { path: PathBuf },
}

/// What became of the agent that was taken over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Left {
    /// It has left everything.
    Released,
    /// It does not answer any more: dead, or it has given up waiting.
    Gone,
}

/// Asks the agent behind the control socket for its sockets; none: there is no agent.
///
/// # Errors
/// [`TakeError`]: there is one, and it cannot be taken over from. It goes on.
pub(in crate::agent) fn ask(settings: &Settings) -> Result<Option<(Predecessor, Inherited)>, TakeError> {
    let path = super::path(&settings.socket);
    let channel = match Channel::connect(&path) {
        Ok((channel, who)) if is_ours(&who) => channel,
        Ok((_, who)) => return Err(TakeError::Stranger { path, uid: who.uid() }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(TakeError::Io { path, source }),
    };
    match converse(&channel, super::kernel_programs(settings)) {
        Ok(Some(inherited)) => Ok(Some((Predecessor { channel, path }, inherited))),
        Ok(None) => Err(TakeError::Broken { path }),
        Err(Refusal::Ending) => Err(TakeError::Ending),
        Err(Refusal::Said(why)) => Err(TakeError::Refused { why }),
        Err(Refusal::Io(source)) => Err(TakeError::Io { path, source }),
    }
}

impl Predecessor {
    /// Says that this agent serves, and waits until the other has left everything to it.
    ///
    /// # Errors
    /// [`TakeError`] if it does not answer in time, or wants to stop instead.
    pub(in crate::agent) fn serving(self) -> Result<Left, TakeError> {
        let Self { channel, path } = self;
        let io = |source| TakeError::Io { path: path.clone(), source };
        match channel.send(&Message::Serving, &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Left::Gone),
            sent => sent.map_err(io)?,
        }
        match channel.receive().map_err(io)? {
            Some((Message::Released, _)) => Ok(Left::Released),
            None => Ok(Left::Gone),
            Some((Message::Refused { why }, _)) => Err(TakeError::Refused { why }),
            Some((Message::Ending, _)) => Err(TakeError::Ending),
            Some(_) => Err(TakeError::Broken { path }),
        }
    }
}

enum Refusal {
    Said(String),
    Ending,
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn converse(channel: &Channel, kernel: Option<String>) -> Result<Option<Inherited>, Refusal> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    channel.send(&Message::Ask { protocol: PROTOCOL, version, pid: std::process::id(), kernel }, &[])?;
    let mut all = Vec::new();
    loop {
        match channel.receive()? {
            Some((Message::Sockets { sockets, more }, descriptors)) if sockets.len() == descriptors.len() => {
                all.extend(sockets.into_iter().zip(descriptors));
                if !more {
                    return Ok(sorted(all));
                }
            }
            Some((Message::Refused { why }, _)) => return Err(Refusal::Said(why)),
            Some((Message::Ending, _)) => return Err(Refusal::Ending),
            _ => return Ok(None),
        }
    }
}

/// Each where it belongs; none if there is no control socket among them.
fn sorted(all: Vec<(Purpose, OwnedFd)>) -> Option<Inherited> {
    let mut traffic = Vec::new();
    let (mut listener, mut lock, mut admin, mut metrics) = (None, None, None, None);
    for (purpose, socket) in all {
        match purpose {
            Purpose::Tcp(address) => {
                traffic.push(ListeningSocket { transport: Transport::Tcp, address, socket });
            }
            Purpose::Udp(address) => {
                traffic.push(ListeningSocket { transport: Transport::Udp, address, socket });
            }
            Purpose::Control => listener = Some(socket),
            Purpose::ControlLock => lock = Some(socket),
            Purpose::Admin => admin = Some(socket),
            Purpose::Metrics => metrics = Some(socket),
        }
    }
    let socket = SharedControlSocket { listener: listener?, lock: lock? };
    Some(Inherited { traffic, control: SharedSockets { socket, admin, metrics } })
}

#[cfg(test)]
mod tests {
    use super::super::channel::Door;
    use super::*;

    #[test]
    fn what_became_of_the_other_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let door = Door::open(&path).unwrap();
        let ask = || {
            let new = Predecessor { channel: Channel::connect(&path).unwrap().0, path: path.clone() };
            (new, door.accept().unwrap().0)
        };
        let (new, old) = ask();
        drop(old);
        assert_eq!(new.serving().unwrap(), Left::Gone);
        let (new, old) = ask();
        old.send(&Message::Refused { why: "it stops".to_owned() }, &[]).unwrap();
        assert_eq!(new.serving().unwrap_err().to_string(), "cannot take over: it stops");
        let (new, old) = ask();
        old.send(&Message::Ending, &[]).unwrap();
        assert!(matches!(new.serving(), Err(TakeError::Ending)));
        let (new, old) = ask();
        old.send(&Message::Released, &[]).unwrap();
        assert_eq!(new.serving().unwrap(), Left::Released);
        let (new, old) = ask();
        old.send(&Message::Serving, &[]).unwrap();
        assert!(matches!(new.serving(), Err(TakeError::Broken { .. })));
    }
}
