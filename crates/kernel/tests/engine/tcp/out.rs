//! What goes out, and when again.

use super::{Death, End, MS, RTO_MAX, RTO_MIN, TRIES_MAX};
use crate::packet::{ACK, FIN, PSH, SYN, Seg};
use crate::random::Random;

impl End {
    pub(crate) fn timers(&mut self, random: &Random) {
        if self.death.is_some() {
            return;
        }
        if self.ack_at.is_some_and(|at| at <= self.now) {
            self.send_ack();
        }
        if self.rto_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return self.die(Death::Timeout);
        }
        self.rto = (self.rto * 2).min(RTO_MAX);
        self.rto_at = Some(self.now + self.rto);
        if self.snd_una == 0 {
            return self.send_syn();
        }
        // Collapsed up to a whole segment, as it was, or a part of it.
        let room = self.segment_room();
        let first =
            self.marks.iter().find(|&&mark| mark > self.snd_una).map_or(room, |mark| mark - self.snd_una);
        let len = match random.below(4) {
            0 => room,
            1 => (first / 2).max(1),
            _ => first,
        };
        self.congestion = room;
        self.snd_nxt = self.snd_una;
        self.resend(len.min(room));
    }

    pub(super) fn resend(&mut self, len: u64) {
        let sent = self.send_from(self.snd_una, len, false);
        self.snd_nxt = self.snd_nxt.max(self.snd_una + sent);
        self.snd_max = self.snd_max.max(self.snd_nxt);
    }

    /// The most bytes that a segment to this end may have.
    pub(crate) fn limit(&self) -> usize {
        usize::from(self.profile.mss) - self.option_len() as usize
    }

    pub(super) fn segment_room(&self) -> u64 {
        u64::from(u32::from(self.peer_mss.min(self.profile.mss)) - self.option_len())
    }

    pub(super) fn option_len(&self) -> u32 {
        if self.timestamps { 12 } else { 0 }
    }

    pub(super) fn pump(&mut self) {
        if !self.is_open || self.death.is_some() {
            return;
        }
        let last = 1 + self.written.len() as u64 + u64::from(self.closes);
        while self.snd_nxt < last {
            let window = self.peer_window.min(self.congestion);
            let room = (self.snd_una + window).saturating_sub(self.snd_nxt);
            let is_fin_alone = self.snd_nxt == 1 + self.written.len() as u64;
            if room == 0 && !is_fin_alone {
                break;
            }
            let is_first = self.snd_nxt == self.snd_max;
            let left = 1 + self.written.len() as u64 - self.snd_nxt;
            let large =
                self.profile.large && left > 2 * self.segment_room() && room > 2 * self.segment_room();
            let mut len = if large { 4 * self.segment_room() } else { self.segment_room() }.min(room.max(1));
            let mark = self.marks.iter().find(|&&mark| mark > self.snd_nxt);
            if let Some(mark) = mark
                && is_first
            {
                len = len.min(mark - self.snd_nxt);
            }
            let sent = self.send_from(self.snd_nxt, len, large);
            if sent == 0 {
                break;
            }
            self.snd_nxt += sent;
            self.snd_max = self.snd_max.max(self.snd_nxt);
        }
        if self.rto_at.is_none() && (self.snd_una < self.snd_max || self.snd_nxt < last) {
            self.rto_at = Some(self.now + self.rto);
        }
    }

    /// Sends up to `len` bytes from `at`, and the FIN if it is next; returns how much sequence space that was.
    pub(super) fn send_from(&mut self, at: u64, len: u64, large: bool) -> u64 {
        let end = 1 + self.written.len() as u64;
        let len = len.min(end.saturating_sub(at));
        let from = (at - 1) as usize;
        let data = if len > 0 { self.written[from..from + len as usize].to_vec() } else { vec![] };
        let fin = self.closes && at + len == end;
        if len == 0 && !fin {
            return 0;
        }
        let flags = ACK | if len > 0 { PSH } else { 0 } | if fin { FIN } else { 0 };
        let large = large && data.len() as u64 > self.segment_room();
        let seg = self.seg(at, flags, data);
        self.out.push((seg, large));
        self.ack_at = None;
        len + u64::from(fin)
    }

    pub(super) fn send_syn(&mut self) {
        let flags = if self.knows_peer { SYN | ACK } else { SYN };
        let mut seg = self.seg(0, flags, vec![]);
        // In a SYN the window is not scaled, and in an answer only what was offered.
        seg.window = self.profile.window.min(65_535) as u16;
        seg.mss = Some(self.profile.mss);
        let answers = self.knows_peer;
        seg.scale = self.profile.scale.filter(|_| !answers || self.window_shift > 0 || self.send_shift > 0);
        seg.sack_ok = if answers { self.sack } else { self.profile.sack };
        if !answers && self.profile.timestamps {
            seg.timestamps = Some((self.clock(), 0));
        }
        self.snd_max = 1;
        self.snd_nxt = 1;
        self.rto_at.get_or_insert(self.now + self.rto);
        self.out.push((seg, false));
    }

    pub(super) fn send_ack(&mut self) {
        self.ack_at = None;
        // Behind all that was sent, also while it is sent again: an old number is not acceptable to a peer that has the bytes,
        // which then does not look at the acknowledgement either (RFC 9293 section 3.10.7.4), and both could wait for ever.
        let mut seg = self.seg(self.snd_nxt.max(self.snd_max), ACK, vec![]);
        if self.sack {
            let mut blocks: Vec<(u64, u64)> = vec![];
            for (at, bytes) in &self.ahead {
                let to = at + bytes.len() as u64;
                match blocks.last_mut() {
                    Some(last) if *at <= last.1 => last.1 = last.1.max(to),
                    _ => blocks.push((*at, to)),
                }
            }
            // The FIN has a number, as Linux counts it.
            if let (Some(last), Some(fin)) = (blocks.last_mut(), self.rcv_fin)
                && last.1 == fin
            {
                last.1 += 1;
            }
            let wire = |at: u64| self.peer_isn.wrapping_add(at as u32);
            seg.sack = blocks.iter().take(3).map(|(from, to)| (wire(*from), wire(*to))).collect();
        }
        self.out.push((seg, false));
    }

    pub(super) fn seg(&self, at: u64, flags: u8, data: Vec<u8>) -> Seg {
        let ack = if flags & ACK != 0 { self.peer_isn.wrapping_add(self.rcv_nxt as u32) } else { 0 };
        let mut seg = Seg::bare(self.local, self.remote, flags, self.wire(at), ack);
        seg.window = (self.profile.window >> self.window_shift).min(65_535) as u16;
        seg.timestamps = self.timestamps.then(|| (self.clock(), self.recent));
        seg.data = data;
        seg
    }

    pub(super) fn clock(&self) -> u32 {
        ((self.now / MS) as u32).wrapping_add(self.clock_add)
    }

    pub(super) fn wire(&self, at: u64) -> u32 {
        self.profile.isn.wrapping_add(at as u32)
    }

    pub(super) fn offset_in(&self, seq: u32) -> i64 {
        let near = self.peer_isn.wrapping_add(self.rcv_nxt as u32);
        self.rcv_nxt as i64 + i64::from(seq.wrapping_sub(near) as i32)
    }

    pub(super) fn recovered(&mut self) {
        self.tries = 0;
        self.rto = RTO_MIN;
        self.rto_at = (self.snd_una < self.snd_max).then_some(self.now + self.rto);
    }
}
