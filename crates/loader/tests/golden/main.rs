//! Golden packets: one table, run by the program in the kernel (BPF_PROG_TEST_RUN) and by the same code outside it.
//!
//! This file has the frames that are ours or not; `handshakes`, `requests` and `ends` hold whole conversations, packet by
//! packet, through the program and the pure engine in step (`lockstep`).
//!
//! Needs root; fails without.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "frames and numbers of tests are short")]

mod affinity;
mod copies;
mod ends;
mod handshakes;
mod instructions;
mod layout;
mod lockstep;
mod packets;
mod pool;
mod pool_close;
mod random;
mod requests;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
mod talk;
mod told;

use std::collections::HashMap;

use aya::{
    Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions,
    maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues},
    programs::SchedClassifier,
    util::nr_cpus,
};
use packets::{ACK, Packet, RST, SYN, SYN_ACK};
use support::program::Hook;
use wire::{Cursor, ListenerCounters, ListenerKey, Metrics, Segment, listener_of};

/// The programs that conversations run through.
const HOOK: Hook = Hook::Tc;

const NEXT: u32 = u32::MAX; // TCX_NEXT, -1

const EXACT_V4: &str = "192.0.2.1";
const EXACT_V6: &str = "2001:db8::1";
const PORT: u16 = 8080;
const ANY_PORT: u16 = 80;

struct Case {
    name: &'static str,
    frame: Vec<u8>,
    /// Index into [`listeners`] and whether the packet opens a connection; `None`: not ours.
    expected: Option<(usize, bool)>,
}

impl Case {
    /// Recent kernels refuse to test a program on a frame that is shorter than the network header it announces
    /// (net/bpf/test_run.c, EINVAL); those cases run in the pure code only.
    fn is_accepted_by_test_run(&self) -> bool {
        match self.frame[12..14] {
            [0x08, 0x00] => self.frame.len() >= 14 + 20,
            [0x86, 0xdd] => self.frame.len() >= 14 + 40,
            _ => true,
        }
    }
}

fn case(name: &'static str, packet: Packet, expected: Option<(usize, bool)>) -> Case {
    Case { name, frame: packet.build(), expected }
}

/// An exact IPv4 and an exact IPv6 address on one port, any address on two, one of them also exact.
fn listeners() -> [ListenerKey; 4] {
    let v4 = EXACT_V4.parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped().octets();
    let v6 = EXACT_V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [
        ListenerKey::tcp(v4, PORT.to_be_bytes()),
        ListenerKey::tcp(v6, PORT.to_be_bytes()),
        ListenerKey::tcp(ListenerKey::ANY, ANY_PORT.to_be_bytes()),
        ListenerKey::tcp(v4, ANY_PORT.to_be_bytes()),
    ]
}

fn table() -> Vec<Case> {
    let v4 = || Packet::to(EXACT_V4, PORT);
    let v6 = || Packet::to(EXACT_V6, PORT);
    vec![
        case("IPv4 SYN", v4().flags(SYN), Some((0, true))),
        case("IPv4 ACK", v4().flags(ACK), Some((0, false))),
        case("IPv4 SYN and ACK is an answer", v4().flags(SYN_ACK), Some((0, false))),
        case("IPv4 SYN and RST is nonsense", v4().flags(SYN | RST), Some((0, false))),
        case("IPv6 SYN", v6().flags(SYN), Some((1, true))),
        case("IPv6 ACK", v6(), Some((1, false))),
        case("one VLAN tag", v4().vlans(&[0x8100]), Some((0, false))),
        case("two VLAN tags", v6().vlans(&[0x88a8, 0x8100]).flags(SYN), Some((1, true))),
        case("three VLAN tags", v4().vlans(&[0x88a8, 0x8100, 0x8100]), None),
        case("IPv4 options", v4().ip_options(12).flags(SYN), Some((0, true))),
        case("the longest IPv4 header", v4().ip_options(40), Some((0, false))),
        case("the longest TCP header", v4().tcp_header_words(15), Some((0, false))),
        case("another port", Packet::to(EXACT_V4, 8081), None),
        case("another address", Packet::to("192.0.2.2", PORT), None),
        case("IPv6 address that ends in the IPv4 one", Packet::to("2001:db8::c000:201", PORT), None),
        case("any address, IPv4", Packet::to("203.0.113.7", ANY_PORT).flags(SYN), Some((2, true))),
        case("any address, IPv6", Packet::to("2001:db8::77", ANY_PORT), Some((2, false))),
        case("exact before any", Packet::to(EXACT_V4, ANY_PORT), Some((3, false))),
        case("UDP", v4().udp(), None),
        case("UDP over IPv6", v6().udp(), None),
        case("first fragment", v4().fragment(0x2000), None),
        case("later fragment", v4().fragment(0x0010), None),
        case("IPv6 fragment header", v6().ipv6_next_header(44), None),
        case("IPv6 hop-by-hop options", v6().ipv6_next_header(0), None),
        case("IPv4 header that claims 16 bytes", v4().ip_header_words(4), None),
        case("IPv4 header longer than its datagram", v4().ip_header_words(15), None),
        case("IPv4 with version 6", v4().ip_version(6), None),
        case("IPv6 with version 4", v6().ip_version(4), None),
        case("TCP header that claims 16 bytes", v4().tcp_header_words(4), None),
        case("cut in the IPv4 header", v4().truncated_to(30), None),
        case("cut in the IPv4 options", v4().ip_options(40).truncated_to(50), None),
        case("cut in the TCP header", v4().truncated_to(53), None),
        case("cut after the ports", v6().truncated_to(58), None),
        case("cut in the IPv6 header", v6().truncated_to(40), None),
        case("cut in the VLAN tag", v4().vlans(&[0x8100]).truncated_to(16), None),
        case("ends with the TCP header", v4().truncated_to(54).flags(SYN), Some((0, true))),
    ]
}

