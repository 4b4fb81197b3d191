use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Waits until a thread that was told to end has ended, at most for `limit`.
pub fn wait_for(thread: &JoinHandle<()>, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}
