//! What came of a run.

use std::collections::HashMap;

use dataplane::flow::{has_ended, state};
use wire::Tuple;

use super::{App, START, Sim};
use crate::tcp::{Death, MS};
use crate::world::tuple;

impl Sim {
    /// What must hold when all is over.
    pub(crate) fn check(&self) {
        let mut done: HashMap<u32, Vec<&str>> = HashMap::new();
        for (id, name) in &self.log.done {
            done.entry(*id).or_default().push(name);
        }
        for (id, names) in &done {
            let is_once = names.len() == 1 || self.may_repeat && self.log.asked[id].ask.method != "POST";
            assert!(is_once, "request {id} was done by {names:?}:\n{}", self.describe());
        }
        let flows: HashMap<Tuple, wire::Flow> = self.world.flows.all().into_iter().collect();
        for (key, leg) in self.world.legs.all() {
            let is_owned = leg.client == Tuple::default()
                || self.world.pooled.get(&key).is_some()
                || flows.get(&leg.client).is_some_and(|flow| flow.leg == key && flow.state != state::FREE);
            assert!(is_owned, "a leg of nobody: {key:?}\n{}", self.describe());
        }
        for conn in &self.conns {
            let App::Client(client) = &conn.app else { continue };
            let key = tuple(conn.end.local, conn.end.remote);
            let Some(flow) = flows.get(&key) else { continue };
            let is_current = self
                .index
                .get(&(conn.end.local, conn.end.remote))
                .is_some_and(|n| std::ptr::eq(&raw const self.conns[*n], conn));
            let endpoint =
                self.conns.iter().rev().find(|other| tuple(other.end.local, other.end.remote) == flow.leg);
            let both_closed = conn.end.is_over() && endpoint.is_none_or(|endpoint| endpoint.end.is_over());
            // Its only RST or its last acknowledgement may be lost: then nobody ends the connection but the agent, in time.
            let is_lossy = self.faults.drop + self.faults.corrupt != 0;
            let is_told = conn.end.death != Some(Death::Aborted) || !is_lossy;
            assert!(
                matches!(flow.state, state::HANDED | state::TAKEN)
                    || !is_told
                    || flow.state == state::CLOSING && is_lossy
                    || flow.state == state::ENDING && (is_lossy || has_ended(flow))
                    || !(client.is_done && is_current && both_closed),
                "a flow is left in state {} flags {:#x}:\n{}",
                flow.state,
                flow.flags,
                self.describe()
            );
        }
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = format!("at {} ms\n", (self.now - START) / MS);
        for conn in &self.conns {
            text += &conn.end.describe();
            text += "\n";
        }
        for (_, flow) in self.world.flows.all() {
            text += &format!(
                "flow state {} flags {:#x} outstanding {} phase {} tries {} next {} client_end {} sent_end {} acked {} \
                 leg_end {} leg_next {} leg_ack {} points {} held {}\n",
                flow.state,
                flow.flags,
                flow.outstanding,
                flow.phase,
                flow.tries,
                flow.next_seq,
                flow.client_end,
                flow.sent_end,
                flow.client_ack,
                flow.leg_end,
                flow.leg_next,
                flow.leg_ack,
                flow.points_used,
                flow.held
            );
        }
        text + &format!("{:?}", self.world.reasons.borrow())
    }
}
