//! Endpoints that cannot be connected to: whose fault it is, and what is noted and said of it.

use std::io;

use telemetry::ConnectResult;

use crate::endpoint::Endpoint;
use crate::upstream::ConnectError;
use crate::worker::Worker;

/// Why there is no connection to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectFailure {
    /// It is this host that lacks something: another endpoint helps as little.
    pub(crate) is_own: bool,
    /// What an HTTP client is told.
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

/// Counts it, says it in the log, and lets an endpoint whose fault it is be passed over for a while.
pub(crate) fn note(worker: &Worker, endpoint: &Endpoint, error: &ConnectError) -> ConnectFailure {
    let result = connect_result(error);
    worker.metrics().upstream_connected(worker.index, result);
    let is_own = matches!(error, ConnectError::Tcp(error) if is_own_lack(error));
    if is_own {
        tracing::warn!(endpoint = %endpoint.address, %error, "no descriptor, port or memory for a connection to an endpoint; raise LimitNOFILE (ulimit -n) or net.ipv4.ip_local_port_range");
        return ConnectFailure { is_own, status: 503, reason: "gateway is out of sockets" };
    }
    endpoint.connect_failed(worker.index, worker.config().timeouts.endpoint_retry);
    tracing::warn!(endpoint = %endpoint.address, %error, "cannot connect to an endpoint; passing it over for a while");
    let (status, reason) = match result {
        ConnectResult::Timeout => (504, "endpoint did not accept the connection in time"),
        ConnectResult::Refused => (503, "endpoint refused the connection"),
        ConnectResult::Tls => (502, "TLS with the endpoint failed"),
        _ => (503, "endpoint cannot be reached"),
    };
    ConnectFailure { is_own, status, reason }
}

fn connect_result(error: &ConnectError) -> ConnectResult {
    let error = match error {
        ConnectError::Tls(_) => return ConnectResult::Tls,
        ConnectError::Http2(_) => return ConnectResult::Failed,
        ConnectError::Tcp(error) => error,
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectResult::Refused,
        io::ErrorKind::TimedOut => ConnectResult::Timeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ConnectResult::Unreachable,
        _ => ConnectResult::Failed,
    }
}

/// Whether it is this host that has nothing left to connect with, which says nothing of the endpoint.
pub(crate) fn is_own_lack(error: &io::Error) -> bool {
    const LACKS: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| LACKS.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_not_blamed_for_what_this_host_lacks() {
        let of = |code| is_own_lack(&io::Error::from_raw_os_error(code));
        assert!(of(libc::EMFILE) && of(libc::EADDRNOTAVAIL));
        assert!(
            !of(libc::ECONNREFUSED)
                && !of(libc::EHOSTUNREACH)
                && !is_own_lack(&io::ErrorKind::TimedOut.into())
        );
    }
}
