#![no_main]

#[path = "../../crates/translate/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::objects(data));
