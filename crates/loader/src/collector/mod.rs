//! Ends connections that the programs will not: those nobody uses any more, and those of endpoints that are gone.
//!
//! A record is removed first and its ends are told after, from the record as it was in the end: whatever comes in between finds
//! no connection, which is the truth by then.

mod frame;

use std::time::Duration;

use dataplane::flow::{flag, state};
use tracing::debug;
use wire::{EndpointRecord, Flow, Tuple};

use crate::{Datapath, MapError, now};

/// How long a connection may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a request outstanding, with or without a leg (`dataplane.idleTimeout`).
    pub idle: Duration,
    /// With one side closed.
    pub half_closed: Duration,
    /// Until the endpoint's SYN-ACK.
    pub opening: Duration,
    /// With a request outstanding: an answer may take its time, but an end that vanished says nothing.
    pub waiting: Duration,
}

impl Limits {
    /// Ends everything.
    pub const NONE: Self = Self {
        idle: Duration::ZERO,
        half_closed: Duration::ZERO,
        opening: Duration::ZERO,
        waiting: Duration::ZERO,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            half_closed: Duration::from_secs(60),
            opening: Duration::from_secs(30),
            waiting: Duration::from_secs(3600),
        }
    }
}

/// How many connections were ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Because nobody used them.
    pub idle: usize,
    /// Because their endpoint is gone.
    pub orphans: usize,
    /// Frames that could not be sent: their device is gone or down.
    pub unsent: usize,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// FIN to the client, RST to the leg.
    Finish,
    /// RST to both.
    Reset,
    /// Without a word: others speak for it.
    Forget,
}

impl Datapath {
    /// Ends the connections that are over by `limits`, or whose endpoint is gone from map `ENDPOINTS`. To be called every second or
    /// so, and at once when an endpoint was removed.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading or changing the maps.
    pub fn collect(&mut self, limits: &Limits) -> Result<Collected, MapError> {
        let endpoints = self.maps.endpoints()?;
        let now = now();
        let mut over = Vec::new();
        self.each_flow(|flow| {
            let is_orphan = is_orphan(flow, &endpoints);
            if is_orphan || is_over(flow, now, limits) {
                over.push((flow.client, flow.last_seen, is_orphan));
            }
        })?;
        let mut collected = Collected::default();
        for (client, seen, is_orphan) in over {
            // It may have come to life again, or be another connection by now.
            let Some(latest) = self.flow(&client)? else { continue };
            if is_orphan && !self::is_orphan(&latest, &endpoints) || !is_orphan && latest.last_seen != seen {
                continue;
            }
            let Some(flow) = self.remove_flow(&client)? else { continue };
            let end = end(&flow);
            debug!(state = flow.state, is_orphan, ?end, "ends a connection");
            collected.unsent += self.tell(&flow, end);
            *(if is_orphan { &mut collected.orphans } else { &mut collected.idle }) += 1;
        }
        Ok(collected)
    }

    /// Resets the legs that their flows have left before `before` (nanoseconds, the programs' clock), and forgets them: their
    /// endpoints would keep them open, and their ports would stay taken. How many.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading or changing the map.
    pub fn reset_left_legs(&mut self, before: u64) -> Result<usize, MapError> {
        let left = self.maps.take_left_legs(before)?;
        for (key, leg) in &left {
            if let Some(frame) = frame::reset_of(key, leg) {
                // A device that is gone took the connection with it.
                let _ = self.send(frame.device, &frame.bytes);
            }
        }
        Ok(left.len())
    }

    /// Sends what ends the connection; how many frames could not be sent.
    fn tell(&self, flow: &Flow, end: End) -> usize {
        let to_client = match end {
            End::Finish => frame::fin_to_client(flow).into_iter().collect(),
            End::Reset => frame::resets_to_client(flow),
            End::Forget => return 0,
        };
        let frames = to_client.into_iter().chain(frame::resets_to_leg(flow));
        frames.filter(|frame| self.send(frame.device, &frame.bytes).is_err()).count()
    }
}

/// Whether the leg's endpoint is gone, or its record given to another one.
fn is_orphan(flow: &Flow, endpoints: &[EndpointRecord]) -> bool {
    if flow.leg == Tuple::default() || !matches!(flow.state, state::OPENING | state::SPLICED) {
        return false;
    }
    let record = usize::try_from(flow.endpoint).ok().and_then(|index| endpoints.get(index));
    record.is_none_or(|record| {
        record.generation != flow.endpoint_generation || record.flags & EndpointRecord::USABLE == 0
    })
}

