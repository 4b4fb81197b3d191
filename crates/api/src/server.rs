use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use nix::unistd::geteuid;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response};
use tracing::warn;

use crate::ControlSocket;
use crate::v1::control_server::{Control, ControlServer};
use crate::v1::{
    Backend, Diagnostic, ExplainFlowRequest, ExplainRequestRequest, Explanation, FlowExplanation,
    GetSnapshotRequest, GetSnapshotResponse, GetStatusRequest, ListBackendsRequest, ListBackendsResponse,
    ListDiagnosticsRequest, ListDiagnosticsResponse, ListFlowsRequest, ListFlowsResponse, ListReasonsRequest,
    ListReasonsResponse, ListRoutesRequest, ListRoutesResponse, Reason, Route, Status, TraceEvent,
    TraceRequest,
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
    /// Connections that the kernel carries.
    ///
    /// # Errors
    /// [`KernelError`]; so for all that asks the kernel.
    fn flows(&self, request: &ListFlowsRequest) -> Result<ListFlowsResponse, KernelError>;
    /// How often the kernel gave each reason.
    ///
    /// # Errors
    /// [`KernelError`].
    fn reasons(&self) -> Result<Vec<Reason>, KernelError>;
    /// What the kernel knows of a connection, or would do with a new one; that takes seconds, and no thread of the API.
    ///
    /// # Errors
    /// [`KernelError`].
    fn explain_flow(&self, request: &ExplainFlowRequest) -> Result<FlowExplanation, KernelError>;
    /// Events from now on, until the receiver is dropped.
    ///
    /// # Errors
    /// [`KernelError`].
    fn trace(&self, request: &TraceRequest) -> Result<mpsc::Receiver<TraceEvent>, KernelError>;
}

/// Why a question about the kernel has no answer.
#[derive(Debug, Error)]
pub enum KernelError {
    /// There are no programs, or they do not route.
    #[error("the kernel tier is not at work: {why} (`rauta doctor` looks at this machine)")]
    Off {
        /// What they lack.
        why: String,
    },
    /// An address in the question cannot be read.
    #[error("{name} `{text}` is no {wanted}")]
    Address {
        /// Which one.
        name: &'static str,
        /// What was given.
        text: String,
        /// What it should be, with an example.
        wanted: &'static str,
    },
    /// A request in the question cannot be sent.
    #[error(transparent)]
    Request(#[from] ExplainError),
    /// A request over TLS.
    #[error(
        "`{url}` is sent over TLS, which userspace (Tier 3) ends: `rauta explain request {url}` says what becomes of it"
    )]
    Tls {
        /// The URL.
        url: String,
    },
    /// Addresses of two families.
    #[error("CLIENT {client} and VIP {vip} are not of one family: give two IPv4 or two IPv6 addresses")]
    Families {
        /// The client's.
        client: IpAddr,
        /// The listener's.
        vip: IpAddr,
    },
    /// The kernel did not answer.
    #[error("the kernel did not answer")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<KernelError> for tonic::Status {
    fn from(error: KernelError) -> Self {
        match &error {
            KernelError::Off { .. } => Self::failed_precondition(error.to_string()),
            KernelError::Address { .. }
            | KernelError::Request(_)
            | KernelError::Tls { .. }
            | KernelError::Families { .. } => Self::invalid_argument(error.to_string()),
            KernelError::Failed(_) => Self::internal(chain(&error)),
        }
    }
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

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
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
    socket: &ControlSocket,
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

    async fn list_flows(&self, request: Request<ListFlowsRequest>) -> Answer<ListFlowsResponse> {
        Ok(Response::new(self.0.flows(request.get_ref())?))
    }

    async fn list_reasons(&self, _: Request<ListReasonsRequest>) -> Answer<ListReasonsResponse> {
        Ok(Response::new(ListReasonsResponse { reasons: self.0.reasons()? }))
    }

    async fn explain_flow(&self, request: Request<ExplainFlowRequest>) -> Answer<FlowExplanation> {
        let (view, request) = (Arc::clone(&self.0), request.into_inner());
        let asked = tokio::task::spawn_blocking(move || view.explain_flow(&request)).await;
        let answer = asked.map_err(|error| tonic::Status::internal(error.to_string()))?;
        Ok(Response::new(answer?))
    }

    type TraceStream = Pin<Box<dyn Stream<Item = Result<TraceEvent, tonic::Status>> + Send>>;

    async fn trace(&self, request: Request<TraceRequest>) -> Answer<Self::TraceStream> {
        let events = self.0.trace(request.get_ref())?;
        Ok(Response::new(Box::pin(ReceiverStream::new(events).map(Ok))))
    }
}
