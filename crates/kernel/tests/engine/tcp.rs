//! One end of a TCP connection: small, and strict about what it is sent (RFC 9293, 7323, 2018, 5961).
//!
//! Offsets count from the SYN, which is 0, in 64 bits; data starts at 1.

mod out;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dataplane::engine::HandOff;

use crate::packet::{ACK, FIN, RST, SYN, Seg};
use crate::random::Random;

pub(crate) const MS: u64 = 1_000_000;
const RTO_MIN: u64 = 200 * MS;
const RTO_MAX: u64 = 3000 * MS;
const TRIES_MAX: u32 = 16;

/// What an end can do and wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) mss: u16,
    pub(crate) scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
    /// Bytes that the end buffers.
    pub(crate) window: u32,
    /// Bulk leaves as packets of several segments.
    pub(crate) large: bool,
    /// The first sequence number.
    pub(crate) isn: u32,
}

/// How a connection ended, if not in peace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Reset,
    Refused,
    Timeout,
    /// By its own application.
    Aborted,
}

pub(crate) struct End {
    pub(crate) name: &'static str,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    profile: Profile,
    pub(crate) death: Option<Death>,
    /// The application is gone.
    pub(crate) is_orphan: bool,
    pub(crate) received: Vec<u8>,
    written: Vec<u8>,
    /// Offsets where the application began a write.
    marks: Vec<u64>,
    is_open: bool,
    snd_una: u64,
    snd_nxt: u64,
    snd_max: u64,
    closes: bool,
    peer_window: u64,
    peer_mss: u16,
    peer_isn: u32,
    knows_peer: bool,
    rcv_nxt: u64,
    rcv_fin: Option<u64>,
    ahead: BTreeMap<u64, Vec<u8>>,
    timestamps: bool,
    sack: bool,
    send_shift: u8,
    window_shift: u8,
    recent: u32,
    clock_add: u32,
    congestion: u64,
    repeats: u32,
    rto: u64,
    rto_at: Option<u64>,
    tries: u32,
    ack_at: Option<u64>,
    challenged: Option<u64>,
    pub(crate) out: Vec<(Seg, bool)>,
    pub(crate) now: u64,
    /// Segments that a stack refuses for their timestamps.
    pub(crate) too_old: u32,
    pub(crate) first_closed: bool,
}

impl End {
    fn new(name: &'static str, local: SocketAddr, remote: SocketAddr, profile: Profile, now: u64) -> Self {
        Self {
            name,
            local,
            remote,
            profile,
            death: None,
            is_orphan: false,
            received: vec![],
            written: vec![],
            marks: vec![],
            is_open: false,
            snd_una: 0,
            snd_nxt: 0,
            snd_max: 0,
            closes: false,
            peer_window: 1,
            peer_mss: 536,
            peer_isn: 0,
            knows_peer: false,
            rcv_nxt: 1,
            rcv_fin: None,
            ahead: BTreeMap::new(),
            timestamps: false,
            sack: false,
            send_shift: 0,
            window_shift: 0,
            recent: 0,
            clock_add: profile.isn ^ 0x5555_0000,
            congestion: 10 * 1400,
            repeats: 0,
            rto: RTO_MIN,
            rto_at: None,
            tries: 0,
            ack_at: None,
            challenged: None,
            out: vec![],
            now,
            too_old: 0,
            first_closed: false,
        }
    }

    /// Dials.
    pub(crate) fn connect(local: SocketAddr, remote: SocketAddr, profile: Profile, now: u64) -> Self {
        let mut end = Self::new("client", local, remote, profile, now);
        end.send_syn();
        end
    }

    /// Answers a SYN.
    pub(crate) fn accept(name: &'static str, seg: &Seg, profile: Profile, now: u64) -> Self {
        let mut end = Self::new(name, seg.dst, seg.src, profile, now);
        end.agree(seg);
        end.send_syn();
        end
    }

