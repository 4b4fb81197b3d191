//! The thread of everything that is not traffic: control socket, status page, metrics.

use std::sync::Arc;
use std::thread::JoinHandle;

use admin::{AdminView, HttpSocket};
use anyhow::Context;
use api::{ControlSocket, ControlView};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::state::Agent;
use crate::settings::Settings;

/// Everything bound, nothing served yet: what cannot be had is known before anything else starts.
pub(crate) struct Bound {
    socket: ControlSocket,
    admin: Option<HttpSocket>,
    metrics: Option<HttpSocket>,
}

/// Binds the control socket, the admin and the metrics address.
pub(crate) fn bind(settings: &Settings) -> anyhow::Result<Bound> {
    let socket = api::bind(&settings.socket)?;
    let admin = settings.admin.map(|at| admin::bind(at, "the status page", "--admin")).transpose()?;
    let metrics = settings.metrics.map(|at| admin::bind(at, "metrics", "--metrics")).transpose()?;
    Ok(Bound { socket, admin, metrics })
}

/// The running thread.
pub(crate) struct Control {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts serving.
    pub(crate) fn start(bound: Bound, agent: &Arc<Agent>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let agent = Arc::clone(agent);
        let thread = std::thread::Builder::new()
            .name("rauta-control".to_owned())
            .spawn(move || runtime.block_on(serve(bound, agent, stopped)))
            .context("cannot start the control thread")?;
        Ok(Self { stop, thread })
    }

    /// Closes everything and removes the control socket.
    pub(crate) fn stop(self) {
        // An error means that the thread has ended already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn serve(bound: Bound, agent: Arc<Agent>, mut stopped: oneshot::Receiver<()>) {
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
    let control = api::serve(bound.socket, agent as Arc<dyn ControlView>, std::future::pending());
    tokio::select! {
        result = control => if let Err(error) = result {
            error!("the control socket is no longer served: {:#}", anyhow::Error::from(error));
            // The others go on.
            let _ = stopped.await;
        },
        _ = &mut stopped => {}
    }
}

async fn report(what: &str, serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        error!("the {what} is no longer served: {error}");
    }
}
