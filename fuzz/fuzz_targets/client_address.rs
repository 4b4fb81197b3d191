#![no_main]

#[path = "../../crates/policy/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::client_address(data));
