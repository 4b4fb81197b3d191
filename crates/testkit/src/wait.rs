use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `ready` until it answers `Some`, at first every millisecond, later every 20.
///
/// # Errors
/// After `limit`: what was waited for and for how long.
pub fn until<T>(limit: Duration, what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_gives_the_first_answer_and_names_what_never_came() {
        let mut calls = 0;
        let answer = until(Duration::from_secs(5), "the third call", || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(answer.unwrap(), 3);
        let error = until(Duration::from_millis(5), "a miracle", || None::<()>).unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }
}
