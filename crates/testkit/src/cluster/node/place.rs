//! Nodes, and the place that each gives to a Pod: namespace and addresses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

use super::images::Images;
use super::network;
use crate::Netns;
use crate::cluster::Client;
use crate::lab::sweep;

/// A node: its namespace and its Pods' addresses.
#[derive(Debug)]
pub(super) struct Node {
    /// Counted from 0.
    pub(super) index: u8,
    /// Its name in the API.
    pub(super) name: String,
    /// What the names of namespaces begin with.
    prefix: String,
    /// Where it and its host-network Pods are.
    pub(super) netns: Netns,
    /// For its files.
    pub(super) folder: PathBuf,
    /// The programs of images.
    pub(super) images: Images,
    /// What each program finds in its environment.
    pub(super) environment: Vec<(String, String)>,
    /// Speaks to the API server.
    pub(super) client: Client,
    used: Mutex<Used>,
    stopping: AtomicBool,
}

impl Node {
    /// Makes the namespace of node `index` and wires it to the `control` plane's.
    pub(super) fn new(
        prefix: &str,
        index: u8,
        control: &Netns,
        folder: &Path,
        images: Images,
        environment: Vec<(String, String)>,
        client: Client,
    ) -> Result<Self> {
        let name = format!("node{index}");
        let netns = Netns::create(&format!("{prefix}-{name}"))?;
        network::node(control, &netns, index)?;
        let folder = folder.join(&name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            index,
            name,
            prefix: prefix.to_owned(),
            netns,
            folder,
            images,
            environment,
            client,
            used: Mutex::new(Used { now: BTreeSet::new(), last: 1 }),
            stopping: AtomicBool::new(false),
        })
    }

    /// Its addresses, IPv4 first.
    pub(super) fn addresses(&self) -> Vec<String> {
        let (v4, v6) = network::node_addresses(self.index);
        vec![v4.to_string(), v6.to_string()]
    }

    /// The folder that stands for its root where a Pod asks for a `hostPath`.
    pub(super) fn host(&self) -> PathBuf {
        self.folder.join("host")
    }

    /// Its Pods are to end now, without a word to the API server.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// See [`Self::stop`].
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last parts of its Pods' addresses.
#[derive(Debug)]
struct Used {
    now: BTreeSet<u8>,
    last: u8,
}

impl Used {
    /// The next that is free: what was used last is used last, as its wire may still be there.
    fn take(&mut self) -> Option<u8> {
        let free = (self.last + 1..=254).chain(2..=self.last).find(|index| !self.now.contains(index))?;
        self.now.insert(free);
        self.last = free;
        Some(free)
    }
}

/// Where a Pod is. Its namespace goes when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    node: std::sync::Arc<Node>,
    /// Its namespace, or its node's.
    pub(super) netns: Netns,
    /// Its node's.
    pub(super) node_netns: Netns,
    /// Its addresses, IPv4 first.
    pub(super) addresses: Vec<String>,
    own: Option<u8>,
}

impl Place {
    /// Gives `pod` its place on `node`.
    pub(super) fn new(node: &std::sync::Arc<Node>, pod: &Value) -> Result<Self> {
        let mut place = Self {
            node: std::sync::Arc::clone(node),
            netns: node.netns.clone(),
            node_netns: node.netns.clone(),
            addresses: node.addresses(),
            own: None,
        };
        if pod["spec"]["hostNetwork"] == true {
            return Ok(place);
        }
        let index = node.used().take().context("all addresses of the node are used")?;
        // From here on the drop of `place` takes away what was made.
        place.own = Some(index);
        place.netns = Netns::create(&format!("{}-pod-{}-{index}", node.prefix, node.index))?;
        network::pod(&node.netns, &place.netns, node.index, index)?;
        let (v4, v6) = network::pod_addresses(node.index, index);
        place.addresses = vec![v4.to_string(), v6.to_string()];
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(index) = self.own {
            sweep::delete(&format!("{}-pod-{}-{index}", self.node.prefix, self.node.index));
            self.node.used().now.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_round_until_none_is_free() {
        let mut used = Used { now: BTreeSet::new(), last: 1 };
        assert_eq!((used.take(), used.take()), (Some(2), Some(3)));
        used.now.remove(&2);
        let taken: Vec<u8> = std::iter::from_fn(|| used.take()).collect();
        assert_eq!((taken[0], taken[taken.len() - 1], taken.len()), (4, 2, 252));
    }
}
