use std::io;
use std::sync::Arc;

use nix::unistd::geteuid;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response};
use tracing::warn;

use crate::ControlSocket;
use crate::v1::control_server::{Control, ControlServer};
use crate::v1::{
    Backend, Diagnostic, ExplainRequestRequest, Explanation, GetSnapshotRequest, GetSnapshotResponse,
    GetStatusRequest, ListBackendsRequest, ListBackendsResponse, ListDiagnosticsRequest,
    ListDiagnosticsResponse, ListRoutesRequest, ListRoutesResponse, Route, Status,
};

/// What the control API can ask of an agent. Called on the API's thread; must not block for long.
pub trait ControlView: Send + Sync + 'static {
    /// The agent at a glance.
    fn status(&self) -> Status;
    /// Every rule that is served.
    fn routes(&self) -> Vec<Route>;
    /// Every backend with its endpoints.
    fn backends(&self) -> Vec<Backend>;
    /// Which rule `request` would take.
    ///
    /// # Errors
    /// [`ExplainError`] if it is no request.
    fn explain(&self, request: &ExplainRequestRequest) -> Result<Explanation, ExplainError>;
    /// The snapshot as JSON.
    fn snapshot_json(&self) -> Vec<u8>;
    /// What is wrong with the configuration.
    fn diagnostics(&self) -> Vec<Diagnostic>;
}

/// Why a request cannot be explained.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExplainError {
    /// The URL cannot be read.
    #[error("`{url}` is no URL: give one such as http://shop.example:8080/cart?a=1, or a path")]
    Url {
        /// The text.
        url: String,
    },
    /// The method is no token.
    #[error("`{method}` is no method")]
    Method {
        /// The text.
        method: String,
    },
    /// A header cannot be sent.
    #[error("`{name}` cannot be a header with this value")]
    Header {
        /// Its name.
        name: String,
    },
    /// The client's address cannot be read.
    #[error("`{client}` is no IP address")]
    Client {
        /// The text.
        client: String,
    },
}

/// Why the control API ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The socket cannot be used.
    #[error("cannot listen on the control socket")]
    Listen(#[source] io::Error),
    /// The server failed.
    #[error("the control API failed")]
    Server(#[source] tonic::transport::Error),
}

/// Serves `view` on `socket` until `shutdown` is done.
///
/// Only the agent's own user and root are answered; others' connections are closed and logged.
///
/// # Errors
/// [`ServeError`] if the socket cannot be used.
pub async fn serve(
    socket: ControlSocket,
    view: Arc<dyn ControlView>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener =
        socket.listener.try_clone().and_then(UnixListener::from_std).map_err(ServeError::Listen)?;
    let allowed = UnixListenerStream::new(listener).filter(|stream| match stream {
        Ok(stream) => is_allowed(stream),
        Err(_) => true,
    });
    tonic::transport::Server::builder()
        .add_service(ControlServer::new(Service(view)))
        .serve_with_incoming_shutdown(allowed, shutdown)
        .await
        .map_err(ServeError::Server)
}

fn is_allowed(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == geteuid().as_raw() || peer.uid() == 0 => true,
        Ok(peer) => {
            warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "refused a connection to the control socket: not our user, not root"
            );
            false
        }
        Err(error) => {
            warn!(%error, "refused a connection to the control socket: its user cannot be told");
            false
        }
    }
}

struct Service(Arc<dyn ControlView>);

type Answer<T> = Result<Response<T>, tonic::Status>;

#[tonic::async_trait]
impl Control for Service {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<Status> {
        Ok(Response::new(self.0.status()))
    }

    async fn list_routes(&self, _: Request<ListRoutesRequest>) -> Answer<ListRoutesResponse> {
        Ok(Response::new(ListRoutesResponse { routes: self.0.routes() }))
    }

    async fn list_backends(&self, _: Request<ListBackendsRequest>) -> Answer<ListBackendsResponse> {
        Ok(Response::new(ListBackendsResponse { backends: self.0.backends() }))
    }

    async fn explain_request(&self, request: Request<ExplainRequestRequest>) -> Answer<Explanation> {
        match self.0.explain(request.get_ref()) {
            Ok(explanation) => Ok(Response::new(explanation)),
            Err(error) => Err(tonic::Status::invalid_argument(error.to_string())),
        }
    }

    async fn get_snapshot(&self, _: Request<GetSnapshotRequest>) -> Answer<GetSnapshotResponse> {
        Ok(Response::new(GetSnapshotResponse { json: self.0.snapshot_json() }))
    }

    async fn list_diagnostics(&self, _: Request<ListDiagnosticsRequest>) -> Answer<ListDiagnosticsResponse> {
        Ok(Response::new(ListDiagnosticsResponse { diagnostics: self.0.diagnostics() }))
    }
}
