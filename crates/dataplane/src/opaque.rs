//! Values that the optimiser knows nothing about.

/// Hides a value from the optimiser, so that the comparison or mask behind it stays, and the verifier sees it.
#[inline(always)]
#[must_use]
pub fn opaque(value: u64) -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    return value;
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a register is moved to itself. With no instruction at all two source lines would share an address, which
        // the kernel refuses.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
        value
    }
}
