#![no_main]

#[path = "../../crates/policy/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::accept_encoding(data));
