//! Both relays over real sockets: no byte lost whichever side ends how.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod no_splice;

use std::cell::Cell;
use std::time::Duration;

use l4::{Activity, End, Pipes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MUCH: usize = 3_000_000;
const LONG: Duration = Duration::from_secs(60);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

fn bytes(seed: usize) -> Vec<u8> {
    (0..MUCH).map(|i| u8::try_from((i * 7 + i / 251 + seed) % 256).unwrap()).collect()
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Splice,
    /// All pipes are in use.
    NoPipe,
    /// The system does not splice.
    Denied,
    Copy,
}

thread_local! {
    /// How often this thread heard that the system does not splice.
    static DENIALS: Cell<usize> = const { Cell::new(0) };
}

/// A client and an endpoint with a relay between them, which finishes as the userspace tier does.
async fn relayed(
    how: How,
    idle: Duration,
) -> (TcpStream, TcpStream, tokio::task::JoinHandle<(End, u64, u64)>) {
    let (client, mut inner) = pair().await;
    let (mut outer, endpoint) = pair().await;
    let relay = tokio::task::spawn_local(async move {
        let (up, down) = (Cell::new(0), Cell::new(0));
        let activity = Activity::new(|from_client, bytes| {
            let count = if from_client { &up } else { &down };
            count.set(count.get() + bytes);
        });
        let denied = |_: &std::io::Error| DENIALS.with(|count| count.set(count.get() + 1));
        let pipes = Pipes::new(if how == How::NoPipe { 0 } else { 4 }, 4, denied);
        let end = match how {
            How::Splice | How::NoPipe | How::Denied => {
                l4::splice(&inner, &outer, &pipes, &activity, idle).await
            }
            How::Copy => l4::relay(&mut inner, &mut outer, &activity, idle).await,
        };
        match end {
            End::ClientGone => l4::reset(outer).await,
            End::EndpointGone => l4::reset(inner).await,
            End::Closed | End::Idle => {}
        }
        (end, up.get(), down.get())
    });
    (client, endpoint, relay)
}

fn on_one_thread(test: impl AsyncFn(How) + Sync) {
    on_one_thread_by(How::Denied, &test);
    [How::Splice, How::NoPipe, How::Copy].into_iter().for_each(|how| on_one_thread_by(how, &test));
}

fn on_one_thread_by(how: How, test: &(impl AsyncFn(How) + Sync)) {
    std::thread::scope(|scope| {
        let run = || {
            if how == How::Denied {
                // It stays so for the thread.
                no_splice::deny();
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, test(how));
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
fn that_the_system_does_not_splice_is_said_once() {
    on_one_thread_by(How::Denied, &async |how| {
        let (mut client, mut endpoint, relay) = relayed(how, LONG).await;
        for _ in 0..10 {
            client.write_all(b"over").await.unwrap();
            endpoint.read_exact(&mut [0; 4]).await.unwrap();
        }
        drop((client, endpoint));
        relay.await.unwrap();
        assert_eq!(DENIALS.get(), 1);
    });
}

#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    on_one_thread(async |how| {
        for client_first in [true, false] {
            let (client, endpoint, relay) = relayed(how, LONG).await;
            let (mut first, mut second) = if client_first { (client, endpoint) } else { (endpoint, client) };
            let mut read = Vec::new();
            let sending = async {
                first.write_all(&bytes(1)).await.unwrap();
                first.shutdown().await.unwrap();
            };
            let (_, got) = tokio::join!(sending, second.read_to_end(&mut read));
            assert_eq!(got.unwrap(), MUCH);
            assert!(read == bytes(1), "{how:?}: other bytes");
            let mut back = Vec::new();
            let sending = async {
                second.write_all(&bytes(2)).await.unwrap();
                second.shutdown().await.unwrap();
            };
            let (_, got) = tokio::join!(sending, first.read_to_end(&mut back));
            assert_eq!(got.unwrap(), MUCH);
            assert!(back == bytes(2), "{how:?}: other bytes");
            assert_eq!(relay.await.unwrap(), (End::Closed, MUCH as u64, MUCH as u64), "{how:?}");
        }
    });
}

#[test]
fn what_was_said_before_a_reset_arrives_and_then_the_reset() {
    on_one_thread(async |how| {
        for by_client in [true, false] {
            let (client, endpoint, relay) = relayed(how, LONG).await;
            let (mut first, mut second) = if by_client { (client, endpoint) } else { (endpoint, client) };
            let half = bytes(3)[..MUCH / 2].to_vec();
            // The other side reads late: what is on its way then waits in every buffer between.
            let mut read = vec![0; half.len()];
            let sending = async {
                first.write_all(&half).await.unwrap();
                // A reset takes what the socket has not sent yet; the rest must be on its way.
                while unsent(&first) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                reset(&first);
                drop(first);
            };
            let reading = async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                second.read_exact(&mut read).await.unwrap();
                second.read(&mut [0]).await.unwrap_err().kind()
            };
            let (_, kind) = tokio::join!(sending, reading);
            assert!(read == half, "{how:?}: other bytes");
            assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "{how:?}");
            let expected = if by_client { End::ClientGone } else { End::EndpointGone };
            assert_eq!(relay.await.unwrap().0, expected, "{how:?}");
        }
    });
}

#[test]
fn a_side_that_stops_reading_and_resets_does_not_lose_what_it_said() {
    on_one_thread(async |how| {
        let (mut client, mut endpoint, relay) = relayed(how, LONG).await;
        endpoint.write_all(b"no more, please").await.unwrap();
        client.write_all(&bytes(4)[..100_000]).await.unwrap();
        // The endpoint closes with bytes unread: its TCP resets.
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(endpoint);
        let mut said = Vec::new();
        let end = client.read_to_end(&mut said).await;
        assert_eq!(said, b"no more, please", "{how:?}");
        assert!(end.is_err(), "{how:?}: the client must not take it for an orderly end");
        assert_eq!(relay.await.unwrap().0, End::EndpointGone, "{how:?}");
    });
}

#[test]
fn silence_ends_a_connection_and_a_byte_keeps_it() {
    on_one_thread(async |how| {
        let (mut client, mut endpoint, relay) = relayed(how, Duration::from_secs(3)).await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(b"x").await.unwrap();
            endpoint.read_exact(&mut [0]).await.unwrap();
        }
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "closed");
        assert_eq!(relay.await.unwrap(), (End::Idle, 4, 0), "{how:?}");
    });
}

fn unsent(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut bytes = 0;
    // SAFETY: the descriptor is open; TIOCOUTQ writes one int.
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    bytes
}
