//! The control API over real sockets.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use api::v1::{
    Backend, Diagnostic, ExplainFlowRequest, ExplainRequestRequest, Explanation, Flow, FlowExplanation,
    ListFlowsRequest, ListFlowsResponse, Reason, Route, Status, TraceEvent, TraceRequest,
};
use api::{BindError, Client, ClientError, ConnectError, ControlView, ExplainError, KernelError};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, fork, setuid};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

#[derive(Default)]
struct View {
    traces: Arc<AtomicUsize>,
}

impl ControlView for View {
    fn status(&self) -> Status {
        Status { version: "1.2.3".into(), snapshot_version: 7, ready: true, ..Status::default() }
    }

    fn routes(&self) -> Vec<Route> {
        // More than tonic's usual bound of 4 MiB.
        let long = "h".repeat(100);
        (0..60_000).map(|rule| Route { object: long.clone(), rule, ..Route::default() }).collect()
    }

    fn backends(&self) -> Vec<Backend> {
        vec![Backend { id: "shop/cart:80".into(), ..Backend::default() }]
    }

    fn explain(&self, request: &ExplainRequestRequest) -> Result<Explanation, ExplainError> {
        if request.url.is_empty() {
            return Err(ExplainError::Url { url: request.url.clone() });
        }
        Ok(Explanation { outcome: format!("{} {}", request.method, request.url), ..Explanation::default() })
    }

    fn snapshot_json(&self) -> Vec<u8> {
        b"{\"version\":7}".to_vec()
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![Diagnostic { reason: "BackendNotFound".into(), line: 12, ..Diagnostic::default() }]
    }

    fn flows(&self, request: &ListFlowsRequest) -> Result<ListFlowsResponse, KernelError> {
        match request.client.as_str() {
            "" => Ok(ListFlowsResponse { flows: vec![Flow::default(); 3], max: 10, ..Default::default() }),
            text => Err(KernelError::Address { name: "--client", text: text.into(), wanted: "address" }),
        }
    }

    fn reasons(&self) -> Result<Vec<Reason>, KernelError> {
        Err(KernelError::Off { why: "off by settings".into() })
    }

    fn explain_flow(&self, request: &ExplainFlowRequest) -> Result<FlowExplanation, KernelError> {
        if request.vip.is_empty() {
            return Err(KernelError::Failed("the map is gone".into()));
        }
        Ok(FlowExplanation { outcome: request.vip.clone(), ..FlowExplanation::default() })
    }

    /// Events for ever, as fast as they are read; `one_in` comes back as the status.
    fn trace(&self, request: &TraceRequest) -> Result<mpsc::Receiver<TraceEvent>, KernelError> {
        let (sender, receiver) = mpsc::channel(4);
        let event = TraceEvent { status: request.one_in, ..TraceEvent::default() };
        let open = Arc::clone(&self.traces);
        open.fetch_add(1, SeqCst);
        tokio::spawn(async move {
            while sender.send(event.clone()).await.is_ok() {}
            open.fetch_sub(1, SeqCst);
        });
        Ok(receiver)
    }
}

struct Served {
    runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<Result<(), api::ServeError>>>,
    /// Streams of events that are open.
    traces: Arc<AtomicUsize>,
}

fn serve(path: &Path) -> Served {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let socket = api::bind(path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let view = View::default();
    let traces = Arc::clone(&view.traces);
    let task = runtime.spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        api::serve(&socket, Arc::new(view), stopped).await
    });
    Served { runtime, stop: Some(stop), task: Some(task), traces }
}

impl Served {
    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(self.task.take().unwrap()).unwrap().unwrap();
    }
}

#[test]
fn every_question_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rauta.sock");
    let mut served = serve(&path);
    served.runtime.block_on(async {
        let mut client = Client::connect(&path).await.unwrap();
        let status = client.status().await.unwrap();
        assert_eq!((status.version.as_str(), status.snapshot_version, status.ready), ("1.2.3", 7, true));
        assert_eq!(client.routes().await.unwrap().len(), 60_000);
        assert_eq!(client.backends().await.unwrap()[0].id, "shop/cart:80");
        assert_eq!(client.snapshot_json().await.unwrap(), b"{\"version\":7}");
        assert_eq!(client.diagnostics().await.unwrap()[0].line, 12);
        let question = ExplainRequestRequest { method: "GET".into(), url: "/x".into(), ..Default::default() };
        assert_eq!(client.explain(question).await.unwrap().outcome, "GET /x");
        match client.explain(ExplainRequestRequest::default()).await {
            Err(ClientError::Invalid { message }) => assert!(message.contains("is no URL"), "{message}"),
            other => panic!("{other:?}"),
        }
    });
    served.stop();
    assert!(!path.exists(), "removed at the end");
}