#[test]
fn the_pure_code_finds_the_listener() {
    let keys = listeners();
    let table_of: HashMap<ListenerKey, usize> =
        keys.iter().enumerate().map(|(index, key)| (*key, index)).collect();
    for case in table() {
        let found = Segment::parse(Cursor::new(&case.frame)).ok().and_then(|segment| {
            let listener = listener_of(&segment, |key| table_of.get(key).copied())?;
            Some((listener, segment.flags.opens_connection()))
        });
        assert_eq!(found, case.expected, "{}", case.name);
    }
}

#[test]
fn the_program_counts_what_the_pure_code_finds() {
    let mut kernel = Kernel::load();
    for case in table().into_iter().filter(Case::is_accepted_by_test_run) {
        let before = kernel.counters();
        let verdict = kernel.run(&case.frame);
        let after = kernel.counters();

        assert_eq!(verdict, NEXT, "{}: never drops, always leaves it to the next program", case.name);
        let mut expected = before;
        if let Some((listener, opens)) = case.expected {
            expected.listeners[listener].packets += 1;
            expected.listeners[listener].connections += u64::from(opens);
            expected.metrics.packets_total += 1;
            expected.metrics.packets_tier3 += 1;
        }
        assert_eq!(after, expected, "{}", case.name);
    }
}

/// A switch floods what it has not learned, and another node may have the same listeners.
#[test]
fn frames_for_other_machines_are_not_looked_at() {
    let mut kernel = Kernel::load();
    let before = kernel.counters();
    for mut frame in [Packet::to(EXACT_V4, PORT), Packet::to(EXACT_V6, PORT)].map(|to| to.flags(SYN).build())
    {
        for link in [[2, 0, 0, 0, 0, 1], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            frame[..6].copy_from_slice(&link);
            assert_eq!(kernel.run(&frame), NEXT, "{link:x?}");
        }
    }
    assert_eq!(kernel.counters(), before);
}

#[test]
fn the_object_declares_a_licence_that_the_kernel_accepts() {
    let object = loader::object().expect("built without the kernel programs: run ./x setup");
    let licence = b"Dual MIT/GPL\0";
    assert!(object.windows(licence.len()).any(|window| window == licence));
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Record<T>(T);
// SAFETY: used with the records of `wire` alone, which have no padding.
unsafe impl<T: Copy + 'static> Pod for Record<T> {}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Counters {
    metrics: Metrics,
    listeners: [ListenerCounters; 4],
}

struct Kernel {
    ebpf: Ebpf,
    metrics: PerCpuArray<MapData, Record<Metrics>>,
    listeners: PerCpuHashMap<MapData, Record<ListenerKey>, Record<ListenerCounters>>,
}

impl Kernel {
    fn load() -> Self {
        let object = loader::patched().expect("built without the kernel programs: run ./x setup");
        let mut ebpf = EbpfLoader::new().load(&object).expect("loads: needs root");
        let metrics = ebpf.take_map("METRICS").unwrap().try_into().unwrap();
        let mut listeners: PerCpuHashMap<_, _, _> =
            ebpf.take_map("LISTENER_COUNTERS").unwrap().try_into().unwrap();
        for key in self::listeners() {
            let zero = vec![Record(ListenerCounters::default()); nr_cpus().unwrap()];
            listeners.insert(Record(key), PerCpuValues::try_from(zero).unwrap(), 0).unwrap();
        }
        let program: &mut SchedClassifier = ebpf.program_mut("rauta_tc_ingress").unwrap().try_into().unwrap();
        program.load().expect("the verifier accepts the program: needs root");
        Self { ebpf, metrics, listeners }
    }

    fn run(&mut self, frame: &[u8]) -> u32 {
        let program: &mut SchedClassifier =
            self.ebpf.program_mut("rauta_tc_ingress").unwrap().try_into().unwrap();
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        program.test_run(options).unwrap_or_else(|error| panic!("{frame:x?}: {error:?}")).return_value
    }

    fn counters(&self) -> Counters {
        let metrics = self.metrics.get(&0, 0).unwrap();
        Counters {
            metrics: metrics.iter().fold(Metrics::default(), |sum, value| sum.merged(value.0)),
            listeners: self::listeners().map(|key| {
                let values = self.listeners.get(&Record(key), 0).unwrap();
                values.iter().fold(ListenerCounters::default(), |sum, value| sum.merged(value.0))
            }),
        }
    }
}
