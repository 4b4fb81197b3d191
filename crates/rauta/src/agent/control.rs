//! The thread of everything that is not traffic: control socket, status page, metrics.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use admin::{AdminView, HttpSocket};
use anyhow::Context;
use api::{ControlSocket, ControlView, SharedControlSocket};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::limits;
use super::state::Agent;
use super::upgrade::Left;
use crate::settings::Settings;

/// Everything bound, nothing served yet: what cannot be had is known before anything else starts.
pub(crate) struct Bound {
    socket: ControlSocket,
    admin: Option<HttpSocket>,
    metrics: Option<HttpSocket>,
}

/// Other descriptors of what is bound.
#[derive(Debug)]
pub(super) struct SharedSockets {
    pub(super) socket: SharedControlSocket,
    pub(super) admin: Option<OwnedFd>,
    pub(super) metrics: Option<OwnedFd>,
}

/// Binds the control socket, the admin and the metrics address, or takes them over where they are the same.
pub(super) fn bind(settings: &Settings, inherited: Option<SharedSockets>) -> anyhow::Result<Bound> {
    let (socket, admin, metrics) = match inherited {
        Some(SharedSockets { socket, admin, metrics }) => {
            (ControlSocket::take_over(&settings.socket, socket)?, admin, metrics)
        }
        None => (api::bind(&settings.socket)?, None, None),
    };
    let admin = http(settings.admin, admin, "the status page", "--admin")?;
    let metrics = http(settings.metrics, metrics, "metrics", "--metrics")?;
    Ok(Bound { socket, admin, metrics })
}

fn http(
    address: Option<SocketAddr>,
    inherited: Option<OwnedFd>,
    purpose: &'static str,
    flag: &'static str,
) -> anyhow::Result<Option<HttpSocket>> {
    let Some(address) = address else { return Ok(None) };
    let inherited = inherited.map(HttpSocket::take_over).transpose();
    match inherited.with_context(|| format!("cannot take over the socket of {purpose}"))? {
        Some(socket) if socket.address == address => Ok(Some(socket)),
        _ => Ok(Some(admin::bind(address, purpose, flag)?)),
    }
}

impl Bound {
    /// Makes the control socket this agent's, where it was another one's. That one has left it, or is gone: then the lock is
    /// taken anew, which fails while it lives.
    pub(super) fn claim(self, left: Left, settings: &Settings) -> anyhow::Result<Self> {
        let Self { mut socket, admin, metrics } = self;
        if left == Left::Gone {
            drop(socket);
            socket = api::bind(&settings.socket)?;
        }
        socket.claim()?;
        Ok(Self { socket, admin, metrics })
    }

    /// Other descriptors, for an agent that takes over.
    pub(super) fn share(&self) -> io::Result<SharedSockets> {
        let share = |socket: &Option<HttpSocket>| socket.as_ref().map(HttpSocket::share).transpose();
        Ok(SharedSockets {
            socket: self.socket.share()?,
            admin: share(&self.admin)?,
            metrics: share(&self.metrics)?,
        })
    }
}

/// The running thread.
pub(crate) struct Control {
    stop: oneshot::Sender<End>,
    /// It gives back what has a path, which is removed with the rights of the thread that made it.
    thread: JoinHandle<Option<ControlSocket>>,
}

/// How the control socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Removed,
    Left,
}

impl Control {
    /// Starts serving.
    pub(crate) fn start(bound: Bound, agent: &Arc<Agent>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let agent = Arc::clone(agent);
        let thread = std::thread::Builder::new()
            .name("rauta-control".to_owned())
            .spawn(move || {
                limits::confine();
                let socket = runtime.block_on(serve(bound, agent, stopped));
                // Questions to the kernel may take seconds yet; nobody waits for their answer any more.
                runtime.shutdown_background();
                socket
            })
            .context("cannot start the control thread")?;
        Ok(Self { stop, thread })
    }

    /// Closes everything and removes the control socket.
    pub(crate) fn stop(self) {
        self.end(End::Removed);
    }

    /// Leaves everything to the agent that has taken over.
    pub(super) fn leave(self) {
        self.end(End::Left);
    }

    fn end(self, end: End) {
        // An error means that the thread has ended already.
        let _ = self.stop.send(end);
        drop(self.thread.join());
    }
}

async fn serve(
    bound: Bound,
    agent: Arc<Agent>,
    mut stopped: oneshot::Receiver<End>,
) -> Option<ControlSocket> {
    if let Some(admin) = bound.admin {
        info!("status page on http://{}/", admin.address);
        tokio::spawn(report(
            "status page",
            admin::serve_admin(admin, Arc::clone(&agent) as Arc<dyn AdminView>),
        ));
    }
    if let Some(metrics) = bound.metrics {
        info!("metrics on http://{}/metrics", metrics.address);
        tokio::spawn(report("metrics", admin::serve_metrics(metrics, Arc::clone(&agent.metrics))));
    }
    let control = api::serve(&bound.socket, agent as Arc<dyn ControlView>, std::future::pending());
    let end = tokio::select! {
        result = control => {
            if let Err(error) = result {
                error!("the control socket is no longer served: {:#}", anyhow::Error::from(error));
            }
            // The others go on.
            stopped.await
        },
        end = &mut stopped => end,
    };
    if end == Ok(End::Left) {
        bound.socket.leave();
        return None;
    }
    Some(bound.socket)
}

async fn report(what: &str, serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        error!("the {what} is no longer served: {error}");
    }
}
