//! Where objects come from.

use std::path::PathBuf;
use std::sync::Arc;

use addresses::Announced;
use anyhow::{Context, ensure};
use kubernetes::{AddressMode, Connection, IngressReach, Writing};
use tokio::sync::watch::Receiver;
use translate::{Loaded, Place};

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
    /// Follows a source from now on. `announced`: what nodes announce, where they do.
    pub(super) fn start(
        source: Source,
        settings: &Settings,
        announced: Option<Receiver<Announced>>,
    ) -> anyhow::Result<Self> {
        Ok(match source {
            Source::Files(paths) => {
                let options = settings.translate_options();
                let (loaded, handle) = files::watch(paths, options, super::limits::confine_to_files)
                    .context("cannot watch the files")?;
                Self::Files(loaded, handle)
            }
            Source::Cluster(connection) => {
                let writing = Writing { announced, ..writing(&connection, settings)? };
                let place = Place { node: super::node_name(), zone: None };
                let options = translate::Options { place, ..settings.cluster_options() };
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
///
/// # Errors
/// The settings name two modes of addresses.
fn writing(connection: &Connection, settings: &Settings) -> anyhow::Result<Writing> {
    let said = &settings.addresses;
    let namespace = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
    ensure!(
        said.service.is_none() || (said.pool.is_empty() && said.nodes.is_empty()),
        "addresses.service is set beside addresses.pool or addresses.nodes: Gateways have addresses of one of them; leave out the others"
    );
    let shared = match (&said.service, namespace.clone(), super::pod_name()) {
        (Some(service), ..) => {
            AddressMode::Service { namespace: service.namespace.clone(), name: service.name.clone() }
        }
        _ if !said.nodes.is_empty() => AddressMode::Fixed(said.nodes.clone()),
        // What Gateways have of a pool is all that is asked for.
        _ if !said.pool.is_empty() && !said.ingresses.is_empty() => AddressMode::Fixed(Vec::new()),
        (None, Some(namespace), Some(pod)) => AddressMode::Nodes { namespace, pod },
        // No Pod, so no node says where it runs.
        _ => AddressMode::Fixed(connection.local_address().into_iter().collect()),
    };
    let addresses = match said.pool.as_slice() {
        [] => shared,
        ranges => AddressMode::Pool { pool: ranges.iter().copied().collect(), others: Box::new(shared) },
    };
    // Process 1 of a Pod on the host's network has the node's name, and so has that of the Pod before it.
    let identity = super::pod_name().unwrap_or_else(|| {
        // A machine without a name has at least a process number.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}", host.trim(), std::process::id())
    });
    // Without own ones the mode's count.
    let ingresses = IngressReach {
        published: said.ingresses.clone(),
        listener: settings.listen.addresses.clone(),
        https: settings.listen_https().addresses,
    };
    Ok(Writing { addresses, ingresses, announced: None, namespace, identity })
}
