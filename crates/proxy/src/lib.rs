//! The userspace tier: accept, route, pool, forward.
