//! Nodes without containers: a Pod is a network namespace, a container a local program in a mount namespace of its own.

mod confinement;
mod container;
mod environment;
mod exec;
mod expand;
mod fields;
mod images;
mod kubelet;
mod logs;
pub(super) mod network;
mod place;
mod pod;
mod pods;
mod probe;
mod registration;
mod sandbox;
mod sources;
mod status;
mod volumes;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

pub use images::Images;

use super::client::Client;
use super::control_plane::{API_PORT, ControlPlane};
use place::Node;
use pods::Pods;

/// How often a lease is renewed, the kubelet's own figure.
const RENEW: Duration = Duration::from_secs(10);

/// The nodes of a cluster, with all that runs on them. Everything ends when they are dropped.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Arc<Node>>,
    pods: Arc<Pods>,
    threads: Vec<JoinHandle<()>>,
}

impl Nodes {
    /// Makes and registers `count` nodes, whose namespaces begin with `prefix`.
    pub(super) fn start(control: &ControlPlane, prefix: &str, count: u8, images: &Images) -> Result<Self> {
        // Where a Pod's programs find the API server: its Service has an address that nobody answers at.
        let environment = vec![
            ("KUBERNETES_SERVICE_HOST".to_owned(), network::CONTROL.to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), API_PORT.to_string()),
        ];
        let folder = control.folder().join("nodes");
        let client = control.client();
        let node = |index| {
            let (images, environment) = (images.clone(), environment.clone());
            Node::new(prefix, index, control.netns(), &folder, images, environment, client.clone())
                .map(Arc::new)
        };
        let nodes: Vec<Arc<Node>> = (0..count).map(node).collect::<Result<_>>()?;
        let pods = Arc::new(Pods::new(nodes.clone()));
        let mut this = Self { nodes, pods, threads: Vec::new() };
        for node in &this.nodes {
            let addresses = node.addresses();
            let subjects: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let (chain, key) = control.credentials().server(&node.name, &subjects)?;
            kubelet::serve(node, &this.pods, &chain, &key)?;
            registration::register(client, node.index, &node.name)?;
        }
        let (pods, client_of_pods) = (Arc::clone(&this.pods), client.clone());
        let follow = std::thread::Builder::new().name("pods".into());
        // Not joined: it may wait for news of the API server.
        follow.spawn(move || pods.follow(&client_of_pods))?;
        let (nodes, client) = (this.nodes.clone(), client.clone());
        this.threads
            .push(std::thread::Builder::new().name("leases".into()).spawn(move || renew(&nodes, &client))?);
        Ok(this)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|node| node.stop());
        self.pods.join();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn renew(nodes: &[Arc<Node>], client: &Client) {
    while !nodes.iter().any(|node| node.is_stopping()) {
        for node in nodes {
            // While the API server is away there is nothing to renew.
            let _ = registration::renew(client, &node.name);
        }
        std::thread::park_timeout(RENEW);
    }
}
