//! What all relays have in common: two ways that run side by side, and how a connection ends.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

/// How long the last bytes of a side that is gone may take to the other one, before that is reset.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides said all.
    Closed,
    /// Neither side said anything for too long.
    Idle,
    /// The client broke off: the endpoint is to be reset.
    ClientGone,
    /// The endpoint broke off: the client is to be reset.
    EndpointGone,
}

/// Which side broke off, as one way of a relay sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The one that is read from. What it had said was passed on.
    Source,
    /// The one that is written to.
    Sink,
}

/// When the last byte moved, and how many did.
#[derive(Debug)]
pub struct Activity<M> {
    last: Cell<Instant>,
    moved: M,
}

impl<M: Fn(bool, u64)> Activity<M> {
    /// Begins now. `moved` is told of bytes as they are passed on: whether they came from the client, and how many.
    pub fn new(moved: M) -> Self {
        Self { last: Cell::new(Instant::now()), moved }
    }

    pub(crate) fn note(&self, from_client: bool, bytes: usize) {
        self.last.set(Instant::now());
        (self.moved)(from_client, bytes as u64);
    }

    /// Ready when nothing has moved for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let until = self.last.get() + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Runs both ways until all is said or a side is gone.
///
/// A side that cannot be written to may have said more before it went: its own way runs on until that is passed on.
pub(crate) async fn both<M: Fn(bool, u64)>(
    up: impl Future<Output = Result<(), Broken>>,
    down: impl Future<Output = Result<(), Broken>>,
    activity: &Activity<M>,
    idle: Duration,
) -> End {
    let (mut up, mut down, mut idle) = (pin!(up), pin!(down), pin!(activity.idle(idle)));
    let (mut up_end, mut down_end) = (None, None);
    while up_end.is_none() || down_end.is_none() {
        tokio::select! {
            end = &mut up, if up_end.is_none() => up_end = Some(end),
            end = &mut down, if down_end.is_none() => down_end = Some(end),
            () = &mut idle => return End::Idle,
        }
        if up_end == Some(Err(Broken::Source)) {
            return End::ClientGone;
        }
        if down_end == Some(Err(Broken::Source)) {
            return End::EndpointGone;
        }
    }
    match (up_end, down_end) {
        (Some(Err(Broken::Sink)), _) => End::EndpointGone,
        (_, Some(Err(Broken::Sink))) => End::ClientGone,
        _ => End::Closed,
    }
}

/// Resets a connection as soon as its other end has taken what was sent to it: a reset overtakes what still waits.
pub async fn reset(stream: TcpStream) {
    let deadline = Instant::now() + FLUSH_MAX;
    let mut pause = Duration::from_micros(200);
    while unsent(&stream).is_ok_and(|bytes| bytes > 0) && Instant::now() < deadline {
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    // Should it fail, the connection closes in the ordinary way.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Bytes that the other end has not acknowledged.
fn unsent(stream: &TcpStream) -> io::Result<i32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while `stream` lives; SIOCOUTQ (TIOCOUTQ) writes one int.
    match unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } {
        0 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    }
}