    /// Goes on with a connection that the kernel tier had, as a request socket that a SYN cookie made does.
    pub(crate) fn adopt(seg: &Seg, profile: Profile, attributes: &HandOff, now: u64) -> Self {
        let mut end = Self::new("host", seg.dst, seg.src, profile, now);
        end.profile.isn = seg.ack.wrapping_sub(1);
        end.peer_isn = seg.seq.wrapping_sub(1);
        end.knows_peer = true;
        end.is_open = true;
        (end.snd_una, end.snd_nxt, end.snd_max) = (1, 1, 1);
        end.timestamps = attributes.tstamp_ok != 0;
        end.sack = attributes.sack_ok != 0;
        end.peer_mss = attributes.mss;
        if attributes.wscale_ok != 0 {
            end.send_shift = attributes.snd_wscale;
            end.window_shift = attributes.rcv_wscale;
        }
        end.recent = attributes.rcv_tsval;
        end.clock_add = attributes.rcv_tsecr.wrapping_sub((now / MS) as u32);
        end
    }

    // ---- what the application does

    /// All that was written so far.
    pub(crate) fn written(&self) -> &[u8] {
        &self.written
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        assert!(!self.closes, "{} writes after its end", self.name);
        self.marks.push(1 + self.written.len() as u64);
        self.written.extend(bytes);
        self.pump();
    }

    /// No more bytes; goes on reading.
    pub(crate) fn shut(&mut self) {
        if !self.closes {
            self.first_closed = self.rcv_fin.is_none();
        }
        self.closes = true;
        self.pump();
    }

    /// No more bytes, and none wanted.
    pub(crate) fn close(&mut self) {
        self.shut();
        self.is_orphan = true;
    }

    pub(crate) fn abort(&mut self) {
        if self.death.is_none() {
            let seg = self.seg(self.snd_max, RST | ACK, vec![]);
            self.out.push((seg, false));
            self.die(Death::Aborted);
        }
    }

    /// A keep-alive probe.
    pub(crate) fn probe(&mut self) {
        let seg = self.seg(self.snd_nxt - 1, ACK, vec![]);
        self.out.push((seg, false));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open && self.death.is_none()
    }

