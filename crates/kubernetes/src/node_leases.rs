//! Leases of nodes (`coordination.k8s.io/v1`): each says that its node lives, and which addresses it announces.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use addresses::Peer;
use kube::Client;
use kube::core::Request;
use kube::core::params::{ListParams, Patch, PatchParams, PostParams, VersionMatch};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::client;
use crate::trouble::words;
use crate::{ClientError, Connection, clock};

/// What the Leases' names begin with.
const PREFIX: &str = "rauta-node-";
/// By which they are found.
const LABEL: &str = "rauta.io/lease";
/// Where a Lease says which addresses its node announces, with commas between them.
const ANNOUNCES: &str = "rauta.io/announces";

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeLeaseError {
    /// The API server refused it, or could not be asked.
    #[error("cannot {what} the Leases of nodes in namespace {namespace}: {why}; {advice}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Where.
        namespace: String,
        /// The API server's words, or what came instead.
        why: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// No answer in time.
    #[error("the API server has not answered within {} ms", .0.as_millis())]
    Late(Duration),
}

/// The Leases of all nodes, as one of them takes part.
#[derive(Clone)]
pub struct NodeLeases {
    client: Client,
    path: String,
    namespace: String,
    node: String,
    /// An answer that takes longer is none.
    answer_max: Duration,
}

impl NodeLeases {
    /// Takes part for `node`, in `namespace` or in that of the Pod or kubeconfig. A round that takes longer than `answer_max` has failed. Must
    /// be called within a runtime, which its work is done in.
    ///
    /// # Errors
    /// The connection's certificates or credentials cannot be used.
    pub fn new(
        connection: &Connection,
        namespace: Option<String>,
        node: String,
        answer_max: Duration,
    ) -> Result<Self, ClientError> {
        let namespace = namespace.unwrap_or_else(|| connection.config.default_namespace.clone());
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        Ok(Self { client: client(&connection.config)?, path, namespace, node, answer_max })
    }

    /// What the Leases say, this node's own among them. Nothing is renewed.
    ///
    /// # Errors
    /// [`NodeLeaseError`]: nothing was seen.
    pub async fn look(&self) -> Result<Vec<Peer>, NodeLeaseError> {
        self.in_time(self.list(None)).await
    }

    /// Renews this node's Lease, which says that it announces these addresses, and then looks at all: a complete round, or none. Without
    /// `announces` it says that it could announce none, and others do not count on it.
    ///
    /// # Errors
    /// [`NodeLeaseError`]: what is seen by others is not known, and nothing was seen.
    pub async fn round(&self, announces: Option<&BTreeSet<IpAddr>>) -> Result<Vec<Peer>, NodeLeaseError> {
        self.in_time(async {
            let version = self.put(lease(&self.node, announces)).await?;
            self.list(version.as_deref()).await
        })
        .await
    }

    /// Says that this node announces nothing any more, and that others need not wait.
    ///
    /// # Errors
    /// [`NodeLeaseError`]: others wait until the Lease is over.
    pub async fn leave(&self) -> Result<(), NodeLeaseError> {
        self.in_time(self.put(lease(&self.node, None))).await.map(drop)
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, NodeLeaseError>>,
    ) -> Result<T, NodeLeaseError> {
        timeout(self.answer_max, work).await.unwrap_or(Err(NodeLeaseError::Late(self.answer_max)))
    }

    /// At `version` or later, which the API server answers out of its memory; none: the latest, for which it asks its database.
    async fn list(&self, version: Option<&str>) -> Result<Vec<Peer>, NodeLeaseError> {
        let mut parameters = ListParams::default().labels(&format!("{LABEL}=node"));
        if let Some(version) = version {
            parameters = parameters.at(version).matching(VersionMatch::NotOlderThan);
        }
        let request = Request::new(&self.path).list(&parameters).map_err(kube::Error::BuildRequest);
        let advice = "allow list of leases in API group \"coordination.k8s.io\" there";
        let refused = |error| self.refused("list", advice, &error);
        let list: Value = self.client.request(request.map_err(refused)?).await.map_err(refused)?;
        Ok(list["items"].as_array().into_iter().flatten().filter_map(peer).collect())
    }

    /// Writes it; which version it has now.
    async fn put(&self, lease: Value) -> Result<Option<String>, NodeLeaseError> {
        let advice = "allow create and patch of leases in API group \"coordination.k8s.io\" there";
        let refused = |error| self.refused("renew", advice, &error);
        let name = format!("{PREFIX}{}", self.node);
        let patch = Patch::Merge(&lease);
        let request = Request::new(&self.path).patch(&name, &PatchParams::default(), &patch);
        let request = request.map_err(kube::Error::BuildRequest).map_err(refused)?;
        match self.client.request::<Value>(request).await {
            Ok(written) => return Ok(version(&written)),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(refused(error)),
        }
        let body = lease.to_string().into_bytes();
        let request = Request::new(&self.path).create(&PostParams::default(), body);
        let request = request.map_err(kube::Error::BuildRequest).map_err(refused)?;
        self.client.request(request).await.map(|written| version(&written)).map_err(refused)
    }

    fn refused(&self, what: &'static str, advice: &'static str, error: &kube::Error) -> NodeLeaseError {
        NodeLeaseError::Refused { what, namespace: self.namespace.clone(), why: words(error), advice }
    }
}

fn version(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"].as_str().map(ToOwned::to_owned)
}

/// The Lease of a node, as its holder writes it; held by nobody if it announces nothing and could not.
fn lease(node: &str, announces: Option<&BTreeSet<IpAddr>>) -> Value {
    let holder = if announces.is_some() { node } else { "" };
    let announces: Vec<_> = announces.into_iter().flatten().map(ToString::to_string).collect();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": format!("{PREFIX}{node}"),
            "labels": {LABEL: "node"},
            "annotations": {ANNOUNCES: announces.join(",")},
        },
        // Whole seconds are all that it can say; who looks goes by a setting.
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 2, "renewTime": clock::micros()},
    })
}

/// What a Lease says; nothing if it is no node's.
fn peer(lease: &Value) -> Option<Peer> {
    let metadata = &lease["metadata"];
    let announces = metadata["annotations"][ANNOUNCES].as_str().unwrap_or_default();
    Some(Peer {
        node: metadata["name"].as_str()?.strip_prefix(PREFIX)?.to_owned(),
        version: version(lease)?,
        has_left: lease["spec"]["holderIdentity"].as_str().is_none_or(str::is_empty),
        announces: announces.split(',').filter_map(|address| address.parse().ok()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_what_it_was_written_with() {
        let addresses: BTreeSet<IpAddr> = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap()).into();
        let read = |mut lease: Value| {
            lease["metadata"]["resourceVersion"] = json!("7");
            peer(&lease)
        };
        let wanted = Peer {
            node: "node-1.example".to_owned(),
            version: "7".to_owned(),
            has_left: false,
            announces: addresses.clone(),
        };
        assert_eq!(read(lease("node-1.example", Some(&addresses))), Some(wanted.clone()));
        let left = Peer { has_left: true, announces: BTreeSet::new(), ..wanted };
        assert_eq!(read(lease("node-1.example", None)), Some(left));
        assert_eq!(read(json!({"metadata": {"name": "rauta-status"}, "spec": {}})), None);
    }
}
