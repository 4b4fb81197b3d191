use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use nix::unistd::geteuid;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::v1::control_client::ControlClient;
use crate::v1::{
    Backend, Diagnostic, ExplainFlowRequest, ExplainRequestRequest, Explanation, FlowExplanation,
    GetSnapshotRequest, GetStatusRequest, ListBackendsRequest, ListDiagnosticsRequest, ListFlowsRequest,
    ListFlowsResponse, ListReasonsRequest, ListRoutesRequest, Reason, Route, Status, TraceEvent,
    TraceRequest,
};

/// Answers hold every route: tens of thousands take tens of megabytes.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// An agent that does not answer in this time is stuck.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The same where it first has the kernel verify all its programs, on a machine that may be busy.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// The header of a call's own time-out (gRPC over HTTP/2, "Requests").
const OWN_TIMEOUT: &str = "grpc-timeout";

/// Why the agent cannot be reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// There is no socket, or nobody behind it.
    #[error(
        "no agent is running: nobody answers at {}; start one with `rauta run`, or name its socket with `--socket`",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is closed to this user.
    #[error("no permission to use the control socket {}: run this as the agent's user or as root", path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// Whoever answers is not to be trusted.
    #[error("{} is answered by user {uid}, which is neither you nor root: not asking it", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Anything else.
    #[error("cannot connect to the control socket {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The agent closed the connection, or speaks something else.
    #[error(
        "the agent at {} closed the connection: run this as the agent's user or as root, with the agent's version",
        path.display()
    )]
    Closed {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Why a question got no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The question was wrong.
    #[error("{message}")]
    Invalid {
        /// The agent's words.
        message: String,
    },
    /// The agent cannot answer it as it runs.
    #[error("{message}")]
    Unable {
        /// The agent's words.
        message: String,
    },
    /// The agent did not answer.
    #[error("the agent did not answer")]
    Failed(#[source] Box<tonic::Status>),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::InvalidArgument => Self::Invalid { message: status.message().to_owned() },
            tonic::Code::FailedPrecondition => Self::Unable { message: status.message().to_owned() },
            _ => Self::Failed(Box::new(status)),
        }
    }
}

type Intercept = fn(Request<()>) -> Result<Request<()>, tonic::Status>;

/// Gives a call that has none the usual time-out.
#[expect(clippy::unnecessary_wraps, reason = "the type of tonic's interceptors")]
fn timed(mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
    if !request.metadata().contains_key(OWN_TIMEOUT) {
        request.set_timeout(TIMEOUT);
    }
    Ok(request)
}

/// A connection to an agent.
#[derive(Clone, Debug)]
pub struct Client {
    inner: ControlClient<InterceptedService<Channel, Intercept>>,
}

impl Client {
    /// Connects to the agent whose control socket is `path`.
    ///
    /// # Errors
    /// [`ConnectError`] if nobody answers there, or somebody who should not.
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        let stream = open(path).await?;
        // The channel asks for the one connection there is; when that ends, so does the client.
        let stream = Mutex::new(Some(stream));
        let connector = service_fn(move |_: Uri| {
            let taken = stream.lock().map_or(None, |mut stream| stream.take());
            let result =
                taken.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted));
            async move { result }
        });
        let channel = Endpoint::from_static("http://rauta.invalid")
            .timeout(DRY_RUN_TIMEOUT)
            .connect_with_connector(connector)
            .await
            .map_err(|source| ConnectError::Closed { path: path.into(), source })?;
        let client = ControlClient::with_interceptor(channel, timed as Intercept);
        Ok(Self { inner: client.max_decoding_message_size(MESSAGE_BYTES_MAX) })
    }

    /// The agent at a glance.
    ///
    /// # Errors
    /// [`ClientError`] if the agent does not answer; so for every question.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        Ok(self.inner.get_status(GetStatusRequest {}).await?.into_inner())
    }

    /// Every rule that is served.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn routes(&mut self) -> Result<Vec<Route>, ClientError> {
        Ok(self.inner.list_routes(ListRoutesRequest {}).await?.into_inner().routes)
    }

    /// Every backend with its endpoints.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backends(&mut self) -> Result<Vec<Backend>, ClientError> {
        Ok(self.inner.list_backends(ListBackendsRequest {}).await?.into_inner().backends)
    }

    /// Which rule a request would take.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] if it is no request.
    pub async fn explain(&mut self, request: ExplainRequestRequest) -> Result<Explanation, ClientError> {
        Ok(self.inner.explain_request(request).await?.into_inner())
    }

    /// The snapshot as JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn snapshot_json(&mut self) -> Result<Vec<u8>, ClientError> {
        Ok(self.inner.get_snapshot(GetSnapshotRequest {}).await?.into_inner().json)
    }

    /// What is wrong with the configuration.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn diagnostics(&mut self) -> Result<Vec<Diagnostic>, ClientError> {
        Ok(self.inner.list_diagnostics(ListDiagnosticsRequest {}).await?.into_inner().diagnostics)
    }

    /// Connections that the kernel carries.
    ///
    /// # Errors
    /// [`ClientError::Unable`] where the kernel does not route; so for all that asks it.
    pub async fn flows(&mut self, request: ListFlowsRequest) -> Result<ListFlowsResponse, ClientError> {
        Ok(self.inner.list_flows(request).await?.into_inner())
    }

    /// How often the kernel gave each reason, the most frequent first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reasons(&mut self) -> Result<Vec<Reason>, ClientError> {
        Ok(self.inner.list_reasons(ListReasonsRequest {}).await?.into_inner().reasons)
    }

    /// What the kernel knows of a connection, or would do with a new one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn explain_flow(
        &mut self,
        request: ExplainFlowRequest,
    ) -> Result<FlowExplanation, ClientError> {
        let is_dry_run = request.request.is_some();
        let mut request = Request::new(request);
        if is_dry_run {
            request.set_timeout(DRY_RUN_TIMEOUT);
        }
        Ok(self.inner.explain_flow(request).await?.into_inner())
    }

    /// What the kernel does with requests from now on, one in `one_in`. Ends with the agent, or when it is dropped.
    ///
    /// # Errors
    /// [`ClientError`]; also for each event.
    pub async fn trace(&mut self, one_in: u32) -> Result<Events, ClientError> {
        Ok(Events { inner: self.inner.trace(TraceRequest { one_in }).await?.into_inner() })
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    inner: tonic::Streaming<TraceEvent>,
}

impl Events {
    /// Waits for the next event; none when the agent ends.
    ///
    /// # Errors
    /// [`ClientError`] if the connection to the agent broke.
    pub async fn next(&mut self) -> Result<Option<TraceEvent>, ClientError> {
        Ok(self.inner.message().await?)
    }
}

async fn open(path: &Path) -> Result<UnixStream, ConnectError> {
    let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ConnectError::NotRunning { path: path.into() }
        }
        io::ErrorKind::PermissionDenied => ConnectError::Permission { path: path.into() },
        _ => ConnectError::Io { path: path.into(), source },
    })?;
    let peer = stream.peer_cred().map_err(|source| ConnectError::Io { path: path.into(), source })?;
    let (own, uid) = (geteuid(), peer.uid());
    if own.is_root() || uid == own.as_raw() || uid == 0 {
        Ok(stream)
    } else {
        Err(ConnectError::Stranger { path: path.into(), uid })
    }
}
