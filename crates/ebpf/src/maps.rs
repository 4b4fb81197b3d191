//! Every map of the programs. The agent pins each under its own name.

use aya_ebpf::{
    btf_maps::{PerCpuArray, PerCpuHashMap},
    macros::btf_map,
};
use wire::{LISTENERS_MAX, ListenerCounters, ListenerKey, Metrics};

/// The six counters of the whole data plane.
#[btf_map]
pub static METRICS: PerCpuArray<Metrics, 1> = PerCpuArray::new();

/// Our listeners, written by the agent; what arrived at each, counted here.
#[btf_map]
pub static LISTENER_COUNTERS: PerCpuHashMap<ListenerKey, ListenerCounters, LISTENERS_MAX> =
    PerCpuHashMap::new();
