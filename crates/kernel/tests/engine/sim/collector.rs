//! The agent's part in the pool: once a second, what nobody took in time is reset. And the end of connections whose leg went there: our FIN
//! is sent again, and what has ended is forgotten.

use std::net::{Ipv6Addr, SocketAddr};

use dataplane::flow::{flag, has_ended, state};
use wire::Tuple;

use super::Sim;
use crate::packet::{ACK, FIN, RST, Seg};
use crate::tcp::MS;

/// How long after its time a leg ends: programs that found it before are through by then.
const GRACE: u64 = 1000 * MS;

impl Sim {
    pub(super) fn collect(&mut self) {
        if self.now < self.collected + 1000 * MS {
            return;
        }
        self.collected = self.now;
        for (key, flow) in self.world.flows.all() {
            if flow.state != state::ENDING {
                continue;
            }
            if has_ended(&flow) {
                self.world.flows.remove(&key);
            } else if flow.flags & flag::LEG_FIN_ACKED == 0 && self.now > flow.began + GRACE {
                let (ours, client) = addresses(&key);
                let seq = flow.sent_end.wrapping_sub(1);
                let timestamps = flow.client_options.timestamps();
                let timestamps = timestamps.then_some((flow.sent_tsval, flow.client_tsval));
                self.forge(&Seg { timestamps, ..Seg::bare(ours, client, FIN | ACK, seq, flow.client_end) });
            }
        }
        let idle = self.world.settings.pool_idle;
        for (key, leg) in self.world.pooled.all() {
            if self.now > leg.since + idle + GRACE {
                self.world.pooled.remove(&key);
                self.world.legs.remove(&key);
                let (ours, endpoint) = addresses(&key);
                self.forge(&Seg::bare(ours, endpoint, RST, leg.send_next, 0));
            }
        }
    }
}

/// Receiver and sender of what an endpoint sends.
fn addresses(key: &Tuple) -> (SocketAddr, SocketAddr) {
    let of = |address: [u8; 16], port| {
        SocketAddr::new(Ipv6Addr::from(address).to_canonical(), u16::from_be_bytes(port))
    };
    (of(key.destination, key.destination_port), of(key.source, key.source_port))
}
