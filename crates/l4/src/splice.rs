//! A relay between two sockets in which no byte is copied: socket to pipe to socket by splice(2).

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

use crate::Pipes;
use crate::pipe::Pipe;
use crate::relay::{Activity, Broken, End, both};

/// As much as a pipe holds by default.
const CHUNK_BYTES: usize = 64 * 1024;
/// Without a pipe (too many are in use, no descriptor left, the system does not splice) bytes are copied, in smaller pieces.
const COPY_BYTES: usize = 8 * 1024;

/// Passes bytes on in both directions until both sides have said all, one is gone, or nothing came for `idle`. The end of
/// one direction is passed on by itself. The streams are left open.
pub async fn splice<M: Fn(bool, u64)>(
    client: &TcpStream,
    endpoint: &TcpStream,
    pipes: &Pipes,
    activity: &Activity<M>,
    idle: Duration,
) -> End {
    let up = one_way(client, endpoint, pipes, |bytes| activity.note(true, bytes));
    let down = one_way(endpoint, client, pipes, |bytes| activity.note(false, bytes));
    both(up, down, activity, idle).await
}

async fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    pipes: &Pipes,
    moved: impl Fn(usize),
) -> Result<(), Broken> {
    loop {
        from.readable().await.map_err(|_| Broken::Source)?;
        let more = match pipes.take() {
            Ok(pipe) => by_pipe(from, to, pipe, pipes, &moved).await?,
            Err(_) => by_copy(from, to, &moved).await?,
        };
        if !more {
            // A sink that is gone already has heard enough.
            let _ = SockRef::from(to).shutdown(std::net::Shutdown::Write);
            return Ok(());
        }
        // A fast pair must not keep the thread from the others.
        consume_budget().await;
    }
}

/// Passes on what there is; says whether more may come. The pipe is given back empty, or dropped with what is in it.
async fn by_pipe(
    from: &TcpStream,
    to: &TcpStream,
    mut pipe: Pipe,
    pipes: &Pipes,
    moved: impl Fn(usize),
) -> Result<bool, Broken> {
    match pipe.fill(from, CHUNK_BYTES) {
        Ok(0) => {
            pipes.give(pipe);
            return Ok(false);
        }
        Ok(_) => {}
        Err(error) => {
            pipes.give(pipe);
            // There is no pipe the next time: what is there is copied then.
            let is_unsupported = error.kind() == io::ErrorKind::Unsupported;
            return if is_unsupported || is_passing(&error) { Ok(true) } else { Err(Broken::Source) };
        }
    }
    while pipe.held() > 0 {
        match pipe.empty(to) {
            Ok(0) => return Err(Broken::Sink),
            Ok(bytes) => moved(bytes),
            Err(error) if is_passing(&error) => to.writable().await.map_err(|_| Broken::Sink)?,
            Err(_) => return Err(Broken::Sink),
        }
    }
    pipes.give(pipe);
    Ok(true)
}

async fn by_copy(from: &TcpStream, to: &TcpStream, moved: impl Fn(usize)) -> Result<bool, Broken> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut left = match from.try_read(&mut buffer) {
        Ok(0) => return Ok(false),
        Ok(bytes) => &buffer[..bytes],
        Err(error) if is_passing(&error) => return Ok(true),
        Err(_) => return Err(Broken::Source),
    };
    while !left.is_empty() {
        match to.try_write(left) {
            Ok(0) => return Err(Broken::Sink),
            Ok(bytes) => {
                left = &left[bytes..];
                moved(bytes);
            }
            Err(error) if is_passing(&error) => to.writable().await.map_err(|_| Broken::Sink)?,
            Err(_) => return Err(Broken::Sink),
        }
    }
    Ok(true)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn without_a_pipe_bytes_are_copied_and_none_is_lost() {
        let (mut client, from) = pair().await;
        let (to, mut endpoint) = pair().await;
        let sent: Vec<u8> = (0..1_000_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let (count, expected) = (Cell::new(0), sent.clone());
        let write = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let copy = async {
            loop {
                from.readable().await.unwrap();
                if !by_copy(&from, &to, |bytes| count.set(count.get() + bytes)).await.unwrap() {
                    break drop(to);
                }
            }
        };
        let mut got = Vec::new();
        let (_, _, read) = tokio::join!(write, copy, endpoint.read_to_end(&mut got));
        assert_eq!((read.unwrap(), count.get()), (expected.len(), expected.len()));
        assert!(got == expected);
    }

    #[tokio::test]
    async fn a_side_that_is_gone_is_told_from_the_other() {
        let (mut client, from) = pair().await;
        let (to, endpoint) = pair().await;
        SockRef::from(&endpoint).set_linger(Some(Duration::ZERO)).unwrap();
        drop(endpoint);
        to.ready(Interest::READABLE).await.unwrap();
        client.write_all(b"x").await.unwrap();
        from.readable().await.unwrap();
        assert_eq!(by_copy(&from, &to, |_| {}).await, Err(Broken::Sink));
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        from.readable().await.unwrap();
        let mut end = by_copy(&from, &to, |_| {}).await;
        while end == Ok(true) {
            from.readable().await.unwrap();
            end = by_copy(&from, &to, |_| {}).await;
        }
        assert_eq!(end, Err(Broken::Source));
    }
}
