//! Keys and values of the maps that programs and agent share.
//!
//! No `bool`, enum, `usize` or implicit padding: both sides reinterpret these bytes. A changed layout is a new
//! [`LAYOUT_VERSION`], never a new meaning of the same bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::IpAddress;

/// Version of everything pinned; part of the pin path (`/sys/fs/bpf/rauta/v7`).
pub const LAYOUT_VERSION: u32 = 7;

/// How many listeners the kernel can count at once.
pub const LISTENERS_MAX: usize = 4096;

/// Value of map `METRICS` (one entry, per CPU).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Metrics {
    /// Packets addressed to one of our listeners.
    pub packets_total: u64,
    /// Of these, decided in XDP.
    pub packets_tier1: u64,
    /// Of these, decided in TC.
    pub packets_tier2: u64,
    /// Of these, passed to userspace.
    pub packets_tier3: u64,
    /// Of these, dropped.
    pub packets_dropped: u64,
    /// Requests whose head the kernel could not parse.
    pub http_parse_errors: u64,
}
const _: () = assert!(size_of::<Metrics>() == 48 && align_of::<Metrics>() == 8);

impl Metrics {
    /// The sum of two CPUs' counters.
    #[must_use]
    pub const fn merged(self, other: Self) -> Self {
        Self {
            packets_total: self.packets_total.wrapping_add(other.packets_total),
            packets_tier1: self.packets_tier1.wrapping_add(other.packets_tier1),
            packets_tier2: self.packets_tier2.wrapping_add(other.packets_tier2),
            packets_tier3: self.packets_tier3.wrapping_add(other.packets_tier3),
            packets_dropped: self.packets_dropped.wrapping_add(other.packets_dropped),
            http_parse_errors: self.http_parse_errors.wrapping_add(other.http_parse_errors),
        }
    }
}

/// Key of map `LISTENER_COUNTERS`: where clients dial.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(4))]
pub struct ListenerKey {
    /// Address, IPv4 mapped; all zero for any address of either family.
    pub address: IpAddress,
    /// Port, network order.
    pub port: [u8; 2],
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}
const _: () = assert!(size_of::<ListenerKey>() == 20 && align_of::<ListenerKey>() == 4);

impl ListenerKey {
    /// The address that stands for any.
    pub const ANY: IpAddress = [0; 16];

    /// The key of a TCP listener. `port` in network order.
    #[inline(always)]
    pub const fn tcp(address: IpAddress, port: [u8; 2]) -> Self {
        Self { address, port, protocol: crate::ip_protocol::TCP, pad: 0 }
    }
}

/// Value of map `LISTENER_COUNTERS` (per CPU).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerCounters {
    /// Packets addressed to the listener.
    pub packets: u64,
    /// Segments that ask for a connection (a retransmitted SYN counts again).
    pub connections: u64,
}
const _: () = assert!(size_of::<ListenerCounters>() == 16 && align_of::<ListenerCounters>() == 8);

impl ListenerCounters {
    /// The sum of two CPUs' counters.
    #[must_use]
    pub const fn merged(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            connections: self.connections.wrapping_add(other.connections),
        }
    }
}
