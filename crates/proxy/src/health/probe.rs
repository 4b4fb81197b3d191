//! One probe.

use std::io;

use bytes::BytesMut;
use http1::{Body, Limits, Piece, ResponseHead};
use model::Probe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Subject, grpc};
use crate::connector::Connector;
use crate::dial::{Dial, Favour};
use crate::upstream::{self, ConnectError, Wire};

/// Asks an endpoint once, over a connection of its own: by the address that answers first, as requests go there.
///
/// # Errors
/// A few words on why it failed, for log and metrics.
pub(super) async fn probe(
    subject: &Subject,
    connector: Option<&Connector>,
    favour: &Favour,
    limits: &Limits,
) -> Result<(), &'static str> {
    let address = subject.addresses.name;
    let dial = Dial { addresses: subject.addresses, favour, limit: subject.check.timeout };
    let Some(connector) = connector else {
        let connected = dial.tcp().await;
        return connected.map(drop).map_err(|error| of_tcp(&error));
    };
    let mut wire =
        upstream::connect_alone(dial, connector, limits).await.map_err(|error| of_connect(&error))?;
    match &subject.check.probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host, statuses } => {
            // One stream of many needs no word on when its connection ends.
            let close = if matches!(wire, Wire::Http2(_)) { "" } else { "Connection: close\r\n" };
            let own = address.to_string();
            let host = host.as_deref().unwrap_or(&own);
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rauta-health-check\r\nAccept: */*\r\n{close}\r\n"
            );
            let (response, _) = ask(&mut wire, request.as_bytes(), limits).await?;
            let status = response.status();
            let is_right =
                if statuses.is_empty() { (200..300).contains(&status) } else { statuses.contains(&status) };
            if is_right { Ok(()) } else { Err("status") }
        }
        Probe::Grpc { service } => {
            let message = grpc::request(service);
            let head = format!(
                "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: {address}\r\nUser-Agent: rauta-health-check\r\n\
                 Content-Type: application/grpc\r\nTE: trailers\r\nContent-Length: {}\r\n\r\n",
                message.len()
            );
            let request = [head.as_bytes(), &message].concat();
            let (response, read) = ask(&mut wire, &request, limits).await?;
            if response.status() != 200 {
                return Err("status");
            }
            serves(&mut wire, &response, read, limits).await
        }
    }
}

/// Sends a request and reads the head of its answer, and what came with it.
async fn ask(
    wire: &mut Wire,
    request: &[u8],
    limits: &Limits,
) -> Result<(ResponseHead, BytesMut), &'static str> {
    wire.write_all(request).await.map_err(|_| BROKEN_OFF)?;
    wire.flush().await.map_err(|_| BROKEN_OFF)?;
    let (mut head, mut read) = (ResponseHead::default(), BytesMut::new());
    loop {
        while head.parse(&mut read, limits).map_err(|_| INVALID)? {
            if !head.is_informational() {
                return Ok((head, read));
            }
        }
        if wire.read_buf(&mut read).await.map_err(|_| BROKEN_OFF)? == 0 {
            return Err(BROKEN_OFF);
        }
    }
}

/// Reads the answer's one message, which is a few bytes long.
async fn serves(
    wire: &mut Wire,
    head: &ResponseHead,
    mut read: BytesMut,
    limits: &Limits,
) -> Result<(), &'static str> {
    let mut body = Body::new(head.framing("POST").map_err(|_| INVALID)?, limits);
    let mut message = Vec::new();
    loop {
        match body.next_piece(&read).map_err(|_| INVALID)? {
            Piece::Data(length) if message.len() + length > MESSAGE_BYTES_MAX => return Err(INVALID),
            Piece::Data(length) => message.extend_from_slice(&read.split_to(length)),
            Piece::Framing(length) | Piece::Trailer(length) => drop(read.split_to(length)),
            // `grpc-status` alone: the service is unknown, or there is none of health.
            Piece::Done => return Err("not serving"),
            Piece::NeedMore => {
                if wire.read_buf(&mut read).await.map_err(|_| BROKEN_OFF)? == 0 {
                    return Err(BROKEN_OFF);
                }
            }
        }
        match grpc::answer(&message) {
            None => {}
            Some(true) => return Ok(()),
            Some(false) => return Err("not serving"),
        }
    }
}

/// Far more than a status and what later versions may say beside it: a probe must not hold what an endpoint goes on sending.
const MESSAGE_BYTES_MAX: usize = 4096;

const BROKEN_OFF: &str = "connection closed";
const INVALID: &str = "invalid answer";

fn of_connect(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Tcp(error) => of_tcp(error),
        ConnectError::Late { .. } => "timeout",
        ConnectError::Tls(_) => "tls",
        ConnectError::Http2(_) => "invalid answer",
    }
}

fn of_tcp(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => "refused",
        io::ErrorKind::TimedOut => "timeout",
        _ => "unreachable",
    }
}
