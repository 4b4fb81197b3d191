//! Ends connections that the programs will not: those nobody uses any more, and those of endpoints that are gone.
//!
//! A record is removed first and its ends are told after, from the record as it was in the end: whatever comes in between finds
//! no connection, which is the truth by then. Where the client is sent a FIN, a record comes back that waits for the answer:
//! without one the FIN is sent again, at growing distances, and the end of it is a reset.
//!
//! A connection that nobody is served on outlives its endpoint: the leg is reset, the client stays, and its next request is
//! bound elsewhere. Its record is the programs' alone to change.

mod frame;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use dataplane::flow::{end_for, flag, has_ended, leg_flag, state};
use frame::Frame;
use tracing::debug;
use wire::{EndpointRecord, Flow, Leg, Tuple};

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
    /// In the midst of an answer when the endpoint is gone: it may be at work still.
    pub orphaned: Duration,
}

impl Limits {
    /// Ends everything.
    pub const NONE: Self = Self {
        idle: Duration::ZERO,
        half_closed: Duration::ZERO,
        opening: Duration::ZERO,
        waiting: Duration::ZERO,
        orphaned: Duration::ZERO,
    };

    /// Whether these end everything, answered or not.
    fn ends_all(&self) -> bool {
        *self == Self::NONE
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            half_closed: Duration::from_secs(60),
            opening: Duration::from_secs(30),
            waiting: Duration::from_secs(3600),
            orphaned: Duration::from_secs(5),
        }
    }
}

/// How many connections were ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Because nobody used them.
    pub idle: usize,
    /// Because their endpoint is gone, in the midst of an answer.
    pub orphans: usize,
    /// Legs whose endpoint is gone, of clients that stay connected.
    pub left: usize,
    /// Frames that could not be sent: their device is gone or down.
    pub unsent: usize,
}

/// What the collector remembers from one time to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// How often the FIN was sent to clients that have not answered it.
    fins: HashMap<Tuple, u32>,
    /// Legs that were reset and that their flows still have.
    reset: HashSet<Tuple>,
    /// Legs whose endpoint is gone in the midst of an answer, and since when.
    orphans: HashMap<Tuple, u64>,
}

/// How long a program may be at taking a leg that it has found to be young enough.
const TAKING: Duration = Duration::from_secs(1);

