//! RAUTA's kernel programs.
//!
//! Glue only: a program turns its context into a cursor, asks the pure code of `wire`, and applies the answer.

#![no_std]
#![no_main]

mod bytes;
mod maps;
mod rauta_ingress;
mod rauta_tc_count;
mod rauta_tc_ingress;
mod rauta_tc_send;
mod tc;
mod verdict;
mod world;
mod xdp;

/// The kernel offers the helpers we need to GPL-compatible objects only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// No program panics: the verifier would refuse the loop. The compiler wants the symbol all the same.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
