//! What the tests of the loaded programs share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::cast_possible_truncation, reason = "frames and numbers of tests are short")]

pub(crate) mod native;
pub(crate) mod program;
pub(crate) mod segment;
pub(crate) mod tables;

use std::net::SocketAddr;

use wire::{Settings, Tuple};

/// Who leaves notes to TC.
pub(crate) const NOTE_OWNER: u64 = 0x1357_9bdf_0246_8ace;

/// What the programs are told: every key known, no time-outs.
pub(crate) fn settings() -> Settings {
    Settings {
        cookie_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        heartbeat: loader::now(),
        heartbeat_timeout: u64::MAX,
        mss_v4: 1360,
        mss_v6: 1340,
        port_first: 20_000,
        port_count: 10_000,
        redraw_after: 32,
        eject_after: 100,
        eject_for: 1_000_000_000,
        note_owner: NOTE_OWNER,
        ..Settings::default()
    }
}

/// The key of what `src` sends to `dst`.
pub(crate) fn tuple(src: SocketAddr, dst: SocketAddr) -> Tuple {
    Tuple {
        source: segment::octets(src.ip()),
        destination: segment::octets(dst.ip()),
        source_port: src.port().to_be_bytes(),
        destination_port: dst.port().to_be_bytes(),
    }
}
