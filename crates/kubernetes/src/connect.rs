use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};

use kube::config::{
    Config, InClusterError, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError,
};

/// Why there is no API server to ask.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The named kubeconfig cannot be read or used.
    #[error("cannot use kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file that was named.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KubeconfigError,
    },
    /// The kubeconfig asks for a proxy: connecting without it may reach something else.
    #[error(
        "the kubeconfig has proxy-url {proxy}, and proxies are not used: take it out, or name a kubeconfig whose server is reached directly"
    )]
    Proxy {
        /// The proxy.
        proxy: String,
    },
    /// A Pod without the files and variables of its service account.
    #[error("cannot use the service account of this Pod")]
    InCluster(#[source] InClusterError),
    /// Neither a Pod nor a kubeconfig.
    #[error(
        "this is no Pod of a cluster, and neither $KUBECONFIG nor ~/.kube/config can be used: name a file with --kubeconfig"
    )]
    Nowhere(#[source] InferConfigError),
}

/// How an API server is reached.
#[derive(Clone)]
pub struct Connection {
    pub(crate) config: Config,
}

impl Connection {
    /// The address by which this host reaches the API server; none: there is no way to it. Nothing is sent.
    pub fn local_address(&self) -> Option<IpAddr> {
        let url = &self.config.cluster_url;
        let host = url.host()?.trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(443);
        let way = |to: SocketAddr| {
            let any: IpAddr =
                if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        };
        (host, port).to_socket_addrs().ok()?.find_map(way)
    }

    /// The API server's URL.
    pub fn url(&self) -> String {
        self.config.cluster_url.to_string()
    }
}

impl std::fmt::Debug for Connection {
    /// Without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// Finds the API server: by `kubeconfig`; else, in a Pod, by its service account; else by `$KUBECONFIG` or `~/.kube/config`.
///
/// Nothing is sent yet.
///
/// # Errors
/// [`ConnectError`]: no way to one, or bad credentials.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Connection, ConnectError> {
    let config = match kubeconfig {
        Some(path) => {
            let failed = |source| ConnectError::Kubeconfig { path: path.to_owned(), source };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?
        }
        None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Config::incluster().map_err(ConnectError::InCluster)?
        }
        None => Config::infer().await.map_err(ConnectError::Nowhere)?,
    };
    match &config.proxy_url {
        // User names and passwords of it are nobody's business.
        Some(proxy) => Err(ConnectError::Proxy { proxy: proxy.host().unwrap_or_default().to_owned() }),
        None => Ok(Connection { config }),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn connected(text: &str) -> Result<Connection, ConnectError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(connect(Some(file.path())))
    }

    #[test]
    fn a_kubeconfig_names_the_server_and_its_token_is_not_shown() {
        let text = r#"{"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "b", "user": {"token": "hidden"}}], "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "b"}}]}"#;
        let connection = connected(text).unwrap();
        assert_eq!(connection.url(), "http://127.0.0.1:1/");
        assert_eq!(connection.local_address(), Some(IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(!format!("{connection:?}").contains("hidden"));
    }

    #[test]
    fn a_proxy_that_would_not_be_used_is_refused() {
        let text = r#"{"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1", "proxy-url": "http://me:pw@proxy.test:3128"}}],
            "current-context": "c", "users": [], "contexts": [{"name": "c", "context": {"cluster": "a", "user": ""}}]}"#;
        let error = connected(text).unwrap_err().to_string();
        assert!(error.contains("proxy.test") && !error.contains("pw"), "{error}");
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_used_is_named_with_the_reason() {
        for text in ["{}", "clusters: 7"] {
            let error = connected(text).unwrap_err();
            assert!(error.to_string().starts_with("cannot use kubeconfig /"), "{error}");
            assert!(error.source().is_some());
        }
    }
}