    /// The other side will send no more, and all of it is here.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rcv_fin.is_some_and(|fin| self.rcv_nxt > fin)
    }

    /// All that was written has arrived, the end of it too if it was said.
    pub(crate) fn is_acked(&self) -> bool {
        self.snd_una == 1 + self.written.len() as u64 + u64::from(self.closes)
    }

    /// Both ends are through.
    pub(crate) fn is_over(&self) -> bool {
        self.death.is_some() || self.closes && self.is_acked() && self.is_at_end()
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.death.is_some() {
            return None;
        }
        self.rto_at.into_iter().chain(self.ack_at).min()
    }

    // ---- what comes in

    pub(crate) fn input(&mut self, seg: &Seg, random: &Random) {
        if self.death.is_some() {
            return;
        }
        if !self.knows_peer {
            return self.while_dialling(seg);
        }
        // RFC 9293 section 3.10.7.4: a late copy of a SYN has made this end, and what comes is of the connection before.
        if !self.is_open && seg.has(ACK) && !seg.has(RST | SYN) && seg.ack != self.wire(1) {
            return self.out.push((Seg::bare(self.local, self.remote, RST, seg.ack, 0), false));
        }
        let seq = self.offset_in(seg.seq);
        let window = u64::from(self.profile.window);
        if self.timestamps && !seg.has(RST) && !seg.has(SYN) {
            let Some((value, echo)) = seg.timestamps else {
                panic!("{}: a segment without the agreed timestamps: {seg:?}", self.name)
            };
            assert!(
                echo.wrapping_sub(self.clock()) as i32 <= 0,
                "{}: an echo from the future: {echo} of {}: {seg:?}",
                self.name,
                self.clock()
            );
            if (value.wrapping_sub(self.recent) as i32) < 0 {
                self.too_old += 1;
                self.challenge(seg);
                return;
            }
        }
        let end = seq + i64::from(seg.len());
        let is_acceptable = seq <= (self.rcv_nxt + window) as i64 && end >= self.rcv_nxt as i64;
        if seg.has(RST) {
            if seq == self.rcv_nxt as i64 {
                self.die(Death::Reset);
            } else if is_acceptable {
                self.challenge(seg);
            }
            return;
        }
        if seg.has(SYN) {
            let is_again = seg.seq == self.peer_isn;
            if is_again && !self.is_open {
                self.send_syn();
            } else {
                self.challenge(seg);
            }
            return;
        }
        if !is_acceptable {
            self.compare(seq, &seg.data);
            self.challenge(seg);
            return;
        }
        if !seg.has(ACK) {
            return;
        }
        if let Some((value, _)) = seg.timestamps
            && seq <= self.rcv_nxt as i64
        {
            self.recent = value;
        }
        self.take_ack(seg);
        if self.death.is_none() && seg.len() > 0 {
            self.take_data(seq, seg, random);
        }
        self.pump();
    }

    fn while_dialling(&mut self, seg: &Seg) {
        let fits = seg.has(ACK) && seg.ack == self.profile.isn.wrapping_add(1);
        if seg.has(ACK) && !fits {
            if !seg.has(RST) {
                self.out.push((Seg::bare(self.local, self.remote, RST, seg.ack, 0), false));
            }
            return;
        }
        if seg.has(RST) {
            if fits {
                self.die(Death::Refused);
            }
            return;
        }
        if seg.has(SYN) && fits {
            self.agree(seg);
            self.is_open = true;
            (self.snd_una, self.snd_nxt, self.snd_max) = (1, 1, 1);
            self.peer_window = u64::from(seg.window);
            self.recovered();
            self.send_ack();
            self.pump();
        }
    }

    fn agree(&mut self, syn: &Seg) {
        self.peer_isn = syn.seq;
        self.knows_peer = true;
        self.peer_mss = syn.mss.unwrap_or(536);
        self.peer_window = u64::from(syn.window);
        self.sack = self.profile.sack && syn.sack_ok;
        self.timestamps = self.profile.timestamps && syn.timestamps.is_some();
        self.recent = syn.timestamps.map_or(0, |(value, _)| value);
        if let (Some(ours), Some(theirs)) = (self.profile.scale, syn.scale) {
            self.send_shift = theirs;
            self.window_shift = ours;
        }
    }

    fn take_ack(&mut self, seg: &Seg) {
        let ack = self.snd_una as i64 + i64::from(seg.ack.wrapping_sub(self.wire(self.snd_una)) as i32);
        // A SYN that comes again may open what nobody goes on with; what else is under way is of before it (RFC 9293 section 3.10.7.4).
        if self.snd_una == 0 && ack > self.snd_max as i64 {
            return;
        }
        assert!(
            ack <= self.snd_max as i64,
            "{} ({} to {}): acknowledges what was not sent ({ack} of {}): {seg:?}",
            self.name,
            self.local,
            self.remote,
            self.snd_max
        );
        for &(from, to) in &seg.sack {
            let place = |edge: u32| {
                self.snd_una as i64 + i64::from(edge.wrapping_sub(self.wire(self.snd_una)) as i32)
            };
            assert!(self.sack, "{}: SACK without agreement", self.name);
            assert!(
                place(from) < place(to) && place(to) <= self.snd_max as i64,
                "{}: SACK of what was not sent: {from}..{to}: {seg:?}",
                self.name
            );
        }
        if ack < self.snd_una as i64 {
            return;
        }
        let ack = ack as u64;
        self.peer_window = u64::from(seg.window) << self.send_shift;
        if !self.is_open && ack >= 1 {
            self.is_open = true;
            self.recovered();
        }
        if ack > self.snd_una {
            self.snd_una = ack;
            self.snd_nxt = self.snd_nxt.max(ack);
            self.congestion = (self.congestion + 2800).min(64 * 1400);
            self.repeats = 0;
            self.recovered();
        } else if seg.len() == 0 && self.snd_una < self.snd_max {
            self.repeats += 1;
            if self.repeats == 3 {
                self.resend(self.segment_room());
            }
        }
    }

    fn take_data(&mut self, seq: i64, seg: &Seg, random: &Random) {
        self.compare(seq, &seg.data);
        let end = seq + seg.data.len() as i64;
        assert!(self.rcv_fin.is_none_or(|fin| end <= fin as i64), "{}: bytes behind the end", self.name);
        let skip = (self.rcv_nxt as i64 - seq).max(0) as usize;
        if seg.has(FIN) {
            let fin = (seq + seg.data.len() as i64) as u64;
            assert!(self.rcv_fin.is_none_or(|old| old == fin), "{}: a second end of the stream", self.name);
            self.rcv_fin = Some(fin);
        }
        if skip < seg.data.len() {
            if self.is_orphan {
                // Nobody reads it any more (Linux, `tcp_rcv_state_process`).
                self.out.push((Seg::bare(self.local, self.remote, RST, seg.ack, 0), false));
                return self.die(Death::Aborted);
            }
            let at = (seq + skip as i64) as u64;
            let longer = self.ahead.get(&at).is_none_or(|old| old.len() < seg.data.len() - skip);
            if longer {
                self.ahead.insert(at, seg.data[skip..].to_vec());
            }
        }
        let before = self.rcv_nxt;
        while let Some(entry) = self.ahead.first_entry()
            && *entry.key() <= self.rcv_nxt
        {
            let (at, bytes) = entry.remove_entry();
            let skip = (self.rcv_nxt - at) as usize;
            if skip < bytes.len() {
                self.received.extend(&bytes[skip..]);
                self.rcv_nxt += (bytes.len() - skip) as u64;
            }
        }
        if self.rcv_fin == Some(self.rcv_nxt) {
            self.rcv_nxt += 1;
        }
        let is_plain = self.ahead.is_empty() && self.rcv_nxt > before && !seg.has(FIN);
        if is_plain && self.ack_at.is_none() && random.chance(40) {
            self.ack_at = Some(self.now + 40 * MS);
        } else {
            self.send_ack();
        }
    }

    /// Bytes that came before must come alike again.
    ///
    /// For endpoints only what is new counts: what the client repeats from before text that was acknowledged comes shifted.
    fn compare(&self, seq: i64, data: &[u8]) {
        if self.name.starts_with('e') {
            return;
        }
        for (n, byte) in data.iter().enumerate() {
            let place = seq + n as i64 - 1;
            if let Some(old) = usize::try_from(place).ok().and_then(|place| self.received.get(place)) {
                assert_eq!(
                    old, byte,
                    "{} ({} from {}): byte {place} differs",
                    self.name, self.local, self.remote
                );
            }
        }
    }

    fn challenge(&mut self, seg: &Seg) {
        let is_due = self.challenged.is_none_or(|at| self.now >= at + 100 * MS);
        if seg.len() > 0 || is_due {
            self.challenged = Some(self.now);
            self.send_ack();
        }
    }

    fn die(&mut self, death: Death) {
        self.death = Some(death);
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "{} {}->{} una {} nxt {} max {} of {}{} rcv {} fin {:?} {:?} too old {}",
            self.name,
            self.local,
            self.remote,
            self.snd_una,
            self.snd_nxt,
            self.snd_max,
            self.written.len(),
            if self.closes { "+FIN" } else { "" },
            self.rcv_nxt,
            self.rcv_fin,
            self.death,
            self.too_old
        )
    }
}
