use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use telemetry::Metrics;
use thiserror::Error;

use crate::{Page, render};

/// Whether the agent takes traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not; why, in a few words.
    NotReady(String),
}

/// What the admin address shows of an agent.
pub trait AdminView: Send + Sync + 'static {
    /// Whether it takes traffic.
    fn readiness(&self) -> Readiness;
    /// The status page.
    fn page(&self) -> Page;
}

/// An address could not be had.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for {purpose}: give another address with `{flag}`, or `off`")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What for.
    pub purpose: &'static str,
    /// The flag that sets it.
    pub flag: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A bound address, not served yet.
#[derive(Debug)]
pub struct HttpSocket {
    listener: TcpListener,
    /// Where it is; the real port when 0 was asked for.
    pub address: SocketAddr,
}

/// Binds `address` for `purpose`; `flag` is what the user would change.
///
/// # Errors
/// [`BindError`] if the address is in use, not local or not allowed.
pub fn bind(address: SocketAddr, purpose: &'static str, flag: &'static str) -> Result<HttpSocket, BindError> {
    let failed = |source| BindError { address, purpose, flag, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(HttpSocket { listener, address })
}

impl HttpSocket {
    /// Another descriptor of the socket, for the agent that takes over.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }

    /// Takes over what another agent shared.
    ///
    /// # Errors
    /// It is no socket that listens.
    pub fn take_over(shared: OwnedFd) -> io::Result<Self> {
        let listener = TcpListener::from(shared);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

/// Serves `/`, `/healthz` and `/readyz` until the runtime ends.
///
/// # Errors
/// Those of the socket.
pub async fn serve_admin(socket: HttpSocket, view: Arc<dyn AdminView>) -> io::Result<()> {
    let routes = Router::new().route("/", get(page)).route("/readyz", get(readyz)).with_state(view);
    let routes = routes.route("/healthz", get(healthz)).layer(middleware::from_fn(same_origin));
    serve(socket, routes).await
}

/// Serves `/metrics` until the runtime ends.
///
/// # Errors
/// Those of the socket.
pub async fn serve_metrics(socket: HttpSocket, metrics: Arc<Metrics>) -> io::Result<()> {
    serve(socket, Router::new().route("/metrics", get(scrape)).with_state(metrics)).await
}

async fn serve(socket: HttpSocket, routes: Router) -> io::Result<()> {
    let routes = routes.fallback(not_found).method_not_allowed_fallback(not_allowed);
    axum::serve(tokio::net::TcpListener::from_std(socket.listener)?, routes).await
}

async fn healthz() -> Response {
    text(StatusCode::OK, "ok\n".into())
}

async fn readyz(State(view): State<Arc<dyn AdminView>>) -> Response {
    match view.readiness() {
        Readiness::Ready => text(StatusCode::OK, "ready\n".into()),
        Readiness::NotReady(reason) => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
        }
    }
}

async fn page(State(view): State<Arc<dyn AdminView>>) -> Response {
    // No script and nothing from elsewhere, even if a text should slip through unescaped.
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (StatusCode::OK, headers, COMMON, render(&view.page())).into_response()
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], COMMON, metrics.encode()).into_response()
}

async fn not_found() -> Response {
    text(
        StatusCode::NOT_FOUND,
        "not found: /, /healthz and /readyz are on the admin address, /metrics on its own\n".into(),
    )
}

async fn not_allowed() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n".into())
}

/// Answers only to names that cannot be another site's: a page elsewhere could have its name resolve to loopback and read
/// the status through the browser of whoever sits here (DNS rebinding).
async fn same_origin(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_address_or_localhost(host) {
        return next.run(request).await;
    }
    text(StatusCode::MISDIRECTED_REQUEST, "use the address itself or localhost in the URL\n".into())
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

const COMMON: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

fn text(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], COMMON, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_names_of_the_admin_address() {
        for host in ["127.0.0.1:9901", "localhost", "LOCALHOST:9901", "[::1]:9901", "10.0.0.1", ""] {
            assert!(is_address_or_localhost(host), "{host}");
        }
        for host in
            ["evil.example:9901", "evil.example", "127.0.0.1.evil.example", "[evil]", "localhost.evil:1"]
        {
            assert!(!is_address_or_localhost(host), "{host}");
        }
    }
}
