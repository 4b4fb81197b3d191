#![no_main]

#[path = "../../crates/jwt/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::tokens(data));
