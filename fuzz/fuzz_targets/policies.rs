#![no_main]

#[path = "../../crates/files/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::policies(data));
