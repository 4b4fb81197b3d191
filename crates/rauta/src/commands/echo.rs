//! `rauta echo`: a small HTTP/1.1 backend that answers with what it got.

mod answer;
mod connection;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::cli::EchoArgs;
use crate::output::print;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 10_000;

/// How long to wait after an accept that failed, as it does without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: &EchoArgs) -> anyhow::Result<ExitCode> {
    let (listener, address) = bind(args.listen)?;
    let name = args.name.clone().unwrap_or_else(|| address.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    print(&format!("echo `{name}` on http://{address}/, for example: curl http://{address}/hello\n"))?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            result = serve(listener, name.into()) => result,
            _ = term.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Binds an address; the answer has the real port when 0 was asked for.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}: give another address with --listen"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers connections until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, name: Arc<str>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let name = Arc::clone(&name);
        tokio::spawn(async move {
            connection::serve(stream, peer, &name).await;
            drop(place);
        });
    }
}
