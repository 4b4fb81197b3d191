//! Where objects come from.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use kubernetes::{AddressMode, Connection, IngressReach, Writing};
use tokio::sync::watch::Receiver;
use translate::Loaded;

use crate::settings::Settings;

/// What an agent serves from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files and folders.
    Files(Vec<PathBuf>),
    /// The API server of a cluster.
    Cluster(Box<Connection>),
}

impl Source {
    /// As users know it: paths, or a URL.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Files(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
            Self::Cluster(connection) => vec![connection.url()],
        }
    }
}

/// A source that is being followed.
pub(super) enum Watched {
    Files(Receiver<Arc<Loaded>>, #[expect(dead_code, reason = "following ends with it")] files::WatchHandle),
    Cluster(
        kubernetes::Followed,
        #[expect(dead_code, reason = "following ends with it")] kubernetes::WatchHandle,
    ),
}

impl Watched {
    /// Follows a source from now on.
    pub(super) fn start(source: Source, settings: &Settings) -> anyhow::Result<Self> {
        Ok(match source {
            Source::Files(paths) => {
                let options = settings.translate_options();
                let (loaded, handle) = files::watch(paths, options).context("cannot watch the files")?;
                Self::Files(loaded, handle)
            }
            Source::Cluster(connection) => {
                let writing = writing(&connection, settings);
                let options = settings.cluster_options();
                let (loaded, handle) =
                    kubernetes::watch(*connection, options, writing, super::limits::confine)
                        .context("cannot watch the cluster's objects")?;
                Self::Cluster(loaded, handle)
            }
        })
    }

    /// What was read last, which [`Watched::next`] does not give again; none: nothing was read yet.
    pub(super) fn latest(&mut self) -> Option<Arc<Loaded>> {
        match self {
            Self::Files(loaded, _) => Some(loaded.borrow_and_update().clone()),
            Self::Cluster(loaded, _) => loaded.borrow_and_update().clone(),
        }
    }

    /// Waits for something new, and gives it; none: nothing can come any more. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Arc<Loaded>> {
        loop {
            let is_alive = match self {
                Self::Files(loaded, _) => loaded.changed().await.is_ok(),
                Self::Cluster(loaded, _) => loaded.changed().await.is_ok(),
            };
            if !is_alive {
                return None;
            }
            if let Some(latest) = self.latest() {
                return Some(latest);
            }
        }
    }
}

/// How statuses are written.
fn writing(connection: &Connection, settings: &Settings) -> Writing {
    let said = &settings.addresses;
    let nodes = match said.nodes.as_slice() {
        [] => connection.local_address().into_iter().collect(),
        nodes => nodes.to_vec(),
    };
    let listener = match settings.listen.addresses.as_slice() {
        [] => nodes.clone(),
        own => own.to_vec(),
    };
    let ingresses = IngressReach { published: said.ingresses.clone(), listener };
    let addresses = match said.pool.as_slice() {
        [] => AddressMode::Nodes(nodes),
        pool => AddressMode::Pool(pool.iter().copied().collect()),
    };
    // Process 1 of a Pod on the host's network has the node's name, and so has that of the Pod before it.
    let identity = super::pod_name().unwrap_or_else(|| {
        // A machine without a name has at least a process number.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}", host.trim(), std::process::id())
    });
    Writing { addresses, ingresses, namespace: std::env::var("POD_NAMESPACE").ok(), identity }
}
