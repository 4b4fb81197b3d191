//! One timer a connection, armed lazily: moving a deadline further away costs no timer operation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for whatever its connection waits for at the moment.
pub(crate) struct Watchdog {
    sleep: Pin<Box<Sleep>>,
}

/// The time was up before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired;

impl Watchdog {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now() + limit)) }
    }

    /// Ready once `deadline` has passed; else the task is woken then, or earlier.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Expired> {
        if self.sleep.deadline() > deadline {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(Expired);
            }
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Polls `step` until it is ready or the deadline, which it may move with each call, has passed.
    pub(crate) async fn guard<T>(
        &mut self,
        mut step: impl FnMut(&mut Context<'_>) -> (Poll<T>, Instant),
    ) -> Result<T, Expired> {
        std::future::poll_fn(|cx| match step(cx) {
            (Poll::Ready(done), _) => Poll::Ready(Ok(done)),
            (Poll::Pending, deadline) => self.poll_expired(cx, deadline).map(Err),
        })
        .await
    }

    /// Waits for `future`, `limit` at most.
    pub(crate) async fn timeout<F: Future>(
        &mut self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        let mut future = std::pin::pin!(future);
        let deadline = Instant::now() + limit;
        self.guard(|cx| (future.as_mut().poll(cx), deadline)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_move_in_both_directions() {
        let mut watchdog = Watchdog::new(Duration::from_secs(10));
        let start = Instant::now();
        let never = std::future::pending::<()>;
        assert_eq!(watchdog.timeout(Duration::from_secs(30), never()).await, Err(Expired));
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(watchdog.timeout(Duration::from_secs(1), never()).await, Err(Expired));
        assert_eq!(start.elapsed().as_secs(), 31);
        assert_eq!(watchdog.timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_on_progress_does_not_expire() {
        let mut watchdog = Watchdog::new(Duration::from_secs(1));
        let start = Instant::now();
        let mut ticks = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(900));
        let mut progress = Instant::now();
        let result = watchdog
            .guard(|cx| {
                while tick.poll_tick(cx).is_ready() {
                    progress = Instant::now();
                    ticks += 1;
                }
                let done = if ticks > 5 { Poll::Ready(()) } else { Poll::Pending };
                (done, progress + Duration::from_secs(1))
            })
            .await;
        assert_eq!(result, Ok(()));
        assert!(start.elapsed() >= Duration::from_millis(4500));
    }
}
