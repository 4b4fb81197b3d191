//! The wires with their faults, and the gateway between them.

use dataplane::flow::phase;

use super::{App, DELAY, Event, Place, START, Sim, vip, vip6};
use crate::apps::{Manners, Server};
use crate::packet::{FIN, Packet, Seg};
use crate::tcp::{End, MS};
use crate::world::{Fate, tuple};

impl Sim {
    /// Puts a segment on the wire.
    pub(super) fn emit(&mut self, seg: &Seg, large: bool) {
        let from_host = seg.src.ip() == vip().ip() || seg.src.ip() == vip6().ip();
        let partial = large || self.varies && self.random.chance(50);
        let packet = seg.packet(partial, large, self.varies && seg.sack.is_empty() && self.random.chance(20));
        if from_host {
            let place =
                if self.nodes.contains_key(&seg.dst.ip()) { Place::ToEndpoint } else { Place::ToClient };
            self.put(packet, place, true);
        } else {
            let place =
                if self.nodes.contains_key(&seg.src.ip()) { Place::FromEndpoint } else { Place::FromClient };
            self.put(packet, place, false);
        }
    }

    fn put(&mut self, mut packet: Packet, place: Place, to_host: bool) {
        let now = self.now;
        let read = if self.filter.is_some() || self.traces { Seg::read(&packet) } else { None };
        let mut is_lost = self.random.chance(self.faults.drop);
        if let (Some(filter), Some(seg)) = (&mut self.filter, &read) {
            is_lost |= filter(seg, place, (now - START) / MS);
        }
        if self.traces
            && let Some(seg) = &read
        {
            eprintln!(
                "{:>8.2} {place:?}{} {}",
                (now - START) as f64 / 1e6,
                if is_lost { " LOST" } else { "" },
                line(seg)
            );
        }
        if is_lost {
            return;
        }
        let copies = 1 + u64::from(self.random.chance(self.faults.duplicate));
        for _ in 0..copies {
            let jitter = if self.random.chance(self.faults.reorder) { self.random.below(20 * MS) } else { 0 };
            let at = now + DELAY + jitter;
            self.count += 1;
            let mut copy = packet.clone();
            // What is left to a device never was on a wire.
            if !packet.partial && self.random.chance(self.faults.corrupt) {
                let bytes = copy.frame.len() as u64;
                let behind = if copy.frame[12] == 8 { 34 } else { 54 };
                if bytes > behind + 60 {
                    let place = (behind + 60 + self.random.below(bytes - behind - 60)) as usize;
                    copy.frame[place] ^= 1 << self.random.below(8);
                    copy.corrupt = true;
                }
            }
            let event = if to_host { Event::ToHost(copy) } else { Event::ToGateway(copy) };
            self.queue.insert((at, self.count), event);
        }
        packet.frame.clear();
    }

    pub(crate) fn gateway(&mut self, packet: Packet) {
        if self.world.races.get() > 0 {
            self.gather();
        }
        self.world.process(packet, 0);
        loop {
            self.fates();
            let next = self.world.beside.borrow_mut().pop_front();
            let Some(packet) = next else { break };
            self.world.process(packet, 0);
        }
    }

    /// What comes in at about the same time may meet another CPU.
    fn gather(&mut self) {
        let near: Vec<(u64, u64)> = self
            .queue
            .range(..(self.now + MS, 0))
            .filter(|(_, event)| matches!(event, Event::ToGateway(_)))
            .map(|(key, _)| *key)
            .take(4)
            .collect();
        for key in near {
            if let Some(Event::ToGateway(packet)) = self.queue.remove(&key) {
                self.world.beside.borrow_mut().push_back(packet);
            }
        }
    }

    fn fates(&mut self) {
        let fates = std::mem::take(&mut *self.world.fates.borrow_mut());
        for fate in fates {
            match fate {
                Fate::Sent(packet) => {
                    let read = Seg::read(&packet);
                    let Some(seg) = read else {
                        assert!(packet.corrupt, "a wrong checksum");
                        continue;
                    };
                    // An answer, or what is left of the segment: the ends compare what they get with what was sent.
                    let packet = Packet { corrupt: false, ..packet };
                    let place = if self.nodes.contains_key(&seg.dst.ip()) {
                        Place::ToEndpoint
                    } else {
                        self.note_end(&seg);
                        Place::ToClient
                    };
                    self.put(packet, place, true);
                }
                Fate::Passed(packet, handed) => {
                    let Some(seg) = Seg::read(&packet) else { continue };
                    if self.traces {
                        eprintln!("{:>8.2} passed {}", (self.now - START) as f64 / 1e6, line(&seg));
                    }
                    if handed.is_some() && self.is_full {
                        self.world.owners.borrow_mut().remove(&tuple(seg.src, seg.dst));
                        continue;
                    }
                    if let Some(handed) = handed {
                        assert_eq!(handed.tuple, tuple(seg.src, seg.dst));
                        assert!(!packet.corrupt, "a corrupt segment is handed to the host");
                        let end = End::adopt(&seg, self.host, &handed.attributes, self.now);
                        let server = Server::new("host", Manners::default(), false, self.now);
                        self.add(end, App::Server(server));
                    }
                    self.deliver(&seg);
                }
            }
        }
    }

    /// A FIN that ends what nobody can see the end of may come at any time: a head that is cut in two is enough.
    fn note_end(&mut self, seg: &Seg) {
        let Some(flow) = self.world.flows.get(&tuple(seg.dst, seg.src)) else { return };
        // SAFETY: a live place; the model has one thread, and the engine is not running.
        let flow = unsafe { &*flow };
        if seg.has(FIN)
            && flow.phase == phase::UNKNOWN
            && flow.outstanding == 1
            && let Some(&n) = self.index.get(&(seg.dst, seg.src))
        {
            self.client(n).may_be_cut = true;
        }
    }

    pub(super) fn host(&mut self, packet: &Packet) {
        let Some(seg) = Seg::read(packet) else {
            assert!(packet.corrupt, "a wrong checksum");
            return;
        };
        assert!(!packet.corrupt, "a changed bit went unseen");
        if let Some(n) = self.index.get(&(seg.dst, seg.src)) {
            let limit = self.conns[*n].end.limit();
            assert!(
                packet.large || seg.data.len() <= limit,
                "{} bytes for a limit of {limit}",
                seg.data.len()
            );
        }
        self.deliver(&seg);
    }
}

/// One segment in a line.
fn line(seg: &Seg) -> String {
    let flags: String = [(2, 'S'), (16, 'A'), (1, 'F'), (4, 'R')]
        .iter()
        .filter(|(bit, _)| seg.has(*bit))
        .map(|(_, c)| *c)
        .collect();
    let data = String::from_utf8_lossy(&seg.data[..seg.data.len().min(30)]).replace("\r\n", "|");
    format!(
        "{} > {} {flags} seq {} ack {} win {} len {} ts {:?} sack {:?} {data}",
        seg.src,
        seg.dst,
        seg.seq,
        seg.ack,
        seg.window,
        seg.data.len(),
        seg.timestamps,
        seg.sack
    )
}
