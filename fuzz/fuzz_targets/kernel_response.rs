#![no_main]

#[path = "../../crates/http1/tests/kernel/mod.rs"]
mod kernel;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kernel::kernel_response(data);
});
