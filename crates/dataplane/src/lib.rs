//! Pure packet and request decisions, the same code in the kernel and in userspace.
