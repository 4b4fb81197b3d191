use std::time::Instant;

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout_at;

/// Takes what comes until `due`, and what is there by then; none: nothing can come any more. However much comes, it ends.
pub(crate) async fn gather<T>(
    inbox: &mut Receiver<T>,
    due: Option<Instant>,
    mut take: impl FnMut(T),
) -> Option<()> {
    // A timeout looks at the clock only while there is nothing to receive.
    while let Some(due) = due.filter(|due| Instant::now() < *due) {
        let Ok(next) = timeout_at(due.into(), inbox.recv()).await else { break };
        take(next?);
    }
    // Who would send more has this thread, too: as much as there is room for.
    for _ in 0..inbox.max_capacity() {
        let Ok(next) = inbox.try_recv() else { break };
        take(next);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_is_there_is_taken_without_a_wait() {
        let (sender, mut inbox) = mpsc::channel(8);
        (0..3).for_each(|i| sender.try_send(i).unwrap());
        for due in [None, Some(Instant::now())] {
            let mut taken = Vec::new();
            assert_eq!(gather(&mut inbox, due, |i| taken.push(i)).await, Some(()));
            let wanted: &[i32] = if due.is_none() { &[0, 1, 2] } else { &[] };
            assert_eq!(taken, wanted);
        }
    }

    #[tokio::test]
    async fn what_comes_before_it_is_due_is_taken() {
        let (sender, mut inbox) = mpsc::channel(8);
        let due = Instant::now() + Duration::from_millis(50);
        let sending = async {
            tokio::task::yield_now().await;
            sender.send(1).await.unwrap();
        };
        let mut taken = Vec::new();
        let (gathered, ()) = tokio::join!(gather(&mut inbox, Some(due), |i| taken.push(i)), sending);
        assert_eq!((gathered, taken), (Some(()), vec![1]));
        assert!(Instant::now() >= due);
    }

    /// The inbox is never found empty.
    #[tokio::test]
    async fn a_flood_does_not_hold_it_up() {
        let (sender, mut inbox) = mpsc::channel(16);
        let flood = tokio::spawn(async move { while sender.send(()).await.is_ok() {} });
        let due = Instant::now() + Duration::from_millis(5);
        let mut late = 0;
        let count = |()| late += usize::from(Instant::now() > due);
        assert_eq!(gather(&mut inbox, Some(due), count).await, Some(()));
        assert!(late <= 17, "{late} taken when it was due");
        drop(inbox);
        flood.await.unwrap();
    }
}
