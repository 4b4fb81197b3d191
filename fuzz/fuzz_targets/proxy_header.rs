#![no_main]

#[path = "../../crates/l4/tests/oracles/mod.rs"]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::proxy_header(data));
