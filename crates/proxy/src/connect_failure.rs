//! Endpoints that cannot be connected to: whose fault it is, and what is noted and said of it.

use std::io;
use std::time::Duration;

use telemetry::ConnectResult;

use crate::endpoint::Endpoint;
use crate::upstream::ConnectError;
use crate::worker::Worker;

/// Whose fault it is that there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Endpoint,
    /// This host lacks something: another endpoint helps as little.
    Host,
    /// The time was up while another request was opening it, which will find out.
    Nobody,
}

/// Why there is no connection to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectFailure {
    pub(crate) fault: Fault,
    /// What an HTTP client is told.
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

/// What a client is told of an endpoint that takes no connection in time.
const LATE: (u16, &str) = (504, "endpoint did not accept the connection in time");

/// Counts it, says it in the log, and lets an endpoint whose fault it is be passed over for a while.
pub(crate) fn note(worker: &Worker, endpoint: &Endpoint, error: &ConnectError) -> ConnectFailure {
    let timeouts = &worker.config().timeouts;
    let patience = match error {
        ConnectError::Late { given: None } => {
            let (status, reason) = LATE;
            return ConnectFailure { fault: Fault::Nobody, status, reason };
        }
        ConnectError::Late { given: Some(given) } => patience(*given, timeouts.connect),
        ConnectError::Tcp(_) | ConnectError::Tls(_) | ConnectError::Http2(_) => Duration::MAX,
    };
    let result = connect_result(error);
    worker.metrics().upstream_connected(worker.index, result);
    if matches!(error, ConnectError::Tcp(error) if is_own_lack(error)) {
        tracing::warn!(endpoint = %endpoint.address, %error, "no descriptor, port or memory for a connection to an endpoint; raise LimitNOFILE (ulimit -n) or net.ipv4.ip_local_port_range");
        return ConnectFailure { fault: Fault::Host, status: 503, reason: "gateway is out of sockets" };
    }
    endpoint.connect_failed(worker.index, timeouts.endpoint_retry, patience);
    tracing::warn!(endpoint = %endpoint.address, %error, "cannot connect to an endpoint; passing it over for a while");
    let (status, reason) = match result {
        ConnectResult::Timeout => LATE,
        ConnectResult::Refused => (503, "endpoint refused the connection"),
        ConnectResult::Tls => (502, "TLS with the endpoint failed"),
        _ => (503, "endpoint cannot be reached"),
    };
    ConnectFailure { fault: Fault::Endpoint, status, reason }
}

/// Who is to pass over an endpoint that took no connection within `given`: those who would give it no more, and everybody if it was the
/// time `of_gateway`. A tenth is left for what comes before an endpoint is asked.
fn patience(given: Duration, of_gateway: Duration) -> Duration {
    let most = given.saturating_mul(10) / 9;
    if most >= of_gateway { Duration::MAX } else { most }
}

fn connect_result(error: &ConnectError) -> ConnectResult {
    let error = match error {
        ConnectError::Late { .. } => return ConnectResult::Timeout,
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
    fn little_time_speaks_against_an_endpoint_for_those_only_who_give_it_no_more() {
        let second = Duration::from_secs(1);
        let of = |given| patience(given, 5 * second);
        assert_eq!(
            (of(5 * second), of(60 * second), of(Duration::MAX)),
            (Duration::MAX, Duration::MAX, Duration::MAX)
        );
        assert_eq!(of(5 * second - Duration::from_millis(20)), Duration::MAX);
        let of_one = of(second - Duration::from_millis(20));
        assert!((second..2 * second).contains(&of_one), "{of_one:?}");
        assert!(of(4 * second) < 5 * second);
    }

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
