//! Connections to endpoints that may have an address in each IP family (RFC 8305, "Happy Eyeballs").

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::addresses::Addresses;
use crate::connect_failure::is_own_lack;
use crate::health::Board;

/// How long the first address has before the other one is tried beside it: the Connection Attempt Delay of RFC 8305 section 8.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long the other address is tried first after it was the one that answered: RFC 6555 section 4.2, "on the order of 10 minutes".
const FAVOURED_FOR: Duration = Duration::from_secs(600);

/// An endpoint to connect to.
#[derive(Clone, Copy)]
pub(crate) struct Dial<'d> {
    pub(crate) addresses: Addresses,
    pub(crate) favour: &'d Favour,
    /// What the whole may take. It ends when whoever waits does; a short one leaves the first address half of it.
    pub(crate) limit: Duration,
}

impl Dial<'_> {
    /// Opens TCP to the address that answers first.
    ///
    /// # Errors
    /// What speaks against the endpoint, where neither address answers.
    pub(crate) async fn tcp(self) -> io::Result<TcpStream> {
        let stream = match self.addresses.other {
            None => TcpStream::connect(self.addresses.name).await?,
            // Two attempts are large, and few endpoints have two addresses.
            Some(other) => Box::pin(self.either(other, TcpStream::connect::<SocketAddr>)).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What `open` opens to one of the two; it is remembered which.
    async fn either<T>(
        self,
        other: SocketAddr,
        open: impl AsyncFn(SocketAddr) -> io::Result<T>,
    ) -> io::Result<T> {
        let (name, begins_with_other) = (self.addresses.name, self.favour.is_for_other());
        let (first, second) = if begins_with_other { (other, name) } else { (name, other) };
        let delay = ATTEMPT_DELAY.min(self.limit / 2);
        let (opened, is_second) = race(open(first), open(second), delay).await?;
        let is_other = begins_with_other != is_second;
        if is_other != begins_with_other {
            tracing::debug!(endpoint = %name, %other, is_other, "the other address of an endpoint answered first");
        }
        self.favour.answered(is_other);
        Ok(opened)
    }
}

/// Which of its two addresses an endpoint is to be reached by first: one record for all who connect to it, requests and probes.
#[derive(Debug, Default)]
pub(crate) struct Favour {
    /// Until when it is the other one: ms since `epoch`; 0: it is the preferred one.
    until_ms: AtomicU64,
    epoch: Option<Instant>,
    /// Whom a change is told.
    board: Option<Arc<Board>>,
}

impl Favour {
    /// The preferred one, until the other one answers where that does not. A kernel tier hears of it by way of the board.
    pub(crate) fn new(board: Option<Arc<Board>>) -> Self {
        Self { until_ms: AtomicU64::new(0), epoch: Some(Instant::now()), board }
    }

    pub(crate) fn is_for_other(&self) -> bool {
        self.left().is_some()
    }

    /// How long it is the other one still; none: it is the preferred one.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until_ms = self.until_ms.load(Relaxed);
        let left_ms = until_ms.checked_sub(if until_ms == 0 { 0 } else { self.now_ms() })?;
        (left_ms > 0).then(|| Duration::from_millis(left_ms))
    }

    /// Notes who answered. That the other one goes on answering does not make its time longer: the preferred one gets its chance.
    pub(crate) fn answered(&self, is_other: bool) {
        let (before, now) = (self.until_ms.load(Relaxed), self.now_ms());
        let favoured_ms = u64::try_from(FAVOURED_FOR.as_millis()).unwrap_or(u64::MAX);
        let until_ms = match is_other {
            true if before <= now => now.saturating_add(favoured_ms),
            false if before != 0 => 0,
            _ => return,
        };
        // Of two threads that disagree one is last: whoever is told reads what that one wrote.
        self.until_ms.store(until_ms, Relaxed);
        if let Some(board) = &self.board {
            board.favour_changed();
        }
    }

    fn now_ms(&self) -> u64 {
        let since = self.epoch.map(|epoch| epoch.elapsed()).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The outcome of the attempt that is successful first, and whether it is the second one's. That begins when `delay` is over or
/// the first one has failed; the loser is dropped.
async fn race<T>(
    first: impl Future<Output = io::Result<T>>,
    second: impl Future<Output = io::Result<T>>,
    delay: Duration,
) -> io::Result<(T, bool)> {
    let mut first = pin!(first);
    let second = async { second.await.map(|opened| (opened, true)) };
    let failed = match timeout(delay, &mut first).await {
        Ok(Ok(opened)) => return Ok((opened, false)),
        Ok(Err(error)) => error,
        Err(_) => {
            let mut second = pin!(second);
            tokio::select! {
                opened = &mut first => match opened {
                    Ok(opened) => return Ok((opened, false)),
                    Err(failed) => return second.await.map_err(|error| telling(failed, error)),
                },
                opened = &mut second => match opened {
                    Ok(opened) => return Ok(opened),
                    Err(failed) => {
                        let opened = first.await.map(|opened| (opened, false));
                        return opened.map_err(|error| telling(error, failed));
                    }
                },
            }
        }
    };
    second.await.map_err(|error| telling(failed, error))
}

/// Of two failures the one that tells more: what this host lacks must not be held against the endpoint, and that it has no way in one
/// family says little.
fn telling(first: io::Error, second: io::Error) -> io::Error {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    // Without a port left (`AddrNotAvailable`) and without the family at all look the same.
    let says_little =
        |error: &io::Error| matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable);
    if says_little(&first) || (is_own_lack(&second) && !says_little(&second)) { second } else { first }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io::ErrorKind::{ConnectionRefused, NetworkUnreachable};

    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What an address does: answers or fails after some ms, or never says anything.
    #[derive(Clone, Copy)]
    enum Does {
        Answers(u32),
        Fails(u32, io::ErrorKind),
        Nothing,
    }

    fn addresses() -> Addresses {
        let other = Some("10.0.0.1:80".parse().unwrap());
        Addresses { name: "[2001:db8::1]:80".parse().unwrap(), other }
    }

    /// Who answered (the other one?) or what failed, and after how many ms.
    async fn dialled(favour: &Favour, limit: Duration, name: Does, other: Does) -> (io::Result<bool>, u128) {
        let dial = Dial { addresses: addresses(), favour, limit };
        let begun = Instant::now();
        let open = async |address: SocketAddr| match if address.is_ipv6() { name } else { other } {
            Does::Answers(ms) => {
                sleep(MS * ms).await;
                Ok(address.is_ipv4())
            }
            Does::Fails(ms, kind) => {
                sleep(MS * ms).await;
                Err(kind.into())
            }
            Does::Nothing => pending().await,
        };
        let outcome = timeout(limit, dial.either(addresses().other.unwrap(), open)).await;
        (outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())), begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_address_is_tried_after_a_delay_or_a_failure_and_the_first_to_answer_wins() {
        use Does::{Answers, Fails, Nothing};
        let limit = MS * 5000;
        for (name, other, expected, ms) in [
            (Answers(10), Nothing, Ok(false), 10),
            (Answers(249), Answers(0), Ok(false), 249),
            (Nothing, Answers(10), Ok(true), 260),
            (Fails(20, ConnectionRefused), Answers(10), Ok(true), 30),
            // Both are under way.
            (Answers(300), Answers(100), Ok(false), 300),
            (Answers(300), Answers(20), Ok(true), 270),
            (Answers(400), Fails(10, ConnectionRefused), Ok(false), 400),
            (Fails(300, ConnectionRefused), Answers(100), Ok(true), 350),
            (Fails(300, NetworkUnreachable), Fails(100, ConnectionRefused), Err(ConnectionRefused), 350),
            (Fails(0, ConnectionRefused), Fails(0, NetworkUnreachable), Err(ConnectionRefused), 0),
            (Fails(0, NetworkUnreachable), Fails(5, ConnectionRefused), Err(ConnectionRefused), 5),
            // The time is that of the whole.
            (Nothing, Nothing, Err(io::ErrorKind::TimedOut), 5000),
        ] {
            let (outcome, took) = dialled(&Favour::new(None), limit, name, other).await;
            assert_eq!((outcome.map_err(|error| error.kind()), took), (expected, ms));
        }
        let (outcome, took) = dialled(&Favour::new(None), MS * 100, Nothing, Answers(10)).await;
        assert_eq!((outcome.unwrap(), took), (true, 60), "a short limit leaves both their part");
    }

    #[tokio::test(start_paused = true)]
    async fn who_answered_is_tried_first_for_a_while() {
        use Does::{Answers, Fails, Nothing};
        let favour = Favour::new(None);
        let limit = MS * 5000;
        assert_eq!(dialled(&favour, limit, Nothing, Answers(10)).await.1, 260);
        assert_eq!(dialled(&favour, limit, Nothing, Answers(10)).await.1, 10);
        sleep(FAVOURED_FOR / 2 + MS).await;
        assert_eq!(dialled(&favour, limit, Nothing, Answers(10)).await.1, 10);
        sleep(FAVOURED_FOR / 2 + MS).await;
        assert_eq!(
            dialled(&favour, limit, Nothing, Answers(10)).await.1,
            260,
            "the preferred one has its chance, though the other one was used all the time"
        );
        let (outcome, took) = dialled(&favour, limit, Answers(5), Fails(0, ConnectionRefused)).await;
        assert_eq!((outcome.unwrap(), took), (false, 5));
        assert_eq!(
            dialled(&favour, limit, Answers(5), Answers(0)).await.1,
            5,
            "the preferred one is first again"
        );
    }
}
