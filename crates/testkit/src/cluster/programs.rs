//! The programs of the cluster lab, each built from the module that pins it: `lab/MODULE/go.mod` and `go.sum`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::sha256_hex;

/// A program of Kubernetes, of etcd, of the Gateway API's conformance suite, or Helm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `etcd`, the API server's store.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`: Deployments, EndpointSlices, garbage collection and so on.
    ControllerManager,
    /// `kube-scheduler`: binds Pods to Nodes.
    Scheduler,
    /// `kubectl`, of the API server's version.
    Kubectl,
    /// The endpoint of the conformance suite.
    EchoBasic,
    /// The conformance suite itself, a Go test program.
    Conformance,
    /// `helm`, which installs the chart.
    Helm,
}

impl Program {
    /// What an API server needs, and who speaks to it.
    pub const CONTROL_PLANE: [Self; 3] = [Self::Etcd, Self::ApiServer, Self::Kubectl];
    /// What a cluster with Pods needs.
    pub const CLUSTER: [Self; 6] = [
        Self::Etcd,
        Self::ApiServer,
        Self::Kubectl,
        Self::ControllerManager,
        Self::Scheduler,
        Self::EchoBasic,
    ];

    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::EchoBasic => "echo-basic",
            Self::Conformance => "conformance.test",
            Self::Helm => "helm",
        }
    }

    /// Where it is, or will be once it is built: in our folder of the cache, by what pins it.
    ///
    /// # Errors
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set; the module's files cannot be read.
    pub fn place(self) -> Result<PathBuf> {
        Ok(folder(self.module())?.join(self.name()))
    }

    /// Where it is.
    ///
    /// # Errors
    /// It is not built; see [`Self::place`].
    pub fn path(self) -> Result<PathBuf> {
        let path = self.place()?;
        ensure!(path.exists(), "{} is not there: run ./x cluster build", path.display());
        Ok(path)
    }

    /// The Go package.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Scheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::EchoBasic => "sigs.k8s.io/gateway-api/conformance/echo-basic",
            Self::Conformance => ".",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }

    /// The folder of `lab/` whose `go.mod` pins it.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubectl => "kubernetes",
            Self::EchoBasic | Self::Conformance => CONFORMANCE,
            Self::Helm => "helm",
        }
    }
}

/// The module that pins the Gateway API.
pub(super) const CONFORMANCE: &str = "conformance";

/// The source folder of `module`.
pub(super) fn source(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab").join(module)
}

/// The folder in the cache for what is made from `module`: its name holds a hash of all files of the module, so that
/// another version is another folder.
pub(super) fn folder(module: &str) -> Result<PathBuf> {
    let source = source(module);
    let mut files: Vec<PathBuf> = fs::read_dir(&source)
        .with_context(|| format!("cannot read {}", source.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut pins = Vec::new();
    for file in files {
        pins.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(cache()?.join(format!("{module}-{}", &sha256_hex(&pins)[..12])))
}

/// Our folder of the cache for the cluster lab.
pub(super) fn cache() -> Result<PathBuf> {
    Ok(crate::cache()?.join("cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_one_module_are_in_one_folder_and_named_by_what_pins_them() {
        let places: Vec<PathBuf> = Program::CLUSTER
            .into_iter()
            .chain([Program::Conformance])
            .map(|program| program.place().unwrap())
            .collect();
        assert_eq!(places[1].parent(), places[2].parent());
        assert_ne!(places[0].parent(), places[1].parent());
        assert!(places[1].to_string_lossy().contains("rauta/cluster/kubernetes-"), "{places:?}");
    }
}
