#![no_main]

#[path = "../../crates/http2/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::h2_bytes(data));
