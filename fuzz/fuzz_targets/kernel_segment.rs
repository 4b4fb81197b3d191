#![no_main]

#[path = "../../crates/kernel/tests/frames/mod.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    frames::kernel_segment(data);
});