#[test]
fn questions_about_the_kernel_are_answered_or_say_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rauta.sock");
    let mut served = serve(&path);
    served.runtime.block_on(async {
        let mut client = Client::connect(&path).await.unwrap();
        let flows = client.flows(ListFlowsRequest::default()).await.unwrap();
        assert_eq!((flows.flows.len(), flows.max), (3, 10));
        let bad = ListFlowsRequest { client: "me".into(), ..ListFlowsRequest::default() };
        let error = client.flows(bad).await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Invalid { message } if message == "--client `me` is no address")
        );
        let error = client.reasons().await.unwrap_err();
        assert!(matches!(&error, ClientError::Unable { message } if message.contains("off by settings")));
        let question = ExplainFlowRequest { client: "a".into(), vip: "b".into(), request: None };
        assert_eq!(client.explain_flow(question).await.unwrap().outcome, "b");
        match client.explain_flow(ExplainFlowRequest::default()).await {
            Err(ClientError::Failed(status)) => assert!(status.message().contains("the map is gone")),
            other => panic!("{other:?}"),
        }
    });
    served.stop();
}

#[test]
fn a_stream_of_events_ends_for_the_agent_when_its_reader_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rauta.sock");
    let mut served = serve(&path);
    let traces = Arc::clone(&served.traces);
    served.runtime.block_on(async {
        let mut client = Client::connect(&path).await.unwrap();
        let mut events = client.trace(7).await.unwrap();
        for _ in 0..100 {
            assert_eq!(events.next().await.unwrap().unwrap().status, 7);
        }
        assert_eq!(traces.load(SeqCst), 1);
        drop((events, client));
        while traces.load(SeqCst) != 0 {
            tokio::task::yield_now().await;
        }
    });
    served.stop();
}

#[test]
fn messages_print_as_json_with_camel_case_names() {
    let json = serde_json::to_value(View::default().status()).unwrap();
    assert_eq!(json["snapshotVersion"], 7);
    assert_eq!(json["ready"], true);
}

#[test]
fn the_socket_and_its_folder_are_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/here/rauta.sock");
    let _socket = api::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_live_agents_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rauta.sock");
    let socket = api::bind(&path).unwrap();
    let error = api::bind(&path).unwrap_err();
    assert!(
        matches!(&error, BindError::InUse { pid: Some(pid), .. } if *pid == std::process::id().to_string())
    );
    assert!(error.to_string().starts_with("another agent is running (pid "), "{error}");
    assert!(path.exists());
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn a_dead_agents_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rauta.sock");
    // Dropping a listener leaves its file behind, as kill -9 does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    fs::write(folder.path().join("rauta.sock.lock"), "99999").unwrap();
    let mut served = serve(&path);
    served.runtime.block_on(async { Client::connect(&path).await.unwrap().status().await.unwrap() });
    served.stop();
}

#[test]
fn places_that_cannot_hold_the_socket_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(api::bind(&file), Err(BindError::NotASocket { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(matches!(api::bind(&file.join("rauta.sock")), Err(BindError::Folder { .. })));
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(api::bind(&long), Err(BindError::TooLong { .. })));
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(api::bind(&open.join("rauta.sock")), Err(BindError::UnsafeFolder { .. })));
}

#[test]
fn a_missing_agent_is_told_from_a_dead_one() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rauta.sock");
    let connect = || runtime.block_on(Client::connect(&path)).unwrap_err();
    assert!(matches!(connect(), ConnectError::NotRunning { .. }));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = connect();
    assert!(matches!(error, ConnectError::NotRunning { .. }));
    assert!(error.to_string().contains("rauta run") && error.to_string().contains("--socket"), "{error}");
}

/// Runs as root, like every test that looks at permissions: it becomes another user in a child process.
#[test]
fn another_user_is_refused_even_where_the_file_lets_them_in() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("rauta.sock");
    let mut served = serve(&path);
    assert_eq!(talk_as(Uid::from_raw(65534), &path), NO_PERMISSION, "mode 0600 keeps others out");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(talk_as(Uid::from_raw(65534), &path), CLOSED, "credentials keep others out");
    assert_eq!(talk_as(Uid::from_raw(0), &path), ANSWERED, "the owner is answered in the same way");
    served.stop();
}

const NO_PERMISSION: i32 = 10;
const CLOSED: i32 = 20;
const ANSWERED: i32 = 30;

/// Speaks the start of HTTP/2 (RFC 9113 section 3.4) from a child process of user `uid`; returns what came of it.
fn talk_as(uid: Uid, path: &Path) -> i32 {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // SAFETY: the child only makes system calls and leaves by `_exit`; it allocates nothing and takes no lock.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        },
        ForkResult::Child => {
            let mut byte = [0];
            let code = if setuid(uid).is_err() {
                1
            } else {
                match UnixStream::connect(path) {
                    Err(_) => NO_PERMISSION,
                    Ok(mut stream) => match stream.write_all(PREFACE).and_then(|()| stream.read(&mut byte)) {
                        Ok(0) | Err(_) => CLOSED,
                        Ok(_) => ANSWERED,
                    },
                }
            };
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) }
        }
    }
}
