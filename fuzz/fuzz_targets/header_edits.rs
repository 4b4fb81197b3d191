#![no_main]

#[path = "../../crates/http1/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::header_edits(data));
