//! The kernel tier as clients and endpoints meet it: the agent with its programs attached, real sockets, real endpoints,
//! in network namespaces (needs root).
//!
//! Each case asserts the right answer from the right endpoint, and that the kernel gave it where it had to. With
//! `TEST_HOOK=off` the same cases run on userspace alone, without the second part: what differs then is the kernel's. With
//! `TEST_HOOK=xdp` all of them run with XDP before TC.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

/// Runs cases on IPv4 and IPv6, with the offloads of pods on one machine and without any.
macro_rules! on_every_network {
    ($($case:ident),+ $(,)?) => {
        mod v4_offloads { $(#[test] fn $case() { super::$case(crate::world::Network::V4_OFFLOADS); })+ }
        mod v4_wire { $(#[test] fn $case() { super::$case(crate::world::Network::V4_WIRE); })+ }
        mod v6_offloads { $(#[test] fn $case() { super::$case(crate::world::Network::V6_OFFLOADS); })+ }
        mod v6_wire { $(#[test] fn $case() { super::$case(crate::world::Network::V6_WIRE); })+ }
    };
}

/// Runs cases on two networks that differ in everything: for what takes long.
macro_rules! on_two_networks {
    ($($case:ident),+ $(,)?) => {
        mod v4_wire { $(#[test] fn $case() { super::$case(crate::world::Network::V4_WIRE); })+ }
        mod v6_offloads { $(#[test] fn $case() { super::$case(crate::world::Network::V6_OFFLOADS); })+ }
    };
}

/// Runs cases with programs attached as on a kernel without tcx, and on networks before: `with_clsact!(on_two_networks: a_case)`.
macro_rules! with_clsact {
    ($networks:ident: $($case:ident),+ $(,)?) => {
        $networks!($($case),+);
        with_clsact!($($case),+);
    };
    ($($case:ident),+ $(,)?) => {
        mod clsact { $(#[test] fn $case() { super::$case(crate::world::Network::CLSACT); })+ }
    };
}

mod affinity;
mod attacks;
mod balancing;
mod changes;
mod clients;
mod copies;
mod counted;
mod dry_run;
mod dual_stack;
mod each_kernel;
mod endpoint_deaths;
mod endpoints;
mod flood;
mod forwarded;
mod growth;
mod health;
mod idle;
mod leftovers;
mod lifecycle;
mod limits;
mod logged;
mod manifests;
mod neighbours;
#[path = "../../../loader/tests/namespaces/nftables.rs"]
mod nftables;
mod older_kernels;
mod options;
mod other_programs;
mod path_mtu;
mod path_mtu_lies;
mod pods;
mod policy;
mod pool;
mod proxy_protocol;
mod requests;
mod resets;
mod restarts;
mod segments;
mod silence;
mod storm;
mod tiers;
mod told;
mod transfers;
mod two_agents;
mod unread;
mod upgrade;
mod vlans;
mod world;
mod xdp;
mod xdp_setups;
