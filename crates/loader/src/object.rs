//! The object that build.rs embeds.

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rauta.o"));

/// Name of the TC program.
pub(crate) const TC_PROGRAM: &str = "rauta_tc_ingress";

/// Whether this binary carries the kernel programs.
pub const fn is_built() -> bool {
    !OBJECT.is_empty()
}

/// The ELF object, for tools that disassemble it and tests that run it; `None` when built without.
pub fn object() -> Option<&'static [u8]> {
    is_built().then_some(OBJECT)
}
