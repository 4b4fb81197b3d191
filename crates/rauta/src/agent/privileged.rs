//! The one thread beside the main one that has capabilities: threads without them have it do what needs them.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// The running thread. It ends with the last of its handles.
#[derive(Clone)]
pub(super) struct Privileged {
    jobs: Sender<Job>,
}

impl Privileged {
    /// Starts it, with the capabilities of the calling thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let work = move || inbox.into_iter().for_each(|job| job());
        thread::Builder::new().name("rauta-kernel".to_owned()).spawn(work)?;
        Ok(Self { jobs })
    }

    /// Has it do `work`, after what others asked for, and waits. None: the thread is gone, by a panic.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, done) = channel();
        let job = move || {
            // Nobody may wait for it any more.
            let _ = answer.send(work());
        };
        self.jobs.send(Box::new(job)).ok()?;
        done.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_in_another_thread_one_after_another() {
        let privileged = Privileged::start().unwrap();
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(privileged.run(name).flatten().as_deref(), Some("rauta-kernel"));
        let other = privileged.clone();
        let doubled = thread::spawn(move || other.run(|| 21 * 2)).join().unwrap();
        assert_eq!(doubled, Some(42));
    }

    #[test]
    fn a_thread_that_is_gone_is_no_answer() {
        let privileged = Privileged::start().unwrap();
        assert_eq!(
            privileged.run(|| if thread::current().name().is_some() {
                panic!("on purpose")
            }),
            None
        );
        assert_eq!(privileged.run(|| ()), None);
    }
}
