//! A relay for streams that are no plain sockets: what TLS carried goes on in cleartext, through one buffer.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::relay::{Activity, Broken, End, both};

/// A record of TLS (RFC 8446 section 5.1).
const BUFFER_BYTES: usize = 16 * 1024;

/// As [`crate::splice`], for a client that is no plain socket.
pub async fn relay<S: AsyncRead + AsyncWrite + Unpin, M: Fn(bool, u64)>(
    client: &mut S,
    endpoint: &mut TcpStream,
    activity: &Activity<M>,
    idle: Duration,
) -> End {
    let (mut client_reader, mut client_writer) = tokio::io::split(client);
    let (mut endpoint_reader, mut endpoint_writer) = endpoint.split();
    let up = one_way(&mut client_reader, &mut endpoint_writer, |bytes| activity.note(true, bytes));
    let down = one_way(&mut endpoint_reader, &mut client_writer, |bytes| activity.note(false, bytes));
    both(up, down, activity, idle).await
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: impl Fn(usize),
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let mut left = match from.read(&mut buffer).await {
            Ok(0) => {
                // A sink that is gone already has heard enough.
                let _ = to.shutdown().await;
                return Ok(());
            }
            Ok(bytes) => &buffer[..bytes],
            Err(_) => return Err(Broken::Source),
        };
        while !left.is_empty() {
            let written = to.write(left).await.map_err(|_| Broken::Sink)?;
            if written == 0 {
                return Err(Broken::Sink);
            }
            left = &left[written..];
            moved(written);
        }
        to.flush().await.map_err(|_| Broken::Sink)?;
    }
}
