//! Says that connections find no room in the kernel while it is so: once a minute, and when it is over.

use std::time::Duration;

use loader::Datapath;
use tracing::{info, warn};
use wire::Reason;

use super::routing::now;

/// Between two lines about the same.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    room: Watch,
    ports: Watch,
}

impl Pressure {
    /// Every second.
    pub(super) fn tick(&mut self, datapath: &Datapath) {
        let now = now();
        let look = |watch: &mut Watch, reason, what: fn(&Datapath) -> &'static str, over: &str| {
            // What cannot be read is said where it is asked for.
            let Ok(count) = datapath.counted(reason) else { return };
            match watch.look(count, now) {
                Some(Said::Lacks(connections)) => {
                    warn!(connections, "{}: userspace serves new connections", what(datapath));
                }
                Some(Said::Over) => info!("no longer: {over}"),
                None => {}
            }
        };
        let full = |_: &Datapath| "the kernel's table of connections is full (dataplane.maxFlows)";
        look(&mut self.room, Reason::HandNoRoom, full, "the kernel's table of connections is full");
        look(&mut self.ports, Reason::HandNoPort, no_port, "connections find no port for their leg");
    }
}

/// Why legs find no port. Some are tried by lot: there may be free ones.
fn no_port(datapath: &Datapath) -> &'static str {
    if datapath.in_use().is_ok_and(|used| used.legs >= used.legs_max.into()) {
        return "the kernel's table of legs is full (dataplane.maxFlows)";
    }
    "hardly any SNAT port is free for legs to some endpoint (dataplane.snat.ports)"
}

/// A count that should not grow.
#[derive(Debug, Default)]
struct Watch {
    /// None: it was not looked at, and may have grown before.
    last: Option<u64>,
    /// Since something was said last.
    new: u64,
    said: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// So many connections since it was said last.
    Lacks(u64),
    /// None for an interval.
    Over,
}

impl Watch {
    /// What is to be said of a count at a time.
    fn look(&mut self, count: u64, now: Duration) -> Option<Said> {
        self.new += self.last.replace(count).map_or(0, |last| count.saturating_sub(last));
        if self.said.is_some_and(|said| now.saturating_sub(said) < INTERVAL) {
            return None;
        }
        if self.new > 0 {
            self.said = Some(now);
            return Some(Said::Lacks(std::mem::take(&mut self.new)));
        }
        self.said.take().map(|_| Said::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_said_at_once_then_once_an_interval_then_that_it_is_over() {
        let mut watch = Watch::default();
        let mut look = |count, seconds| watch.look(count, Duration::from_secs(seconds));
        assert_eq!(look(40, 100), None, "of an agent before");
        assert_eq!(look(40, 101), None);
        assert_eq!(look(43, 102), Some(Said::Lacks(3)));
        for second in 103..162 {
            assert_eq!(look(43 + second, second), None);
        }
        assert_eq!(look(43 + 162, 162), Some(Said::Lacks(162)));
        assert_eq!(look(43 + 162, 221), None);
        assert_eq!(look(43 + 162, 222), Some(Said::Over));
        assert_eq!(look(43 + 162, 300), None);
        assert_eq!(look(43 + 163, 301), Some(Said::Lacks(1)), "anew");
    }
}