/// How often a FIN is sent again: after 1, 2, 4... seconds.
const FINS_MAX: u32 = 6;

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
    /// Ends the connections that are over by `limits`, or whose endpoint is gone from map `ENDPOINTS`. To be called every few
    /// seconds, each second while [`Datapath::has_orphans`], and at once when an endpoint was removed.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading or changing the maps.
    pub fn collect(&mut self, limits: &Limits) -> Result<Collected, MapError> {
        let endpoints = self.maps.endpoints()?;
        let now = now();
        let (mut over, mut left, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let (known, mut orphans) = (std::mem::take(&mut self.collector.orphans), HashMap::new());
        let mut ending = HashSet::new();
        self.each_flow(|flow| {
            if flow.state == state::ENDING {
                ending.insert(flow.client);
            }
            let is_orphan = is_orphan(flow, &endpoints);
            let stays = is_orphan && is_idle(flow) && !limits.ends_all();
            if is_orphan && is_under_way(flow) && !is_over(flow, now, limits) {
                let since = known.get(&flow.leg).copied().unwrap_or(now);
                if u128::from(now.saturating_sub(since)) < limits.orphaned.as_nanos() {
                    orphans.insert(flow.leg, since);
                    return;
                }
            }
            if is_orphan && !stays || is_over(flow, now, limits) {
                over.push((flow.client, flow.last_seen, is_orphan && !stays));
            } else if stays {
                left.push(*flow);
            } else if flow.state == state::ENDING {
                waiting.push(*flow);
            }
        })?;
        self.collector.orphans = orphans;
        // Programs take out what both sides have ended.
        self.collector.fins.retain(|client, _| ending.contains(client));
        let mut collected = Collected::default();
        self.reset_legs_of(&left, &mut collected);
        self.finish_again(&waiting, now, &mut collected);
        for (client, seen, is_orphan) in over {
            // It may have come to life again, or be another connection by now.
            let Some(latest) = self.flow(&client)? else { continue };
            if is_orphan && !self::is_orphan(&latest, &endpoints) || !is_orphan && latest.last_seen != seen {
                continue;
            }
            let Some(flow) = self.remove_flow(&client)? else { continue };
            let end = end(&flow);
            debug!(state = flow.state, is_orphan, ?end, "ends a connection");
            if end == End::Finish && !limits.ends_all() {
                let mut ending = Flow { began: now, lock: Default::default(), ..flow };
                end_for(&mut ending);
                self.maps.insert_flow(&ending)?;
                self.collector.fins.insert(client, 0);
            }
            collected.unsent += self.tell(&flow, end);
            if flow.state == state::ENDING {
                self.collector.fins.remove(&client);
            } else {
                *(if is_orphan { &mut collected.orphans } else { &mut collected.idle }) += 1;
            }
        }
        if limits.ends_all() {
            self.reset_waiting(u64::MAX)?;
        }
        Ok(collected)
    }

    /// Whether the last [`Datapath::collect`] left connections whose endpoint is gone in the midst of an answer.
    pub fn has_orphans(&self) -> bool {
        !self.collector.orphans.is_empty()
    }

    /// Resets legs whose endpoint is gone, each once.
    fn reset_legs_of(&mut self, flows: &[Flow], collected: &mut Collected) {
        let legs: HashSet<Tuple> = flows.iter().map(|flow| flow.leg).collect();
        self.collector.reset.retain(|leg| legs.contains(leg));
        for flow in flows {
            if self.collector.reset.insert(flow.leg) {
                collected.left += 1;
                collected.unsent += self.send_all(frame::resets_to_leg(flow));
            }
        }
    }

    /// Sends the FIN again where it is time.
    fn finish_again(&mut self, flows: &[Flow], now: u64, collected: &mut Collected) {
        for flow in flows.iter().filter(|flow| flow.flags & flag::LEG_FIN_ACKED == 0) {
            // An earlier agent may have sent the first ones.
            let sent = self.collector.fins.entry(flow.client).or_default();
            let age = Duration::from_nanos(now.saturating_sub(flow.began));
            // At 1, 3, 7, 15... seconds.
            if *sent < FINS_MAX && age >= Duration::from_secs((2 << *sent) - 1) {
                *sent += 1;
                collected.unsent += self.send_all(frame::fin_to_client(flow));
            }
        }
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

    /// Resets the legs without a client that have waited for longer than `idle`, and forgets them. Programs take none that has waited for
    /// so long; those that are at it have a second. How many.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading or changing the maps.
    pub fn reset_waiting_legs(&mut self, idle: Duration) -> Result<usize, MapError> {
        let age = u64::try_from((idle + TAKING).as_nanos()).unwrap_or(u64::MAX);
        self.reset_waiting(now().saturating_sub(age))
    }

    fn reset_waiting(&self, before: u64) -> Result<usize, MapError> {
        let waiting = self.maps.take_waiting_legs(before)?;
        for (key, leg) in &waiting {
            let left = Leg { reset_seq: leg.send_next, up: leg.up, ..Leg::default() };
            if let Some(frame) = frame::reset_of(key, &left) {
                // A device that is gone took the connection with it.
                let _ = self.send(frame.device, &frame.bytes);
            }
        }
        Ok(waiting.len())
    }

    /// Sends what ends the connection; how many frames could not be sent.
    fn tell(&self, flow: &Flow, end: End) -> usize {
        let to_client = match end {
            End::Finish => {
                let mut ending = *flow;
                end_for(&mut ending);
                frame::fin_to_client(&ending).into_iter().collect()
            }
            End::Reset => frame::resets_to_client(flow),
            End::Forget => return 0,
        };
        self.send_all(to_client.into_iter().chain(frame::resets_to_leg(flow)))
    }

    /// How many could not be sent.
    fn send_all(&self, frames: impl IntoIterator<Item = Frame>) -> usize {
        frames.into_iter().filter(|frame| self.send(frame.device, &frame.bytes).is_err()).count()
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

/// Whether the client waits for nothing, and may stay without an endpoint.
const fn is_idle(flow: &Flow) -> bool {
    const CLOSING: u8 = flag::CLIENT_FIN | flag::LEG_FIN | flag::CLOSE | flag::LEG_ENDS;
    flow.state == state::SPLICED && flow.outstanding == 0 && flow.flags & CLOSING == 0 && !is_under_way(flow)
}

/// Whether the client waits for an answer, or for bytes of one that its endpoint may have to send again.
const fn is_under_way(flow: &Flow) -> bool {
    flow.outstanding > 0 || flow.state == state::OPENING || flow.client_ack != flow.sent_end
}

/// Whether the client was sent a FIN of ours while it has its leg still.
const fn has_fin(flow: &Flow) -> bool {
    flow.leg_flags & leg_flag::FIN_SENT != 0
}

fn is_over(flow: &Flow, now: u64, limits: &Limits) -> bool {
    let half_closed = flow.flags & (flag::CLIENT_FIN | flag::LEG_FIN) != 0 || has_fin(flow);
    let limit = match flow.state {
        // Being made: the program that makes it is at work.
        state::FREE => return false,
        state::OPENING | state::HANDED | state::TAKEN => limits.opening,
        state::ENDING if has_ended(flow) => return true,
        state::CLOSING | state::ENDING => limits.half_closed,
        _ if half_closed => limits.half_closed,
        _ if flow.outstanding > 0 => limits.waiting.max(limits.idle),
        _ => limits.idle,
    };
    // An ending connection began to end then; what its client says meanwhile does not keep it.
    let since = if flow.state == state::ENDING { flow.began } else { flow.last_seen };
    // Another CPU's clock may be a little ahead of ours.
    u128::from(now.saturating_sub(since)) > limit.as_nanos()
}

fn end(flow: &Flow) -> End {
    match flow.state {
        // The host's socket has it; or our FIN is out already.
        state::FREE | state::HANDED | state::TAKEN | state::CLOSING => End::Forget,
        // Its request is lost, or its answer cut short: a FIN would say that all is well.
        state::OPENING => End::Reset,
        state::ENDING if has_ended(flow) => End::Forget,
        // Our FIN was never answered; or the client has had one, of the endpoint, and not gone.
        state::ENDING => End::Reset,
        _ if flow.outstanding > 0 || flow.flags & flag::LEG_FIN != 0 || has_fin(flow) => End::Reset,
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
            (state::ENDING, 0, 0, 60),
        ] {
            let mut flow = flow(state, flags, outstanding);
            flow.last_seen = 10 * SECOND;
            flow.began = 10 * SECOND;
            let over = |at: u64| is_over(&flow, (10 + at) * SECOND, &Limits::default());
            assert!(!over(seconds), "{state} {flags} {outstanding}");
            assert!(is_over(&flow, (10 + seconds) * SECOND + 1, &Limits::default()), "{state} {flags}");
            assert!(!is_over(&flow, 9 * SECOND, &Limits::default()), "a clock behind");
        }
        assert!(!is_over(&flow(state::FREE, 0, 0), u64::MAX, &Limits::default()));
        let answered = flow(state::ENDING, flag::LEG_FIN_ACKED | flag::CLIENT_FIN_ACKED, 0);
        assert!(is_over(&answered, 0, &Limits::default()), "at once");
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
    fn a_client_stays_without_its_endpoint_while_it_waits_for_nothing() {
        assert!(is_idle(&flow(state::SPLICED, 0, 0)) && is_idle(&flow(state::SPLICED, flag::REPEATABLE, 0)));
        assert!(!is_idle(&flow(state::SPLICED, 0, 1)) && !is_idle(&flow(state::OPENING, 0, 0)));
        // The end of an answer is not acknowledged: its endpoint may have to send it again.
        assert!(!is_idle(&Flow { sent_end: 1, ..flow(state::SPLICED, 0, 0) }));
        for flags in [flag::CLIENT_FIN, flag::LEG_FIN, flag::CLOSE, flag::LEG_ENDS] {
            assert!(!is_idle(&flow(state::SPLICED, flags, 0)), "{flags}");
        }
    }

    #[test]
    fn clients_are_reset_only_when_an_answer_is_cut_short() {
        assert_eq!(end(&flow(state::SPLICED, 0, 0)), End::Finish);
        assert_eq!(end(&flow(state::SPLICED, 0, 2)), End::Reset);
        assert_eq!(end(&flow(state::OPENING, 0, 1)), End::Reset);
        assert_eq!(end(&flow(state::UNBOUND, 0, 0)), End::Finish);
        assert_eq!(end(&flow(state::HANDED, 0, 0)), End::Forget);
        assert_eq!(end(&flow(state::TAKEN, 0, 0)), End::Forget);
        assert_eq!(end(&flow(state::SPLICED, flag::LEG_FIN, 0)), End::Reset, "it had a FIN");
        assert_eq!(end(&flow(state::SPLICED, flag::CLIENT_FIN, 0)), End::Finish);
        assert_eq!(end(&flow(state::ENDING, 0, 0)), End::Reset, "it never answered");
        assert_eq!(end(&flow(state::ENDING, flag::LEG_FIN_ACKED | flag::CLIENT_FIN_ACKED, 0)), End::Forget);
    }
}
