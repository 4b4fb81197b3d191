//! One packet through the program in the kernel and through the same engine outside it: both must do the same, to the byte.

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use dataplane::{engine::HandOff, initial};
use wire::{Cursor, Flow, Leg, Reason, Segment, Settings, Tuple};

use crate::support::native::Native;
use crate::support::program::{Program, Said};
use crate::support::segment::{GATEWAY, ROUTER, Seg};
use crate::support::{settings, tables, tuple};

pub(crate) struct Both {
    pub(crate) program: Program,
    pub(crate) native: Native,
    pub(crate) settings: Settings,
}

/// What both did with a packet.
pub(crate) struct Outcome {
    pub(crate) said: Said,
    pub(crate) frame: Vec<u8>,
    pub(crate) reasons: Vec<Reason>,
    /// What the host was asked to take over, as the engine outside the kernel asked.
    pub(crate) asked: Option<HandOff>,
}

impl Both {
    /// The pair that all tests of a process use, one after the other: loading takes seconds.
    pub(crate) fn shared() -> MutexGuard<'static, Self> {
        static BOTH: LazyLock<Mutex<Both>> = LazyLock::new(|| Mutex::new(Both::new()));
        BOTH.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new() -> Self {
        let program = Program::load_at(crate::HOOK);
        let compiled = tables::compile(&tables::snapshot());
        let settings = settings();
        program.set(&settings);
        program.apply(&kernel::diff(&kernel::Tables::default(), &compiled.tables));
        Self { program, native: Native::new(compiled.tables, settings), settings }
    }

    /// Runs a segment; it must leave as another.
    pub(crate) fn sends(&mut self, what: &str, seg: &Seg, reasons: &[Reason]) -> Seg {
        let outcome = self.run(what, &seg.frame());
        assert_eq!((outcome.said, &*outcome.reasons), (Said::Send, reasons), "{what}");
        Seg::read(&outcome.frame)
    }

    /// Runs a segment; it must end here, for that reason.
    pub(crate) fn drops(&mut self, what: &str, seg: &Seg, reason: Reason) -> Outcome {
        let outcome = self.run(what, &seg.frame());
        assert_eq!((outcome.said, &*outcome.reasons), (Said::Drop, &[reason][..]), "{what}");
        outcome
    }

    /// Runs a frame; it must go on untouched, for that reason.
    pub(crate) fn passes(&mut self, what: &str, frame: &[u8], reason: Option<Reason>) {
        let outcome = self.run(what, frame);
        assert_eq!((outcome.said, outcome.reasons), (Said::Pass, Vec::from_iter(reason)), "{what}");
        assert_eq!(outcome.frame, frame, "{what}: untouched");
    }

    /// Runs a segment; the host must be asked to take its connection over. In a test run it cannot: the packet ends here.
    pub(crate) fn hands_off(&mut self, what: &str, seg: &Seg) -> HandOff {
        let outcome = self.drops(what, seg, Reason::DropHandOff);
        outcome.asked.unwrap_or_else(|| panic!("{what}: asked"))
    }

    /// The same with the first request of a connection, and why: where a socket takes the connection, that is counted.
    pub(crate) fn hands_off_for(&mut self, what: &str, seg: &Seg, reason: Reason) -> HandOff {
        let asked = self.hands_off(what, seg);
        self.native.takes.set(true);
        let done = self.native.run(&seg.frame());
        self.native.takes.set(false);
        assert_eq!((done.said, &*done.reasons), (Said::Pass, &[reason][..]), "{what}");
        asked
    }

    pub(crate) fn flow(&self, client: SocketAddr, vip: SocketAddr) -> Option<Flow> {
        self.program.flow(&tuple(client, vip))
    }

