//! The old agent's part.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use proxy::ListeningSocket;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::channel::{Channel, DESCRIPTORS_MAX, Door, is_ours};
use super::{Message, PROTOCOL, Purpose};
use crate::agent::control::SharedSockets;
use crate::agent::state::{Agent, Phase};
use crate::settings::Settings;

/// After an error that may not go away by itself at once, such as EMFILE.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for agents that want to take over.
pub(in crate::agent) struct Giver {
    path: PathBuf,
    /// Whether the path is another agent's by now.
    is_left: bool,
    given: Shared,
}

/// What is given beside the sockets of traffic: those of looking at the agent; none: they are closed.
type Shared = Arc<Mutex<Option<SharedSockets>>>;

/// An agent that serves, and waits to be told that all is its own.
#[derive(Debug)]
pub(in crate::agent) struct Successor {
    channel: Channel,
    /// Of its process.
    pub(in crate::agent) pid: u32,
    pub(in crate::agent) version: String,
    /// Whether it takes the kernel's programs.
    pub(in crate::agent) adopts: bool,
}

impl Successor {
    /// Tells it.
    pub(in crate::agent) fn released(&self) {
        if let Err(error) = self.channel.send(&Message::Released, &[]) {
            warn!(%error, pid = self.pid, "the agent that took over does not listen: nobody may serve now");
        }
    }
}

impl Giver {
    /// Begins to wait, in a thread of its own. Who serves in this agent's place comes out of the channel. Must be called with
    /// the lock of the control socket held: what is at the path is a leftover then.
    ///
    /// # Errors
    /// The socket or the thread cannot be had.
    pub(in crate::agent) fn start(
        settings: &Settings,
        agent: &Arc<Agent>,
        shared: SharedSockets,
    ) -> io::Result<(Self, mpsc::Receiver<Successor>)> {
        let path = super::path(&settings.socket);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let door = Door::open(&path)?;
        let (found, successors) = mpsc::channel(1);
        let (agent, kernel) = (Arc::downgrade(agent), super::kernel_programs(settings));
        let given = Arc::new(Mutex::new(Some(shared)));
        let shared = Arc::clone(&given);
        std::thread::Builder::new().name("rauta-upgrade".to_owned()).spawn(move || {
            crate::agent::limits::confine();
            wait(&door, &agent, (&shared, kernel.as_deref()), &found);
        })?;
        Ok((Self { path, is_left: false, given }, successors))
    }

    /// Leaves the path to the agent that has taken over.
    pub(in crate::agent) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        // Before the path goes: who finds nobody there binds the same addresses.
        drop(lock(&self.given).take());
        if !self.is_left {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is given beside the sockets of traffic, and kernel programs.
type Given<'g> = (&'g Shared, Option<&'g str>);

fn lock(shared: &Shared) -> MutexGuard<'_, Option<SharedSockets>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(door: &Door, agent: &Weak<Agent>, given: Given<'_>, found: &mpsc::Sender<Successor>) {
    loop {
        let asked = door.accept().and_then(|(channel, who)| {
            if !is_ours(&who) {
                warn!(
                    uid = who.uid(),
                    pid = who.pid(),
                    "refused to be taken over from: not our user, not root"
                );
                return Ok(None);
            }
            let Some(agent) = agent.upgrade() else { return Ok(None) };
            let asked = give(channel, &agent, given);
            if !matches!(asked, Ok(Some(_))) {
                agent.gateway.settle();
            }
            asked
        });
        match asked {
            Ok(Some(successor)) => {
                // Nobody waits any more when the agent stops just now: the successor sees its end.
                let _ = found.blocking_send(successor);
                return;
            }
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "an agent that wanted to take over did not: this one goes on");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Hands over, and waits until the other one serves. None: it does not.
fn give(channel: Channel, agent: &Agent, (shared, programs): Given<'_>) -> io::Result<Option<Successor>> {
    let Some((Message::Ask { protocol, version, pid, kernel }, _)) = channel.receive()? else {
        return Ok(None);
    };
    let why = if protocol != PROTOCOL {
        Some(format!(
            "the agent at work is of version {} and hands over in another way: stop it, then start this one without --upgrade",
            env!("CARGO_PKG_VERSION")
        ))
    } else {
        None
    };
    if let Some(why) = why {
        return refuse(&channel, why);
    }
    let sockets = match &*lock(shared) {
        Some(shared) if !is_ending(agent) => descriptors(agent.gateway.sockets()?, shared)?,
        _ => {
            channel.send(&Message::Ending, &[])?;
            return Ok(None);
        }
    };
    info!(pid, %version, "another agent takes over");
    let parts: Vec<_> = sockets.chunks(DESCRIPTORS_MAX).collect();
    for (i, part) in parts.iter().enumerate() {
        let (purposes, sockets): (Vec<_>, Vec<_>) =
            part.iter().map(|(purpose, socket)| (*purpose, socket.as_fd())).unzip();
        channel.send(&Message::Sockets { sockets: purposes, more: i + 1 < parts.len() }, &sockets)?;
    }
    match channel.receive()? {
        Some((Message::Serving, _)) if is_ending(agent) => {
            channel.send(&Message::Ending, &[])?;
            Ok(None)
        }
        Some((Message::Serving, _)) => {
            let adopts = kernel.is_some() && kernel.as_deref() == programs;
            Ok(Some(Successor { channel, pid, version, adopts }))
        }
        _ => {
            warn!(pid, %version, "the agent that wanted to take over ended before it served: this one goes on");
            Ok(None)
        }
    }
}

/// Whether an agent is told to end: it takes what it shares with it, so nothing can be taken over.
fn is_ending(agent: &Agent) -> bool {
    agent.phase() == Phase::Draining
}

fn refuse(channel: &Channel, why: String) -> io::Result<Option<Successor>> {
    warn!("another agent cannot take over: {why}");
    channel.send(&Message::Refused { why }, &[])?;
    Ok(None)
}

fn descriptors(sockets: Vec<ListeningSocket>, shared: &SharedSockets) -> io::Result<Vec<(Purpose, OwnedFd)>> {
    let mut all = vec![
        (Purpose::Control, shared.socket.listener.try_clone()?),
        (Purpose::ControlLock, shared.socket.lock.try_clone()?),
    ];
    for (purpose, socket) in [(Purpose::Admin, &shared.admin), (Purpose::Metrics, &shared.metrics)] {
        if let Some(socket) = socket {
            all.push((purpose, socket.try_clone()?));
        }
    }
    all.extend(sockets.into_iter().map(|s| (Purpose::of(s.transport, s.address), s.socket)));
    Ok(all)
}