fn is_over(flow: &Flow, now: u64, limits: &Limits) -> bool {
    let half_closed = flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) != 0;
    let limit = match flow.state {
        // Being made: the program that makes it is at work.
        state::FREE => return false,
        state::OPENING | state::HANDED | state::TAKEN => limits.opening,
        state::CLOSING => limits.half_closed,
        _ if half_closed => limits.half_closed,
        _ if flow.outstanding > 0 => limits.waiting.max(limits.idle),
        _ => limits.idle,
    };
    // Another CPU's clock may be a little ahead of ours.
    u128::from(now.saturating_sub(flow.last_seen)) > limit.as_nanos()
}

fn end(flow: &Flow) -> End {
    match flow.state {
        // The host's socket has it; or our FIN is out already.
        state::FREE | state::HANDED | state::TAKEN | state::CLOSING => End::Forget,
        // Its request is lost, or its answer cut short: a FIN would say that all is well.
        state::OPENING => End::Reset,
        _ if flow.outstanding > 0 => End::Reset,
        _ => End::Finish,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn flow(state: u8, flags: u8, outstanding: u8) -> Flow {
        let leg = Tuple { source_port: [1, 1], ..Tuple::default() };
        Flow { state, flags, outstanding, leg, endpoint: 1, endpoint_generation: 5, ..Flow::default() }
    }

    #[test]
    fn each_state_has_its_time() {
        for (state, flags, outstanding, seconds) in [
            (state::SPLICED, 0, 0, 300),
            (state::SPLICED, flag::CLOSE, 0, 300),
            (state::SPLICED, 0, 1, 3600),
            (state::SPLICED, flag::CLIENT_FIN, 1, 60),
            (state::SPLICED, flag::LEG_FIN | flag::CLIENT_FIN, 0, 60),
            (state::UNBOUND, 0, 0, 300),
            (state::OPENING, 0, 1, 30),
            (state::HANDED, 0, 0, 30),
            (state::TAKEN, 0, 0, 30),
            (state::CLOSING, 0, 0, 60),
        ] {
            let mut flow = flow(state, flags, outstanding);
            flow.last_seen = 10 * SECOND;
            let over = |at: u64| is_over(&flow, (10 + at) * SECOND, &Limits::default());
            assert!(!over(seconds), "{state} {flags} {outstanding}");
            assert!(is_over(&flow, (10 + seconds) * SECOND + 1, &Limits::default()), "{state} {flags}");
            assert!(!is_over(&flow, 9 * SECOND, &Limits::default()), "a clock behind");
        }
        assert!(!is_over(&flow(state::FREE, 0, 0), u64::MAX, &Limits::default()));
    }

    #[test]
    fn a_leg_is_an_orphan_when_its_endpoint_is_gone_or_replaced() {
        let record = |generation, flags| EndpointRecord { generation, flags, ..EndpointRecord::default() };
        let with = |record| is_orphan(&flow(state::SPLICED, 0, 0), &[EndpointRecord::default(), record]);
        assert!(!with(record(5, EndpointRecord::USABLE)));
        assert!(!with(record(5, EndpointRecord::USABLE | EndpointRecord::DRAINING)));
        assert!(with(record(5, 0)));
        assert!(with(record(6, EndpointRecord::USABLE)));
        assert!(is_orphan(&flow(state::OPENING, 0, 1), &[]));
        assert!(!is_orphan(&flow(state::HANDED, 0, 0), &[]), "the host's socket has it");
        assert!(!is_orphan(&Flow { leg: Tuple::default(), ..flow(state::UNBOUND, 0, 0) }, &[]));
    }

    #[test]
    fn clients_are_reset_only_when_an_answer_is_cut_short() {
        assert_eq!(end(&flow(state::SPLICED, 0, 0)), End::Finish);
        assert_eq!(end(&flow(state::SPLICED, 0, 2)), End::Reset);
        assert_eq!(end(&flow(state::OPENING, 0, 1)), End::Reset);
        assert_eq!(end(&flow(state::UNBOUND, 0, 0)), End::Finish);
        assert_eq!(end(&flow(state::HANDED, 0, 0)), End::Forget);
        assert_eq!(end(&flow(state::TAKEN, 0, 0)), End::Forget);
    }
}