    /// Runs a frame through both, and compares all that does not depend on the moment.
    pub(crate) fn run(&mut self, what: &str, frame: &[u8]) -> Outcome {
        let key = key(frame);
        let client = self.program.leg(&key).map_or(key, |leg| leg.client);
        let counted: Vec<u64> = Reason::ALL.iter().map(|&reason| self.program.counted(reason)).collect();
        let start = loader::now();
        let (said, out, _) = self.program.run(frame);
        let (out, end) = (out.to_vec(), loader::now());
        let after = self.program.flow(&client);

        let offsets = initial::offsets(&self.settings.cookie_key, &key);
        self.native.now.set(moment(start, end, offsets, after.as_ref(), &out));
        self.native.random.set(after.map_or(0, |flow| self.draw(&flow.leg)));
        let done = self.native.run(frame);

        assert_eq!(done.said, said, "{what}: verdict, natively {:?}", done.reasons);
        if said != Said::Drop {
            assert_eq!(done.frame, out, "{what}: frame");
        }
        if said == Said::Send {
            // Back to where packets come from, or left to the host to resolve.
            let links = [[ROUTER, GATEWAY].concat(), vec![0; 12]];
            assert!(links.iter().any(|link| *link == out[..12]), "{what}: link addresses");
        }
        let mut reasons = done.reasons.clone();
        reasons.sort_by_key(|&reason| reason as u8);
        let mut in_kernel = Vec::new();
        for (&reason, before) in Reason::ALL.iter().zip(counted) {
            let times = self.program.counted(reason) - before;
            in_kernel.extend((0..times).map(|_| reason));
        }
        assert_eq!(in_kernel, reasons, "{what}: reasons");
        let native = self.native.flow(&client);
        assert_eq!(after.map(timeless), native.map(timeless), "{what}: flow");
        assert_eq!(self.program.closed(&client), self.native.closed(&client), "{what}: closed");
        for leg in [key, after.map_or(key, |flow| flow.leg)] {
            let (kernel, native) = (self.program.leg(&leg), self.native.leg(&leg));
            assert_eq!(kernel.map(timeless_leg), native.map(timeless_leg), "{what}: leg");
        }
        for endpoint in 0..16 {
            let (kernel, native) = (self.program.health(endpoint), self.native.health(endpoint));
            assert_eq!((kernel.failures, kernel.flags), (native.failures, native.flags), "{what}: health");
        }
        Outcome { said, frame: out, reasons, asked: done.asked }
    }

    /// The random number that gives the port of a leg.
    fn draw(&self, leg: &Tuple) -> u32 {
        let (first, count) = (u64::from(self.settings.port_first), u64::from(self.settings.port_count));
        let port = u64::from(u16::from_be_bytes(leg.destination_port));
        u32::try_from(((port.saturating_sub(first)) << 32).div_ceil(count)).unwrap_or(0)
    }
}

const MS: u64 = 1_000_000;

/// When the program ran, as exactly as what it left shows; `offsets` are those of the client's connection.
fn moment(start: u64, end: u64, offsets: u64, flow: Option<&Flow>, out: &[u8]) -> u64 {
    if let Some(flow) = flow.filter(|flow| (start..=end).contains(&flow.last_seen)) {
        return flow.last_seen;
    }
    // Else our clock stands in the timestamps, in milliseconds: at one of two places behind the header.
    let tcp = if out[12] == 8 { 34 } else { 54 };
    let word = |at: usize| out.get(tcp + at..tcp + at + 4).map(|b| u32::from_be_bytes(b.try_into().unwrap()));
    let shown: Vec<u32> = [24, 28].into_iter().filter_map(word).collect();
    let candidates = start / MS..=end / MS;
    candidates
        .into_iter()
        .find(|&ms| shown.contains(&initial::timestamp(offsets, ms * MS)))
        .map_or(start, |ms| start.max(ms * MS))
}

fn key(frame: &[u8]) -> Tuple {
    Segment::parse(Cursor::new(frame)).map_or(Tuple::default(), |segment| Tuple {
        source: segment.source,
        destination: segment.destination,
        source_port: segment.source_port,
        destination_port: segment.destination_port,
    })
}

/// Without what is a matter of the moment or of the machine: `asked` is taken a little later than `last_seen`, slots are
/// those of a CPU.
fn timeless(flow: Flow) -> Flow {
    Flow {
        asked: u64::from(flow.asked != 0),
        slot: 0,
        lock: Default::default(),
        last_seen: 0,
        began: 0,
        challenged: 0,
        ..flow
    }
}

fn timeless_leg(leg: Leg) -> Leg {
    Leg { opened: 0, ..leg }
}
